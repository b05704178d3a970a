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
from landscape.rays.metric import Metric
from landscape.rays.streams import Purpose, stream

_PIECE = 2**16  # entries in float64 at a time


def check_seed(seed: int) -> int:
    """Return ``seed`` as an int if it can key a direction."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ObjectiveError(f"the seed must be a whole number from 0 to 2^64 - 1, not {seed!r}.")
    return int(seed)


def gaussian(seed: int, index: int, n: int) -> np.ndarray:
    """Return standard normals, shape (n,), float32, which depend on (seed, index) alone.

    >>> bool(np.array_equal(gaussian(0, 7, 3), gaussian(0, 7, 5)[:3]))
    True
    """
    return stream(Purpose.DIRECTION, seed, index).standard_normal(n, dtype=np.float32)


class Directions(Protocol):
    """Random directions of rays, keyed by their index."""

    metric: Metric

    def steps(self, indices: Sequence[int]) -> Tensor:
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
        out = self._like.new_zeros(len(indices), scope.layout.size)
        for row, index in enumerate(indices):
            normal = gaussian(self.seed, index, scope.size)
            length = _length(normal)
            values = torch.from_numpy(normal).to(out).div_(length)  # no copy, unless dtype or device differ
            if self.metric.scale is not None:
                values.mul_(self.metric.scale)
            scope.scatter(values, out[row])
        return out

    def describe(self) -> dict[str, Any]:
        """Return nothing: metric and seed determine the directions."""
        return {}


def _length(vector: np.ndarray) -> float:
    """Return the Euclidean norm, summed in float64 piece by piece: in float32 the fifth digit would be wrong."""
    pieces = range(0, len(vector), _PIECE)
    return float(np.sqrt(sum(np.square(vector[i : i + _PIECE], dtype=np.float64).sum() for i in pieces)))
