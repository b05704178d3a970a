"""Ellipsoids whose centre is off theta, as the basins of most trained points are."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.bodies.body import Body, Family, around_zero, rotation
from landscape.volume import log_unit_ball


def off_centre(n: int, condition: float, offset: float) -> Body:
    """Return the ellipsoid |a y - offset u| < 1, with y a rotation of x, and u a random unit vector.

    The curvatures a_i^2 go from 1 to ``condition`` in equal ratios. In the coordinates a y the body is the unit ball
    and theta is ``offset`` of its radius from the centre, in a direction that has a part in every eigenvector.
    """
    turn = rotation(n)
    log_curvatures = np.linspace(0, math.log(condition), n)
    axes = torch.from_numpy(np.exp(0.5 * log_curvatures))
    direction = np.random.default_rng(1).normal(size=n)
    centre = torch.from_numpy(offset * direction / np.linalg.norm(direction))
    truth = log_unit_ball(n) - 0.5 * float(log_curvatures.sum())
    return Body(around_zero(lambda x: (axes * turn(x) - centre).square().sum(-1), n), truth)


FAMILIES: dict[str, Family] = {"off-centre": off_centre}
