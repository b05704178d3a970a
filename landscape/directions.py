"""Random directions that are never stored: (seed, index) regenerates each of them.

A direction depends on nothing else: not on the order of the calls, the chunking, the worker, the device or the dtype.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.metric import Metric


def check_seed(seed: int) -> int:
    """Return ``seed`` as an int if it can key a direction."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ObjectiveError(f"the seed must be a whole number from 0 to 2^64 - 1, not {seed!r}.")
    return int(seed)


def gaussian(seed: int, index: int, n: int) -> np.ndarray:
    """Return standard normals, shape (n,), float32: the Philox stream whose key is (seed, index).

    >>> bool(np.array_equal(gaussian(0, 7, 3), gaussian(0, 7, 5)[:3]))
    True
    """
    # a plain list would pass through float64 where the seed is above 2^63, and lose its last digits
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(n, dtype=np.float32)


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
            normal = torch.from_numpy(gaussian(self.seed, index, scope.size))
            # the norm in float64: a float32 sum over 10^7 entries would be off in the fifth digit
            length = float(np.sqrt(np.square(normal.numpy(), dtype=np.float64).sum()))
            values = normal.to(out) / length
            scope.scatter(values if self.metric.scale is None else values.mul_(self.metric.scale), out[row])
        return out
