"""The logits of a classifier on all of its data, for measures of its function alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.objective.batch_loss import CENTRE, ModelProgram, evaluating
from landscape.objective.losses.predictions import Reading


@dataclass(frozen=True)
class Logits:
    """The predictions of a classifier at the trained point.

    Attributes:
        values: shape (predictions, classes), float64.
        target: the right class of each, shape (predictions,).
    """

    values: Tensor
    target: Tensor

    @property
    def right(self) -> Tensor:
        """The logit of the right class, shape (predictions,)."""
        return self.values.gather(1, self.target[:, None])[:, 0]


def logits_of_all(draws: Draws) -> Logits:
    """Return the logits of all samples, in one pass for all measures that ask.

    They are those of the model, whether or not the loss sees normalised ones.

    Raises:
        LandscapeError: if the loss does not say that the model returns logits of classes, or a target is no class.
    """
    return draws.once("logits", lambda: _read(draws))


def _read(draws: Draws) -> Logits:
    program = draws.objective.program
    reading = program.losses[0].reading if isinstance(program, ModelProgram) else None
    if not isinstance(program, ModelProgram) or reading is None or reading.output != "logits" or not reading.kind:
        raise LandscapeError(
            f"this measure needs logits of classes, and the loss {draws.objective.loss_name} does not say that the "
            "model returns them. Pass `loss='cross_entropy'`, or `loss='binary_cross_entropy'`."
        )
    pairs = []
    with draws.objective.running():
        for index, batch in enumerate(program.batches):
            with evaluating(program, index, CENTRE):
                predictions = reading.predictions(program.output(draws.objective.theta, index))
            pairs.append((_binary if reading.kind == "binary" else _classes)(predictions, batch.target, reading))
    draws.charge(1)
    rows, targets = zip(*pairs, strict=True)
    return Logits(torch.cat(rows).double(), torch.cat(targets).long())


def _classes(predictions: Tensor, target: Any, reading: Reading) -> tuple[Tensor, Tensor]:
    """Return the logits of the samples that count, shape (k, classes), and their classes."""
    target = reading.aligned(target)
    rows = reading.rows(predictions, target)
    left_out = reading.left_out(rows, target)
    if left_out is None:
        raise LandscapeError(_NO_CLASS)
    return rows[~left_out], target[~left_out]


def _binary(predictions: Tensor, target: Any, reading: Reading) -> tuple[Tensor, Tensor]:
    """Return a logit f of a yes or no as the logits (0, f) of two classes; every entry counts as a prediction."""
    if not isinstance(target, Tensor) or target.numel() != predictions.numel() or not bool(_is_class(target).all()):
        raise LandscapeError(_NO_CLASS)
    yes = predictions.reshape(-1)
    return torch.stack([torch.zeros_like(yes), yes], dim=1), target.reshape(-1)


def _is_class(target: Tensor) -> Tensor:
    return (target == 0) | (target == 1)


_NO_CLASS = "this measure needs the right class of each sample: a whole number, or 0 or 1 for a yes or no."
