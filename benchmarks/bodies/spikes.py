"""Balls with long thin spikes. A spike that no ray has met leaves no trace."""

from __future__ import annotations

import math

import torch
from scipy.special import betainc
from torch import Tensor

from benchmarks.bodies.body import Body, Family, around_zero
from landscape.volume import log_unit_ball


def one_spike(n: int, length: float = 3.0) -> Body:
    """Return the unit ball with a cone around the first axis: tip at the centre, half-angle 0.5, out to a sphere."""
    angle = 0.5

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        return torch.where(x[..., 0] > math.cos(angle) * size, size / length, size)

    return Body(around_zero(f, n), log_unit_ball(n) + math.log1p(cone_share(n, angle) * (length**n - 1)))


def spikes(n: int, angle: float, share: float) -> Body:
    """Return the unit ball with a cone around each half-axis, so long that all cones hold ``share`` of the volume."""
    directions = 2 * n * cone_share(n, angle)
    longest = share / (1 - share) * (1 - directions) / directions  # r^n in the cones
    length = longest ** (1 / n)

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        return torch.where(x.abs().amax(-1) > math.cos(angle) * size, size / length, size)

    return Body(around_zero(f, n), log_unit_ball(n) + math.log(1 - directions + directions * longest))


def cone_share(n: int, angle: float) -> float:
    """Return the share of all directions that are within ``angle`` of one direction (Li 2011).

    >>> round(cone_share(3, math.pi / 3), 12)  # (1 - cos angle) / 2
    0.25
    """
    return 0.5 * float(betainc((n - 1) / 2, 0.5, math.sin(angle) ** 2))


FAMILIES: dict[str, Family] = {"spike": one_spike, "spikes": spikes}
