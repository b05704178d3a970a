"""Norms and margins: sizes of the weights and of the outputs, without any perturbation."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.measures.folded import TOLERANCE, Folded, folded_of, in_float64, output_of, program_of
from landscape.measures.logits import logits_of_all
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective
from landscape.objective.batches import spread

PERCENTILE = 10  #: of the margins, as in Jiang et al. 2020


@measure(
    "margin", larger="flatter", closed_form=True, core=True, invariant=("relu-rescaling", "permutation", "batch-size")
)
def margin(objective: Objective, draws: Draws) -> Reading:
    """Return the 10th percentile over samples of f_y - max of the other logits; negative for wrong predictions.

    It is not divided by a norm of the weights. Source: Jiang et al. 2020.
    """
    logits = logits_of_all(draws)
    if logits.values.shape[1] < 2:
        raise LandscapeError("the margin compares the logits of classes, and the model returns only one.")
    others = logits.values.scatter(1, logits.target[:, None], -math.inf).amax(1)
    margins = (logits.right - others).cpu().numpy()
    return Reading(float(np.percentile(margins, PERCENTILE)), samples=margins, config={"percentile": PERCENTILE})


@measure("spectral-product", larger="sharper", closed_form=True, core=True, invariant=("permutation", "batch-size"))
def spectral_product(objective: Objective, draws: Draws) -> Reading:
    """Return the product over layers of the largest singular value of the weights, with BatchNorm folded in.

    A convolution counts as the matrix of its filters, (output channels, all else), not as the map between images.
    Rescaling whole layers leaves the product unchanged, rescaling single units does not. Biases do not count. A
    BatchNorm layer that follows no layer, or one whose output is used elsewhere too, counts as a diagonal one. Without
    squares or the margin, unlike in Bartlett, Foster & Telgarsky 2017.
    """
    return Reading(math.prod(float(torch.linalg.matrix_norm(matrix, 2)) for matrix in folded_of(draws).matrices()))


@measure("frobenius-product", larger="sharper", closed_form=True, core=True, invariant=("permutation", "batch-size"))
def frobenius_product(objective: Objective, draws: Draws) -> Reading:
    """Return the product over layers of the root of the sum of squared weights, with BatchNorm folded in.

    The remarks on ``spectral-product`` hold here too. Source: Neyshabur, Tomioka & Srebro 2015.
    """
    return Reading(math.prod(float(torch.linalg.matrix_norm(matrix)) for matrix in folded_of(draws).matrices()))


@measure(
    "path-norm",
    larger="sharper",
    closed_form=True,
    core=True,
    invariant=("relu-rescaling", "permutation", "batch-size"),
)
def path_norm(objective: Objective, draws: Draws) -> Reading:
    """Return the root of the sum over paths from inputs or biases to outputs of the product of squared weights.

    It is the root of the sum of outputs of the net with squared weights and biases on an input of ones, with BatchNorm
    folded in. For a linear net its square is 1' (product of W∘W) 1. The net must be piecewise linear. Averages in
    pooling layers count as they are, without a square. Source: Neyshabur, Tomioka & Srebro 2015.
    """
    folded = folded_of(draws)
    model = deepcopy(folded.program.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.square_()
    total = _sum_of_outputs(folded, model, 1.0)
    draws.charge(3 / objective.samples, 3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] == "bias":
                parameter.zero_()
    once, twice = (_sum_of_outputs(folded, model, size) for size in (1.0, 2.0))
    if not math.isclose(twice, 2 * once, rel_tol=TOLERANCE):
        raise LandscapeError(
            "the path norm is defined for nets that are piecewise linear in their input, and without biases this one "
            f"gives {once:.6g} for ones and {twice:.6g} for twos."
        )
    return Reading(math.sqrt(total))


@measure("distance", larger="sharper", closed_form=True, core=True, invariant=("batch-size",))
def distance(objective: Objective, draws: Draws) -> Reading:
    """Return |w - w0|, the distance of the weights in scope to the start of training, in the Euclidean norm.

    Source: Nagarajan & Kolter 2019, as in Jiang et al. 2020.
    """
    start, theta = draws.settings.start, objective.theta
    if start is None:
        raise LandscapeError("the distance needs the parameters at the start of training. Pass `start=...`.")
    start = torch.as_tensor(start)
    if start.shape != theta.shape:
        raise LandscapeError(
            f"the start must hold all parameters, shape {tuple(theta.shape)}, not {tuple(start.shape)}. Pass the "
            "flat vector of the net's parameters as `start=...`."
        )
    return Reading(float(objective.scope.gather(theta.double() - start.to(theta).double()).norm()))


def _sum_of_outputs(folded: Folded, model: nn.Module, size: float) -> float:
    """Return the sum of a model's outputs for one sample whose every entry is ``size``."""
    batch = in_float64(spread(folded.program.batches[0], 1), size)
    return float(output_of(program_of(folded.program, model), batch).sum()) / batch.samples
