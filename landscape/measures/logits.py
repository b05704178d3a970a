"""The logits of a classifier on all of its data, for measures of its function alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.objective.batch_loss import CENTRE, ModelProgram, evaluating


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
    if not isinstance(program, ModelProgram) or reading is None or (reading.output, reading.kind) != _CLASSES:
        raise LandscapeError(
            f"this measure needs logits of classes, and the loss {draws.objective.loss_name} does not say that the "
            "model returns them. Pass `loss='cross_entropy'`."
        )
    rows, targets = [], []
    with draws.objective.running():
        for index, batch in enumerate(program.batches):
            with evaluating(program, index, CENTRE):
                predictions = reading.predictions(program.output(draws.objective.theta, index))
            target = reading.aligned(batch.target)
            row = reading.rows(predictions, target)
            left_out = reading.left_out(row, target)
            if left_out is None:
                raise LandscapeError("this measure needs the right class of each sample, and the targets are none.")
            rows.append(row[~left_out].double())
            targets.append(target[~left_out].long())
    draws.charge(1)
    return Logits(torch.cat(rows), torch.cat(targets))


_CLASSES = ("logits", "classes")
