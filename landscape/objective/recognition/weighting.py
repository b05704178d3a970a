"""What the mean of a batch is divided by, found by cutting a batch in two: the parts must add up to the whole.

The parts differ in size. Halves of data in a regular order would hold the same classes, and add up under any divisor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor

from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch, split_batches
from landscape.objective.losses.loss import entries_of, one, samples_of
from landscape.objective.losses.meanings import PIXEL_WITHOUT_LABEL, left_out_of
from landscape.objective.losses.named import classes_counted
from landscape.objective.losses.predictions import Reading
from landscape.objective.moved_weights import AnyPoint

_SAMPLES = 16  # in the batch that is cut
_LOOKED_AT = 30  # pieces of data that are searched for one that tells the divisors apart
_CUTS = 3  # that many batches are cut: the parts of one can hold the same classes
_ALIKE = 1e-4  # relative: a sum that differs by less differs by rounding
HIDDEN = (
    "the loss of a batch is not a mean over its samples or its labels, as with class weights, or samples that act on "
    "each other. So its value depends on how the data are cut into batches. Return one term per sample to make it "
    "exact, or pass nn.CrossEntropyLoss(weight=...) itself for class weights"
)
UNCHECKED = (
    "the loss returns one number for a batch, and nothing shows what it is divided by, since the batches cannot be "
    "cut. Each batch counts by its samples; if the loss is a sum or weighted, return one term per sample"
)

Count = Callable[[Batch], float]


def weighting(
    program: ModelProgram, point: AnyPoint, value_of: Callable[[Any, Batch], Tensor], batches: tuple[Batch, ...]
) -> tuple[Count, tuple[str, ...]]:
    """Return what the mean of a batch is divided by, and a note if that cannot be found.

    Args:
        program: the model, running.
        point: a point at which the loss is not at rest.
        value_of: (output, batch) -> the mean over the batch, or one term per sample.
        batches: all batches.
    """
    cuts = _cuts(batches)
    if not cuts or program.training:
        return samples_of, (UNCHECKED,)
    try:
        sums = [_Sums(program, point, value_of, *cut) for cut in cuts]
    except Exception:  # a model that cannot run on so few samples
        return samples_of, (UNCHECKED,)
    if any(each.several for each in sums):  # one term per sample: nothing is hidden
        return samples_of, ()
    for divisor in _divisors(cuts[0][0]):
        if all(each.add_up(divisor) for each in sums):
            return divisor, ()
    return samples_of, (HIDDEN,)


class _Sums:
    """The means of a batch and of its parts."""

    def __init__(
        self,
        program: ModelProgram,
        point: AnyPoint,
        value_of: Callable[[Any, Batch], Tensor],
        piece: Batch,
        parts: tuple[Batch, ...],
    ) -> None:
        self._parts = (piece, *parts)
        values = [value_of(program.with_batches((part,)).output(point, 0), part) for part in self._parts]
        self.several = values[0].numel() > 1
        self._means = [float(value.mean()) for value in values]
        self._alike = max(_ALIKE, 4 * float(torch.finfo(values[0].dtype).eps))

    def add_up(self, divisor: Count) -> bool:
        """Return whether the parts' totals add up to that of the batch, if this divides the mean."""
        whole, *parts = (mean * divisor(part) for mean, part in zip(self._means, self._parts, strict=True))
        return abs(whole - sum(parts)) <= self._alike * sum(map(abs, parts))


def telling_batch(batches: tuple[Batch, ...], first: Batch) -> Batch:
    """Return a batch whose class indices show which of them are left out, if one does; otherwise the first."""
    if not isinstance(first.target, Tensor) or first.target.is_floating_point() or _shows_left_out(first):
        return first
    return next((piece for piece in islice(_pieces(batches), _LOOKED_AT) if _shows_left_out(piece)), first)


def _shows_left_out(batch: Batch) -> bool:
    target = batch.target
    return isinstance(target, Tensor) and bool(((target <= 0) | (target == PIXEL_WITHOUT_LABEL)).any())


def _cuts(batches: tuple[Batch, ...]) -> list[tuple[Batch, tuple[Batch, ...]]]:
    """Return a few samples and their two parts, several times; first those whose parts differ in their labels."""
    cuts = [(piece, _parts_of(piece)) for piece in islice(_pieces(batches), _LOOKED_AT)]
    whole = [cut for cut in cuts if len(cut[1]) == 2]
    return sorted(whole, key=lambda cut: not _tells(*cut))[:_CUTS]


def _pieces(batches: tuple[Batch, ...]) -> Iterator[Batch]:
    for batch in batches:
        yield from split_batches((batch,), _SAMPLES)


def _parts_of(piece: Batch) -> tuple[Batch, ...]:
    return split_batches((piece,), max(1, 2 * piece.samples // 3))


def _tells(piece: Batch, parts: tuple[Batch, ...]) -> bool:
    """Return whether the divisors differ in the share that they give to the first part."""
    shares = [divisor(parts[0]) / max(divisor(piece), 1) for divisor in _divisors(piece) if divisor is not one]
    return max(shares) > min(shares)


def _divisors(batch: Batch) -> tuple[Count, ...]:
    """Return the divisors that the targets allow: labels can be left out, and moved in sequences."""
    target = batch.target
    if not isinstance(target, Tensor):
        return samples_of, one
    if target.is_floating_point():
        return samples_of, one, entries_of
    readings = product((False, True)[: target.dim()], left_out_of(target))
    return (
        samples_of,
        one,
        entries_of,
        *(partial(_labels, Reading("", "", ignored, moves)) for moves, ignored in readings),
    )


def _labels(reading: Reading, batch: Batch) -> float:
    return classes_counted(batch, reading)
