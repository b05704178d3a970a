"""The volume of a ball, which every volume is held against."""

from __future__ import annotations

import math


def log_unit_ball(n: int) -> float:
    """Return log ω_n, the log-volume of the unit ball of R^n: n/2 · log π - log Γ(n/2 + 1).

    >>> round(log_unit_ball(2), 12) == round(math.log(math.pi), 12)
    True
    """
    return 0.5 * n * math.log(math.pi) - math.lgamma(0.5 * n + 1)


def log_ball(n: int, radius: float) -> float:
    """Return the log-volume of the ball of this radius in R^n; infinite for an infinite radius.

    >>> round(math.exp(log_ball(3, 2.0)) * 3 / 4 / math.pi, 9)
    8.0
    """
    return log_unit_ball(n) + n * math.log(radius)
