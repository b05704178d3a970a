"""Polytopes and Lp balls."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

import landscape as ls
from benchmarks.bodies.body import Body, Family, around_zero, rotation


def lp_ball(n: int, p: float) -> Body:
    """Return sum of |x_i|^p < 1; p below 1 gives spikes along the axes."""
    truth = n * math.log(2 * math.gamma(1 + 1 / p)) - float(gammaln(1 + n / p))
    return Body(around_zero(lambda x: x.abs().pow(p).sum(-1), n), truth)


def cross_polytope(n: int) -> Body:
    """Return sum of |y_i| < 1, with y a rotation of x."""
    turn = rotation(n)
    return Body(around_zero(lambda x: turn(x).abs().sum(-1), n), n * math.log(2) - float(gammaln(n + 1)))


def cube(n: int, condition: float = 1.0) -> Body:
    """Return |a_i y_i| < 1, with y a rotation of x, and a_i from 1 to ``condition`` in equal ratios."""
    turn, logs = rotation(n), np.linspace(0, math.log(condition), n)
    slopes = torch.from_numpy(np.exp(logs))
    return Body(around_zero(lambda x: (slopes * turn(x)).abs().amax(-1), n), n * math.log(2) - float(logs.sum()))


def simplex(n: int) -> Body:
    """Return the simplex: x_i > 0 with a sum below 1, around its centre of mass."""
    start = torch.full((n,), 1 / (n + 1), dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return torch.maximum(-x.amin(-1), x.sum(-1) - 1) + 1

    return Body(ls.Objective.from_function(f, start), -float(gammaln(n + 1)))


def box(n: int) -> Body:
    """Return |x_i| < 1, around a point half way to a corner."""
    start = torch.full((n,), 0.5, dtype=torch.float64)
    return Body(ls.Objective.from_function(lambda x: x.abs().amax(-1), start), n * math.log(2))


FAMILIES: dict[str, Family] = {
    "lp": lp_ball,
    "cross-polytope": cross_polytope,
    "cube": cube,
    "simplex": simplex,
    "box": box,
}
