"""Bodies between flat walls: slabs and half-spaces, in the ball of the cap or in an ellipsoid; a room behind a wall."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.bodies.body import Body, Family, around_zero, frame, log_share_of_ball, rotation
from landscape.volume import log_unit_ball

_STEEP = 1e4  # slope of the half-spaces of a wedge: their wall is at a distance of one over it


def slab(n: int) -> Body:
    """Return |x_1| < 1/2 in the unit ball: the cap bounds all other directions."""
    truth = log_unit_ball(n) + log_share_of_ball(n, -0.5, 0.5)
    return Body(around_zero(lambda x: 2 * x[..., 0].abs(), n), truth, max_radius=1.0)


def slabs(n: int, count: int = 20, narrowest: float = 1e-3) -> Body:
    """Return the unit ball between orthogonal pairs of walls, in random directions, up to 0.3 from the centre."""
    widths, walls = np.geomspace(narrowest, 0.3, count), frame(n, count)
    slopes = torch.from_numpy(1 / widths)
    truth = log_unit_ball(n) + log_share_of_ball(n, -widths, widths)
    return Body(around_zero(lambda x: ((x @ walls).abs() * slopes).amax(-1), n), truth, max_radius=1.0)


def wedge(n: int, count: int = 20) -> Body:
    """Return the unit ball behind orthogonal walls that almost touch the centre: about 2^-count of the ball."""
    walls = frame(n, count)
    truth = log_unit_ball(n) + log_share_of_ball(n, np.full(count, -math.inf), 1 / _STEEP)
    return Body(around_zero(lambda x: _STEEP * (x @ walls).amax(-1).clamp(min=0), n), truth, max_radius=1.0)


def cut_ellipsoid(n: int, cuts: int = 3, condition: float = 1e4, *, distance: float) -> Body:
    """Return an ellipsoid cut by half-spaces. In the coordinates in which it is the unit ball these are orthogonal.

    Args:
        n: dimension.
        cuts: number of half-spaces.
        condition: of the curvatures, which go from 1 to it in equal ratios.
        distance: of the walls from the centre, in these coordinates.
    """
    turn, walls = rotation(n), frame(n, cuts) / distance
    log_curvatures = np.linspace(0, math.log(condition), n)
    axes = torch.from_numpy(np.exp(0.5 * log_curvatures))

    def f(x: Tensor) -> Tensor:
        y = axes * turn(x)
        return torch.maximum(y.square().sum(-1), (y @ walls).amax(-1))

    share = log_share_of_ball(n, np.full(cuts, -math.inf), distance)
    return Body(around_zero(f, n), log_unit_ball(n) - 0.5 * float(log_curvatures.sum()) + share)


def room(n: int) -> Body:
    """Return the unit ball with a wall at 0.7 for x_1 > 0; rays from the centre do not reach the room behind it."""

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        wall = (x[..., 0] > 0) & (size > 0.7) & (size < 1.5)
        return torch.where(wall, 2.0, torch.where(x[..., 0] > 0, size / 3, size))

    return Body(around_zero(f, n), log_unit_ball(n) + math.log((1 + 0.7**n) / 2))


FAMILIES: dict[str, Family] = {
    "slab": slab,
    "slabs": slabs,
    "wedge": wedge,
    "halfcut": partial(cut_ellipsoid, distance=1e-6),
    "halfmild": partial(cut_ellipsoid, distance=1e-2),
    "room": room,
}
