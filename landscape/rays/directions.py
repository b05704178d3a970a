"""Random directions that are never stored: (seed, index) gives each of them again.

A direction depends on nothing else: not on the order of calls, chunks, processes, the device or the dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.moved_weights import StepList
from landscape.rays.metric import Metric
from landscape.rays.streams import Purpose, restart, stream

_PIECE = 2**16  # entries in float64 at a time


def check_seed(seed: int) -> int:
    """Return ``seed`` as an int if it can key a direction."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ObjectiveError(f"the seed must be a whole number from 0 to 2^64 - 1, not {seed!r}.")
    return int(seed)


def gaussians(seed: int, indices: Sequence[int], n: int) -> np.ndarray:
    """Return standard normals, shape (k, n), float32; each row depends on the seed and its own index alone.

    >>> bool(np.array_equal(gaussians(0, [9, 7], 3)[1:], gaussians(0, [7], 5)[:, :3]))
    True
    """
    normals, source = np.empty((len(indices), n), dtype=np.float32), stream(Purpose.DIRECTION, seed)
    for row, index in zip(normals, indices, strict=True):
        restart(source, Purpose.DIRECTION, seed, index).standard_normal(out=row, dtype=np.float32)
    return normals


class Drawn:
    """Standard normals of one stream that are drawn in order, few at a time: those that a rank needs are kept.

    Args:
        source: the stream.
        n: how many there are.
    """

    def __init__(self, source: np.random.Generator, n: int) -> None:
        self._source, self._n = source, n
        self._start = self._stop = 0  # of the piece that was drawn last
        self._piece = np.zeros(0, dtype=np.float32)
        self._squares = 0.0

    def values(self, start: int, stop: int) -> np.ndarray:
        """Return the normals at these positions, float32; positions never go back by more than a piece."""
        out = np.empty(stop - start, dtype=np.float32)
        place = start
        while place < stop:
            if place >= self._stop:
                self._draw()
                continue
            end = min(stop, self._stop)
            out[place - start : end - start] = self._piece[place - self._start : end - self._start]
            place = end
        return out

    def length(self) -> float:
        """Return the Euclidean norm of all of them, summed as :func:`_length` does."""
        while self._stop < self._n:
            self._draw()
        return float(np.sqrt(self._squares))

    def _draw(self) -> None:
        self._start, self._stop = self._stop, min(self._stop + _PIECE, self._n)
        self._piece = self._source.standard_normal(self._stop - self._start, dtype=np.float32)
        self._squares += np.square(self._piece, dtype=np.float64).sum()


def drawn_in_order(seed: int, index: int, n: int) -> Drawn:
    """Return the same normals as :func:`gaussians`, for a reader that needs a part of them at a time."""
    return Drawn(stream(Purpose.DIRECTION, seed, index), n)


class Directions(Protocol):
    """Random directions of rays, keyed by their index."""

    def steps(self, indices: Sequence[int]) -> Tensor | StepList:
        """Return the steps for r = 1 with these indices, shape (k, D); each depends only on its own index."""

    def describe(self) -> dict[str, Any]:
        """Return what determines the directions in addition to metric and seed; nothing if they are uniform."""


class RandomDirections:
    """Uniform directions on the unit sphere of R^n, as steps in parameter space.

    phi = z / |z| with z standard normal; the step for r = 1 is s · phi, zero outside the scope.
    """

    def __init__(self, metric: Metric, seed: int, like: Tensor) -> None:
        self.metric = metric
        self.seed = check_seed(seed)
        self._like = like

    def steps(self, indices: Sequence[int]) -> Tensor:
        """Return the steps with these indices, shape (k, D), on the device and in the dtype of theta."""
        scope = self.metric.scope
        out = self._like.new_zeros(len(indices), scope.layout.held)
        rows = max(1, _PIECE // scope.size)  # at a time: what concerns all of them is done once
        for start in range(0, len(indices), rows):
            normals, lengths = self._drawn(indices[start : start + rows])
            values = torch.from_numpy(normals).to(out)  # no copy, unless dtype or device differ
            for row, length in zip(values, lengths, strict=True):
                row.div_(length)
            if self.metric.scale is not None:
                values.mul_(self.metric.scale)
            scope.scatter(values, out[start : start + rows])
        return out

    def _drawn(self, indices: Sequence[int]) -> tuple[np.ndarray, list[float]]:
        """Return z with these indices, (k, n) float32 or what this rank holds of it, and the length of each."""
        scope = self.metric.scope
        if scope.layout.holding.ranks > 1:
            drawn = [drawn_in_order(self.seed, index, scope.size) for index in indices]
            return np.stack([scope.pick(each.values) for each in drawn]), [each.length() for each in drawn]
        normals = gaussians(self.seed, indices, scope.size)
        return normals, [_length(row) for row in normals]

    def describe(self) -> dict[str, Any]:
        """Return nothing: metric and seed determine the directions."""
        return {}


def _length(vector: np.ndarray) -> float:
    """Return the Euclidean norm, summed in float64 piece by piece: in float32 the fifth digit would be wrong."""
    pieces = range(0, len(vector), _PIECE)
    return float(np.sqrt(sum(np.square(vector[i : i + _PIECE], dtype=np.float64).sum() for i in pieces)))
