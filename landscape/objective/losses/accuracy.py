"""The share of right predictions, if the loss says what the predictions are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from landscape.objective.batches import Batch
from landscape.objective.losses.loss import Loss

_HALF = {"logits": 0.0, "probabilities": 0.5, "log-probabilities": math.log(0.5)}


class Counts(NamedTuple):
    """Predictions of a batch.

    Attributes:
        right: how many are right.
        known: how many there are.
        counted: counts the right ones in any output on this batch.
    """

    right: int
    known: int
    counted: Callable[[Any], Tensor]


def accuracy_counts(loss: Loss, output: Any, batch: Batch) -> Counts:
    """Return the numbers of right and of all predictions of a batch; both are 0 if the loss does not tell them."""
    right, known = right_from(loss, output, batch)
    return Counts(int(right(output)), known, right)


def right_from(loss: Loss, output: Any, batch: Batch) -> tuple[Callable[[Any], Tensor], int]:
    """Return a function that counts the right predictions in any output on this batch, and the number of predictions.

    The loss tells the kind of prediction. The likeliest class is right if it is the target. A yes or no is right if its
    probability lies on the same side of 1/2 as a target of 0 or 1. The function consists of tensor operations only, so
    it can count at many points at once. If the loss does not tell, or the targets are not classes, both numbers are 0.
    """
    reading = loss.reading
    target = reading.aligned(batch.target)
    none = (lambda _: torch.zeros((), dtype=torch.int64)), 0
    if not isinstance(target, Tensor) or not reading.kind:
        return none
    logits = reading.predictions(output)
    if reading.kind == "binary":
        if not bool(((target == 0) | (target == 1)).all()) or logits.numel() != target.numel():
            return none
        positive, half = target == 1, _HALF[reading.output]
        return lambda moved: (
            (reading.predictions(moved).reshape(target.shape) > half) == positive
        ).sum(), target.numel()
    if target.is_floating_point() and target.shape == logits.shape:
        likeliest = target.argmax(1)
        return lambda moved: (reading.predictions(moved).argmax(1) == likeliest).sum(), likeliest.numel()
    left_out = reading.left_out(reading.rows(logits, target), target)
    if left_out is None:
        return none
    counted = ~left_out
    return (
        lambda moved: ((reading.rows(reading.predictions(moved), target).max(-1).indices == target) & counted).sum(),
        int(counted.sum()),
    )
