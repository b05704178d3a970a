"""The same objective on logits that are centred and have norm 1, so that their scale does not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch
from landscape.objective.losses.loss import Loss

_TINY = 1e-12


def normalised(logits: Tensor) -> Tensor:
    """Return logits minus their mean over the classes, divided by their norm; the last axis holds the classes.

    >>> normalised(Tensor([[3.0, 1.0]])).round(decimals=4)
    tensor([[ 0.7071, -0.7071]])
    """
    centred = logits - logits.mean(-1, keepdim=True)
    return centred / centred.norm(dim=-1, keepdim=True).clamp_min(_TINY)


def with_normalised_logits(objective: Objective) -> Objective:
    """Return the objective whose loss sees normalised logits (Andriushchenko et al. 2023); the original is unchanged.

    Raises:
        LandscapeError: if the loss does not say that the model returns logits of classes.
    """
    program = objective.program
    reading = program.losses[0].reading if isinstance(program, ModelProgram) else None
    if (
        not isinstance(program, ModelProgram)
        or reading is None
        or reading.output != "logits"
        or reading.kind == "binary"
    ):
        raise LandscapeError(
            f"the loss {objective.loss_name} does not say that the model returns logits of classes, so they cannot be "
            "normalised.\nLeave `normalise_logits=...` out, or pass `loss='cross_entropy'`, or `output='logits'`."
        )
    return objective.with_program(program.with_losses(tuple(_on_normalised(loss) for loss in program.losses)))


def _on_normalised(loss: Loss) -> Loss:
    """Return a loss that normalises the logits first."""

    def total(output: Any, batch: Batch) -> Tensor:
        predictions = loss.reading.predictions(output)
        target = loss.reading.aligned(batch.target)
        rows = loss.reading.rows(predictions, target)
        return loss.total(normalised(rows) if rows is predictions else normalised(rows).movedim(-1, 1), batch)

    return replace(loss, total=total)
