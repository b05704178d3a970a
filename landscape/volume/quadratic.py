"""The quadratic that the curvature at theta describes, and the share of its basin that a cap leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # it loads scipy.optimize when that is first used, which takes a fifth of a second
from scipy.special import log_ndtr

from landscape.curvature import GaussNewton, Hessian
from landscape.curvature.hessian import OPERATORS, operator_named
from landscape.errors import CurvatureError, ObjectiveError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram

# The λ of cap_balance is sought above the edge below which M is not positive definite. At the edge itself its slope is
# infinite, so the search begins this much above: a share of the edge, or of the second value if the edge is 0.
_ABOVE_EDGE, _EDGE_OF_ZERO = 1e-14, 1e-280
_ROOT_RTOL = 1e-12  # of λ
_ROOT_XTOL = 1e-300  # none: λ may be of any size, so only the relative tolerance counts
_EXACT = 1e-12  # a spread of D this small over its mean is rounding: D is one number


def cap_of(op: Hessian | GaussNewton, max_radius: float | None) -> float:
    """Return the cap, by default 1 in relative metrics and none in others."""
    cap = (1.0 if op.metric.relative else math.inf) if max_radius is None else float(max_radius)
    if not cap > 0:
        raise ObjectiveError(f"max_radius = {cap} leaves no ball. Pass a positive radius, or leave it out.")
    return cap


def basin_curvature(
    objective: Objective,
    criterion: str,
    metric: str,
    curvature: str | None = None,
    *,
    check: bool = True,
    derivative: str = "autograd",
) -> Hessian | GaussNewton:
    """Return the second derivative of a criterion at theta, in metric coordinates, as an operator.

    Args:
        objective, metric, check, derivative: as for :class:`landscape.Hessian`.
        criterion: ``loss``, ``rise`` or ``kl``.
        curvature: ``hessian`` or ``ggn``.

    Raises:
        CurvatureError: if the curvature is unknown, or is not that of the criterion.
    """
    kl = criterion == "kl"
    name = curvature or ("ggn" if kl else "hessian")
    if name in OPERATORS and kl and (name != "ggn" or not _likelihood(objective)):
        raise CurvatureError(
            "the criterion kl needs the Gauss-Newton matrix of an unweighted cross-entropy of logits, which is "
            f"the second derivative of the KL divergence. Not: {name!r} of the loss {objective.loss_name!r}.\n"
            "Pass `curvature='ggn'` and the loss cross_entropy or binary_cross_entropy, or `criterion='rise'`."
        )
    return operator_named(name, objective, metric=metric, check=check, derivative=derivative)


def _likelihood(objective: Objective) -> bool:
    program = objective.program
    return isinstance(program, ModelProgram) and program.losses[0].likelihood


@dataclass(frozen=True)
class Balance:
    """How the ellipsoid and the cap share in the body that both cut.

    Attributes:
        share: λ: 0 if the cap does not matter, 1 if nothing else does.
        shift: what is added to H, λ/(1 - λ) · 2(c - L0) / R²; infinite for λ = 1.
        log_probability: log of the share of the ellipsoid of M that is in both bodies.
    """

    share: float
    shift: float
    log_probability: float


def cap_balance(values: np.ndarray, share: np.ndarray, n: int, rise: float, cap: float) -> Balance:
    """Return the λ of the ellipsoid of least volume that contains {x' H x <= rise, |x| <= cap}.

    The ellipsoid is x' M x <= 1 with M = (1 - λ) H / rise + λ / cap². Let t be the eigenvalues of H · cap² / rise. Its
    log-volume is a constant minus n/2 times the mean of log((1 - λ) t + λ), which is convex in λ.

    Not all of it is in both bodies. On a direction of the ellipsoid, q1 = x' H x / rise and q2 = |x|² / cap² differ by
    a share D of x' M x. D is a mean of n values, so it is close to normal; x' M x is uniform^(2/n). So the probability
    of q1 <= 1 and q2 <= 1 is E[exp(-n/2 · λ D); D > 0] + E[exp(n/2 · (1 - λ) D); D < 0].

    Args:
        values: eigenvalues of H in metric coordinates, shape (k,).
        share: the share of all eigenvalues that each stands for, shape (k,), summing to 1.
        n: number of all eigenvalues.
        rise: 2(c - L0).
        cap: R, finite.
    """
    t = values * cap**2 / rise
    balance = _least_volume(t, share)
    shift = math.inf if balance == 1 else balance / (1 - balance) * rise / cap**2
    return Balance(balance, shift, _log_probability(t, share, n, balance))


def _least_volume(t: np.ndarray, share: np.ndarray) -> float:
    """Return the λ in [0, 1] at which the mean of log((1 - λ) t + λ) is largest."""

    def slope(x: float) -> float:
        """Return the derivative of that mean at λ = x; it falls as x rises, since the log is concave."""
        return float((share * (1 - t) / ((1 - x) * t + x)).sum())

    least = float(t.min())
    if least > 0 and slope(0.0) <= 0:
        return 0.0  # the ellipsoid without the cap
    if slope(1.0) >= 0:
        return 1.0  # the ball of the cap
    edge = max(-least / (1 - least), 0.0)  # below it M is not positive definite
    start = edge + _ABOVE_EDGE * max(edge, _EDGE_OF_ZERO)
    if slope(start) <= 0:
        return start  # the root is closer to the edge than rounding
    return float(scipy.optimize.brentq(slope, start, 1.0, xtol=_ROOT_XTOL, rtol=_ROOT_RTOL))


def _log_probability(t: np.ndarray, share: np.ndarray, n: int, balance: float) -> float:
    """Return log of the share of the ellipsoid that is in both bodies, with D normal; :func:`cap_balance` defines D."""
    d = (t - 1) / ((1 - balance) * t + balance)
    mean = float((share * d).sum())
    sd = math.sqrt(2 / (n + 2) * float((share * (d - mean) ** 2).sum()))
    if sd <= _EXACT * abs(mean) or n == 1:
        return 0.0
    rate_above, rate_below = 0.5 * n * balance, 0.5 * n * (1 - balance)
    above = -rate_above * mean + 0.5 * (rate_above * sd) ** 2 + log_ndtr(mean / sd - rate_above * sd)
    below = rate_below * mean + 0.5 * (rate_below * sd) ** 2 + log_ndtr(-mean / sd - rate_below * sd)
    return min(float(np.logaddexp(above, below)), 0.0)
