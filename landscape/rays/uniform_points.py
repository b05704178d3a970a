"""Uniform points in a ball, many at a time: directions and radii that are never stored.

A ray that is worth one evaluation needs a cheap direction. So rays come in groups that share one stream, and normals
come from its bits by the transform of Box & Muller (1958), on whole arrays. (seed, index) gives each ray again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from landscape.rays.directions import check_seed
from landscape.rays.metric import Metric
from landscape.rays.streams import Purpose, stream

_GROUP_ENTRIES = 2**18  # of the directions of one group, if it has more than one ray
_MOST_IN_GROUP = 64


class UniformPoints:
    """Points u = s · phi, uniform in the ball of radius R of R^n, keyed by (seed, index).

    phi is uniform on the sphere, and s = R U^(1/n) with U uniform in (0, 1).

    Args:
        metric: the scale of a step.
        seed: keys the points.
        like: theta, shape (D,), for dtype and device of the steps.
        max_radius: R.

    >>> from landscape.objective import Objective
    >>> from landscape.rays import make_metric
    >>> plane = Objective.from_function(lambda x: x.sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> points = UniformPoints(make_metric("identity", plane.theta, plane.scope), 0, plane.theta, 3.0)
    >>> bool(torch.equal(points.steps([70, 5]), points.steps(range(100))[[70, 5]]))
    True
    >>> bool(np.array_equal(points.radii([70]), points.radii(range(100))[70:71]))
    True
    """

    def __init__(self, metric: Metric, seed: int, like: Tensor, max_radius: float) -> None:
        self.metric, self.seed, self.max_radius, self._like = metric, check_seed(seed), max_radius, like
        self.group = max(1, min(_MOST_IN_GROUP, _GROUP_ENTRIES // metric.scope.size))
        self._latest = (-1, like.new_zeros(0))  # the last group that was drawn, and its directions

    def steps(self, indices: Sequence[int]) -> Tensor:
        """Return the steps for r = 1 with these indices, shape (k, D), on the device and in the dtype of theta."""
        wanted, scope = np.asarray(indices), self.metric.scope
        steps = self._like.new_zeros(len(wanted), scope.layout.size)
        for group in np.unique(wanted // self.group):
            rows = np.flatnonzero(wanted // self.group == group)
            values, chosen = self._scaled_directions(int(group)), wanted[rows] - group * self.group
            if _consecutive(rows) and _consecutive(chosen):  # as they are asked for in long runs: no copies
                scope.scatter(values[chosen[0] : chosen[-1] + 1], steps[rows[0] : rows[-1] + 1])
            else:
                for row, place in zip(rows, chosen, strict=True):
                    scope.scatter(values[int(place)], steps[int(row)])
        return steps

    def radii(self, indices: Sequence[int]) -> np.ndarray:
        """Return the radii s of these points, shape (k,)."""
        wanted = np.asarray(indices)
        radii = np.zeros(len(wanted))
        for group in np.unique(wanted // self.group):
            rows = np.flatnonzero(wanted // self.group == group)
            shares = 1.0 - stream(Purpose.GROUP_OF_RAYS, self.seed, int(group), part=1).random(self.group)
            radii[rows] = self.max_radius * shares[wanted[rows] - group * self.group] ** (1 / self.metric.scope.size)
        return radii

    def _scaled_directions(self, group: int) -> Tensor:
        """Return s · phi of one group, shape (group, n), on the device and in the dtype of theta."""
        if self._latest[0] != group:
            n = self.metric.scope.size
            bits = stream(Purpose.GROUP_OF_RAYS, self.seed, group).bit_generator.random_raw((self.group * n + 1) // 2)
            normals = _normals(bits)[: self.group * n].view(self.group, n)
            # in float64: in float32 the length of a long vector would be wrong in its fifth digit
            lengths = torch.linalg.vector_norm(normals, dim=1, keepdim=True, dtype=torch.float64)
            values = normals.div_(lengths.to(normals)).to(self._like)
            if self.metric.scale is not None:
                values.mul_(self.metric.scale)
            self._latest = group, values
        return self._latest[1]


def _consecutive(places: np.ndarray) -> bool:
    return bool(places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all())


def _normals(bits: np.ndarray) -> Tensor:
    """Return two standard normals, float32, for each word of 64 bits, shape (2 k,)."""
    uniform = torch.from_numpy(np.asarray(bits, dtype="<u8").view("<u4").astype(np.float32))
    half = len(uniform) // 2
    radius = uniform[:half].add_(1.0).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()  # from (0, 1], so the log is finite
    angle = uniform[half:].mul_(2.0**-31 * math.pi)
    normals = torch.empty_like(uniform)
    torch.mul(radius, torch.cos(angle), out=normals[:half])
    torch.mul(radius, torch.sin(angle), out=normals[half:])
    return normals
