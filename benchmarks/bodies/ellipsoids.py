"""Ellipsoids around theta, in random directions; and one that is so long in some of them that the cap cuts it."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import beta

from benchmarks.bodies.body import Body, Family, around_zero, rotation
from landscape.volume import log_unit_ball


def harmonic(n: int) -> Body:
    """Return 1/2 sum of y_i^2 / i < 0.1, with y a rotation of x."""
    cutoff, curvatures = 0.1, 1 / torch.arange(1, n + 1, dtype=torch.float64)
    turn = rotation(n)
    truth = log_unit_ball(n) + 0.5 * float((2 * cutoff / curvatures).log().sum())
    return Body(around_zero(lambda x: 0.5 * turn(x).square() @ curvatures, n), truth, cutoff)


def decades(n: int, count: float = 8) -> Body:
    """Return sum of a_i y_i^2 < 1, with log10 of a_i uniform between 0 and ``count``, and y a rotation of x."""
    logs = np.random.default_rng(5).uniform(0, count * math.log(10), n)
    curvatures, turn = torch.from_numpy(np.exp(logs)), rotation(n)
    return Body(around_zero(lambda x: turn(x).square() @ curvatures, n), log_unit_ball(n) - 0.5 * float(logs.sum()))


def cylinder(n: int, count: int, radius: float) -> Body:
    """Return the points of the unit ball that are nearer than ``radius`` to theta in ``count`` of n coordinates.

    So is the basin of a linear model that has seen fewer samples than it has weights. The squared distance in these
    coordinates has a beta distribution over the ball.
    """
    turn = rotation(n)
    share = float(beta.logcdf(radius**2, count / 2, (n - count) / 2 + 1))
    loss = around_zero(lambda x: (turn(x)[..., :count] / radius).square().sum(-1), n)
    return Body(loss, log_unit_ball(n) + share, max_radius=1.0)


FAMILIES: dict[str, Family] = {"ellipsoid": harmonic, "decades": decades, "cylinder": cylinder}
