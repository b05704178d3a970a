"""Bodies whose centre is off theta, as the basins of most trained points are: ellipsoids, and rounded boxes.

The losses of some ellipsoids are no quadratics: they are steeper or flatter further out. Some are cut by walls.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from benchmarks.bodies.body import Body, Family, around_zero, frame, rotation
from landscape.volume import log_unit_ball

_STEEP = 1e4  # slope of the walls


def off_centre(n: int, condition: float, offset: float) -> Body:
    """Return the ellipsoid |a y - offset u| < 1, with y a rotation of x, and u a random unit vector.

    The curvatures a_i^2 go from 1 to ``condition`` in equal ratios. In the coordinates a y the body is the unit ball
    and theta is ``offset`` of its radius from the centre, in a direction that has a part in every eigenvector.
    """
    return _ellipsoid(lambda q: q, n, condition, offset)


def squared(n: int, condition: float, offset: float) -> Body:
    """Return the same ellipsoid with the square of the loss: it is flat at the centre and steep at the wall."""
    return _ellipsoid(torch.square, n, condition, offset)


def logarithm(n: int, condition: float, offset: float) -> Body:
    """Return the same ellipsoid with a loss that hardly rises further out; around theta one direction bends down."""
    return _ellipsoid(lambda q: torch.log1p(20 * q) / math.log(21.0), n, condition, offset)


def cut(n: int, cuts: int, condition: float, offset: float) -> Body:
    """Return what walls through its centre leave of the same ellipsoid: 2^-cuts of it. They are orthogonal in a y."""
    turn, (axes, log_curvatures) = rotation(n), _axes(n, condition)
    centre, walls = torch.from_numpy(offset * _direction(n) / np.linalg.norm(_direction(n))), frame(n, cuts)
    walls = _STEEP * walls * torch.sign(centre @ walls)  # theta is inside

    def f(x: Tensor) -> Tensor:
        y = axes * turn(x) - centre
        return torch.maximum(y.square().sum(-1), 1 + (y @ walls).amax(-1))

    return Body(around_zero(f, n), log_unit_ball(n) - 0.5 * float(log_curvatures.sum()) - cuts * math.log(2.0))


def rounded_box(n: int, power: float, condition: float, offset: float) -> Body:
    """Return sum |a_i y_i - offset u_i|^power < 1, with y a rotation of x and sum |u_i|^power = 1."""
    axes, log_curvatures = _axes(n, condition)
    direction = _direction(n)
    centre = torch.from_numpy(offset * direction / np.sum(np.abs(direction) ** power) ** (1 / power))
    turn = rotation(n)
    unit = n * (math.log(2.0) + math.lgamma(1 + 1 / power)) - math.lgamma(1 + n / power)
    truth = unit - 0.5 * float(log_curvatures.sum())
    return Body(around_zero(lambda x: (axes * turn(x) - centre).abs().pow(power).sum(-1), n), truth)


def lens(n: int, offset: float) -> Body:
    """Return what the unit ball around ``offset`` u has in common with the cap, which is the unit ball around theta."""
    centre = torch.from_numpy(offset * _direction(n) / np.linalg.norm(_direction(n)))
    share = float(betainc((n + 1) / 2, 1 / 2, 1 - offset**2 / 4))  # two halves, each beyond half the offset
    return Body(
        around_zero(lambda x: (x - centre).square().sum(-1), n), log_unit_ball(n) + math.log(share), max_radius=1.0
    )


def _ellipsoid(rises: Callable[[Tensor], Tensor], n: int, condition: float, offset: float) -> Body:
    """Return the ellipsoid with a growing function of its quadratic as the loss; it is 1 at 1."""
    turn, (axes, log_curvatures) = rotation(n), _axes(n, condition)
    direction = _direction(n)
    centre = torch.from_numpy(offset * direction / np.linalg.norm(direction))
    truth = log_unit_ball(n) - 0.5 * float(log_curvatures.sum())
    return Body(around_zero(lambda x: rises((axes * turn(x) - centre).square().sum(-1)), n), truth)


def _axes(n: int, condition: float) -> tuple[Tensor, np.ndarray]:
    """Return a, and log a²."""
    log_curvatures = np.linspace(0, math.log(condition), n)
    return torch.from_numpy(np.exp(0.5 * log_curvatures)), log_curvatures


def _direction(n: int) -> np.ndarray:
    """Return a random direction of the centre."""
    return np.random.default_rng(1).normal(size=n)


FAMILIES: dict[str, Family] = {
    "off-centre": off_centre,
    "off-centre-squared": squared,
    "off-centre-log": logarithm,
    "off-centre-cut": cut,
    "off-centre-lp": rounded_box,
    "lens": lens,
}
