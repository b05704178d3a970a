"""The gradient at the trained point as a measure: its norm, and how much it differs between samples."""

from __future__ import annotations

import math

import numpy as np

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.measures.slopes import Slopes, full_gradient
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import split_batches
from landscape.objective.evaluate import GRADIENT_COST
from landscape.rays.streams import sample_order

SAMPLES = 256  #: whose own gradients are taken, at most


@measure("gradient-norm", larger="sharper", closed_form=True, invariant=("permutation", "batch-size"))
def gradient_norm(objective: Objective, draws: Draws) -> Reading:
    """Return |g| with g the gradient of the loss by the weights in scope."""
    return Reading(float(full_gradient(draws).double().norm()))


@measure("noise-scale", larger="sharper", closed_form=True, invariant=("permutation", "batch-size"))
def noise_scale(objective: Objective, draws: Draws) -> Reading:
    """Return tr S / |g|² with S the covariance of the samples' gradients: a batch of this size halves the noise.

    The gradient g is the mean over all samples. tr S = n / (n - 1) · (mean |g_i|² - |g|²) over n samples. With more
    than 256 samples the mean comes from 256 of them, drawn at random, and has an error. The formula is about these
    data. For the distribution that they come from, |g|² is too large by tr S / n.

    Source: McCandlish, Kaplan, Amodei et al. 2018, the simple noise scale.
    """
    size = float(full_gradient(draws).double().norm()) ** 2
    if not size:
        raise LandscapeError("the gradient at the trained point is 0, so there is no ratio of noise to gradient.")
    squares = _squared_norms(objective, draws)
    n, m = objective.samples, len(squares)
    trace = n / (n - 1) * (float(squares.mean()) - size)
    share_unseen = 1 - m / n
    error = n / (n - 1) * float(squares.std(ddof=1)) * math.sqrt(share_unseen / m)
    return Reading(trace / size, error / size, samples=squares)


def _squared_norms(objective: Objective, draws: Draws) -> np.ndarray:
    """Return |g_i|² of the gradients of samples, whose mean over all samples is the gradient, shape (m,)."""
    program = objective.program
    if not isinstance(program, ModelProgram):
        raise LandscapeError("the noise scale compares the gradients of samples, and a plain function has none.")
    pieces = split_batches(program.batches, 1)
    if len(pieces) != objective.samples or objective.describe()["batch_sizes"] is not None:
        raise LandscapeError(
            "the noise scale needs the gradient of each sample, and the samples of a batch cannot be separated here."
        )
    if len(pieces) < 2:
        raise LandscapeError("the noise scale compares samples, and there is only one.")
    chosen = sample_order(draws.settings.seed, len(pieces))[:SAMPLES]
    singles = program.with_batches(tuple(pieces[i] for i in sorted(chosen)))
    share = objective.samples / sum(program.counts)  # a sample may have many terms
    norms = []
    with objective.running():
        slopes = Slopes(objective, singles)
        for index, count in enumerate(singles.counts):
            length = float(slopes.at(objective.theta, [index])[1].double().norm()) if count else 0.0
            norms.append((share * count * length) ** 2)
    draws.charge(GRADIENT_COST * len(norms) / objective.samples, len(norms))
    return np.array(norms)
