"""Auto-PGD (Croce & Hein 2020), written from the paper, as Andriushchenko et al. 2023 use it for sharpness.

It is the reference for the worst case: 20 steps, the first of size 2 rho, momentum 0.75. In the coordinates u, in which
the weights move by scale · u, the projection is that on a plain ball.
"""

from __future__ import annotations

import math

from torch import Tensor

from landscape.measures.ascent import Ball, Function

STEPS = 20
MOMENTUM = 0.75
RISING = 0.75  #: share of steps that must rise between two checkpoints


def auto_pgd(function: Function, ball: Ball, start: Tensor, steps: int = STEPS) -> float:
    """Return the largest value that ``steps`` steps find from ``start``; one gradient per step."""
    size, before, at = 2 * ball.rho, start, start
    value, slope = function.slope(at)
    best, best_at, best_slope = value, at, slope
    checkpoints, rising, last, unchanged = _checkpoints(steps), 0, 0, (math.nan, math.nan)
    for step in range(1, steps + 1):
        target = _project(at + size * _direction(slope, ball), ball)
        pull = MOMENTUM if step > 1 else 1.0
        reached = _project(at + pull * (target - at) + (1 - pull) * (at - before), ball)
        before, at, old = at, reached, value
        if step < steps:
            value, slope = function.slope(at)
        else:
            value = function.value(at)
        rising += value > old
        if value > best:
            best, best_at, best_slope = value, at, slope
        if step in checkpoints:
            stuck, unchanged = unchanged == (size, best), (size, best)
            if stuck or rising < RISING * (step - last):
                size /= 2
                at, before, value, slope = best_at, best_at, best, best_slope
            rising, last = 0, step
    return best


def _checkpoints(steps: int) -> set[int]:
    """Return the steps after which the step size may be halved: p_1 = 0.22, then intervals that shrink to 0.06."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(share * steps) for share in shares[1:] if share <= 1}


def _direction(slope: Tensor, ball: Ball) -> Tensor:
    return slope.sign() if ball.norm == "linf" else slope / slope.norm().clamp_min(1e-30)


def _project(point: Tensor, ball: Ball) -> Tensor:
    if ball.norm == "linf":
        return point.clamp(-ball.rho, ball.rho)
    return point * min(1.0, ball.rho / max(float(point.norm()), 1e-30))
