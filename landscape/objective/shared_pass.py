"""Passes of single points over the data, divided among ranks by point and by batch.

The rule, for P points that run one at a time on R ranks:

- As many points as fill whole rounds of R go to the ranks in turn. A rank makes a whole pass for each.
- The batches of the other P mod R points go to the ranks in turn: batch 1 of each point, then batch 2 of each. If
  passes may stop early, the ranks exchange their sums after every R batches.

The sums of single batches are added by batch index, as in a pass of one process. So the numbers are the same bytes for
any number of ranks. A batch beyond the one where a pass stops may be computed, and is then left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape import distributed
from landscape.objective.batch_loss import Program, evaluating
from landscape.objective.evaluate import Evaluation, run_pass
from landscape.objective.moved_weights import PointList

_PLACE = "around the trained point"


@dataclass(frozen=True)
class Points:
    """Points to evaluate.

    Attributes:
        count: how many.
        at: a range of their numbers -> the points, shape (k, D).
        ceiling: the loss at which a pass stops, shape (count,); it has no effect if terms may be negative.
        check: as for :func:`landscape.distributed.each`.
    """

    count: int
    at: Callable[[slice], Tensor | PointList]
    ceiling: np.ndarray | None
    check: Callable[[], bytes]

    def evaluate(self, program: Program, part: slice) -> Evaluation:
        """Return the evaluation of some of the points, together."""
        return run_pass(program, self.at(part), None if self.ceiling is None else self.ceiling[part])


def evaluate_points(program: Program, points: Points, lanes: int) -> list[Evaluation]:
    """Return the evaluations of all points, ``lanes`` points together, shared by all ranks."""
    shared = points.count
    if program.sharded:  # all ranks hold a part of each point
        return [points.evaluate(program, slice(i, i + 1)) for i in range(points.count)]
    if lanes == 1 and len(program.counts) > 1:
        shared -= points.count % distributed.count()
    parts = [slice(start, min(start + lanes, shared)) for start in range(0, shared, lanes)]
    done = distributed.each(parts, lambda part: points.evaluate(program, part), points.check) if parts else []
    return [*done, *_by_batch(program, points, range(shared, points.count))]


def batch_totals(program: Program, points: Tensor | PointList, place: str) -> list[Tensor]:
    """Return the totals of each batch at points that run one at a time, shape (k,) or (k, ...), one rank for each.

    Args:
        program: the loss.
        points: shape (k, D).
        place: where the points lie, for errors.
    """

    def totals(batch: int) -> Tensor:
        with evaluating(program, batch, place):
            return program.totals(points, batch).cpu()

    if program.sharded:
        return [totals(batch) for batch in range(len(program.counts))]
    totals_of = distributed.each(range(len(program.counts)), totals, lambda: distributed.sample(points))
    return [total.to(points.device) for total in totals_of]


class _Pass:
    """A pass at one point, as far as its batches are known: the arithmetic of :func:`run_pass`."""

    def __init__(self, counts: Sequence[float], stop_at: float | None) -> None:
        self._counts, self._stop_at = counts, stop_at
        self._total = self._read = 0.0
        self._next = 0
        self._stopped = False

    @property
    def batches(self) -> range:
        """The batches that are still to be read."""
        return range(len(self._counts) if self._stopped else self._next, len(self._counts))

    def add(self, total: float) -> None:
        """Add the sum of the next batch, unless the pass has stopped."""
        if self._stopped:
            return
        self._total += total
        self._read += self._counts[self._next]
        self._next += 1
        if self._stop_at is not None and self._next < len(self._counts):
            self._stopped = not self._total < self._stop_at  # NaN compares false, so it stops too

    def evaluation(self) -> Evaluation:
        """Return what the batches say."""
        divisor = self._read if self._read > 0 else 1.0
        share = self._read / float(sum(self._counts))
        return Evaluation(np.array([self._total / divisor]), np.array([not self._stopped]), np.array([share]))


def _by_batch(program: Program, points: Points, left: Sequence[int]) -> list[Evaluation]:
    """Return the evaluations of the points that are left; each rank computes other batches."""
    stops = points.ceiling is not None and program.nonnegative
    everything = float(sum(program.counts))
    stop_at = points.ceiling * everything if stops and points.ceiling is not None else None
    passes = {point: _Pass(program.counts, None if stop_at is None else float(stop_at[point])) for point in left}

    def total(job: tuple[int, int]) -> float:
        batch, point = job
        with evaluating(program, batch, _PLACE):
            return float(program.totals(points.at(slice(point, point + 1)), batch)[0])

    while jobs := sorted((batch, point) for point, each in passes.items() for batch in each.batches):
        wave = jobs[: distributed.count()] if stops else jobs
        for (_, point), value in zip(wave, distributed.each(wave, total, points.check), strict=True):
            passes[point].add(value)
    return [passes[point].evaluation() for point in left]
