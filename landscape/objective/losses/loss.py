"""A loss as a sum over terms, so that batches of any size add up exactly.

A mean over batches is biased if the last batch is smaller. Here every loss returns the total of a batch. The objective
adds the totals in float64 and divides once by the number of terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import TaskError
from landscape.objective.batches import Batch
from landscape.objective.losses.predictions import UNKNOWN, Reading


@dataclass(frozen=True)
class Loss:
    """A loss as a total over one batch.

    Attributes:
        name: ``cross_entropy`` and so on, or the name of the user's function followed by ``()``.
        total: (output, batch) -> sum of the batch's terms, a float64 scalar.
        count: batch -> what the sum is divided by: the number of terms, or the sum of their weights.
        nonnegative: whether no term can be below zero, which makes early stopping exact.
        per_sample: whether the terms of a sample depend on that sample alone, so that batches may be cut and joined.
        reading: what the loss says about predictions and targets.
        summed: whether the loss is the sum over all data, which nothing divides; ``count`` then gives shares.
        opaque: whether a function of the user's reads the output in its own structure; others read the predictions.
        likelihood: whether its mean is that of -log p(target) with the softmax or sigmoid of the predictions, so that
            its Gauss-Newton matrix is the second derivative of the KL divergence.
    """

    name: str
    total: Callable[[Any, Batch], Tensor]
    count: Callable[[Batch], float]
    nonnegative: bool
    per_sample: bool
    reading: Reading = UNKNOWN
    summed: bool = False
    opaque: bool = False
    likelihood: bool = False


def counts_of(losses: tuple[Loss, ...], batches: tuple[Batch, ...]) -> tuple[float, ...]:
    """Return what each batch adds to the divisor; for a loss that is a sum, these are shares that add up to 1."""
    counts = tuple(loss.count(batch) for loss, batch in zip(losses, batches, strict=True))
    if not losses[0].summed:
        return counts
    whole = sum(counts)
    return tuple(count / whole for count in counts)


def float64_sum(terms: Tensor) -> Tensor:
    return terms.sum(dtype=torch.float64)


def samples_of(batch: Batch) -> int:
    return batch.samples


def one(batch: Batch) -> float:
    """Return 1: what the sum over a batch is divided by."""
    return 1


def entries_of(batch: Batch) -> int:
    """Return the number of entries of the target."""
    return batch.target.numel() if isinstance(batch.target, Tensor) else batch.samples


def need_target(batch: Batch, name: str) -> Tensor:
    """Return the target.

    Raises:
        TaskError: if the batch has none.
    """
    if isinstance(batch.target, Tensor):
        return batch.target
    raise TaskError(
        f"the loss {name!r} compares with a target, and the batch ({type(batch.raw).__name__}) carries none.\n"
        "Give batches (inputs, target), or a dict with the key labels, or your own forward and loss."
    )
