"""The quadratic that the curvature at theta describes, and the share of its basin that a cap leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

from landscape.curvature import GaussNewton, Hessian
from landscape.errors import CurvatureError, ObjectiveError
from landscape.objective import Objective

CURVATURES: dict[str, type[Hessian] | type[GaussNewton]] = {"hessian": Hessian, "ggn": GaussNewton}


_PREDICTS = ("cross_entropy", "binary_cross_entropy")  # losses whose Gauss-Newton matrix is that of the KL


def cap_of(op: Hessian | GaussNewton, max_radius: float | None) -> float:
    """Return the cap, by default 1 in relative metrics and none in others."""
    cap = (1.0 if op.metric.relative else math.inf) if max_radius is None else float(max_radius)
    if not cap > 0:
        raise ObjectiveError(f"max_radius = {cap} leaves no ball. Pass a positive radius, or leave it out.")
    return cap


def basin_curvature(
    objective: Objective, criterion: str, metric: str, curvature: str | None = None
) -> Hessian | GaussNewton:
    """Return the second derivative of a criterion at theta, in metric coordinates, as an operator.

    Raises:
        CurvatureError: for an unknown one, and for one that is not that of the criterion.
    """
    kl = criterion == "kl"
    name = curvature or ("ggn" if kl else "hessian")
    if name not in CURVATURES:
        raise CurvatureError(f"the curvature {name!r} is not known. Pass one of {', '.join(CURVATURES)}.")
    if kl and (name != "ggn" or objective.loss_name not in _PREDICTS):
        raise CurvatureError(
            f"the second derivative of the KL divergence is the Gauss-Newton matrix of {' or '.join(_PREDICTS)}, and "
            f"curvature={name!r} of the loss {objective.loss_name!r} was asked for.\n"
            "Pass curvature='ggn' and one of these losses, or criterion='rise'."
        )
    return CURVATURES[name](objective, metric=metric)


@dataclass(frozen=True)
class Balance:
    """How the ellipsoid and the cap share in the body that is cut by both.

    Attributes:
        share: λ, 0 where the cap does not matter and 1 where nothing else does.
        shift: what H is to be shifted by, λ/(1 - λ) · 2(c - L0) / R²; infinite for λ = 1.
        log_probability: log of the share of the ellipsoid of M that lies in both bodies.
    """

    share: float
    shift: float
    log_probability: float


def cap_balance(values: np.ndarray, share: np.ndarray, n: int, rise: float, cap: float) -> Balance:
    """Return the λ of the ellipsoid of least volume that contains {x' H x <= rise, |x| <= cap}.

    With t the eigenvalues of H · cap² / rise, the log-volume of x' M x <= 1 is a constant minus n/2 times the mean of
    log((1 - λ) t + λ), which is convex in λ. On a direction of it, q1 = x' H x / rise and q2 = |x|² / cap² differ by
    a share D of x' M x, a mean of n values that is close to normal; x' M x is uniform^(2/n). So the chance of
    q1 <= 1 and q2 <= 1 is E[exp(-n/2 · λ D); D > 0] + E[exp(n/2 · (1 - λ) D); D < 0].

    Args:
        values: eigenvalues of H in metric coordinates, shape (k,).
        share: how many of all they stand for, shape (k,), summing to 1.
        n: how many there are.
        rise: 2(c - L0).
        cap: R, finite.
    """
    t = values * cap**2 / rise

    def slope(x: float) -> float:
        return float((share * (1 - t) / ((1 - x) * t + x)).sum())

    least = float(t.min())
    if least > 0 and slope(0.0) <= 0:
        balance = 0.0
    elif slope(1.0) >= 0:
        balance = 1.0
    else:
        edge = max(-least / (1 - least), 0.0)  # below it M is not positive
        start = edge + 1e-14 * max(edge, 1e-280)
        balance = float(brentq(slope, start, 1.0, xtol=1e-300, rtol=1e-12)) if slope(start) > 0 else start
    d = (t - 1) / ((1 - balance) * t + balance)
    mean = float((share * d).sum())
    spread = math.sqrt(2 / (n + 2) * float((share * (d - mean) ** 2).sum()))
    shift = math.inf if balance == 1 else balance / (1 - balance) * rise / cap**2
    return Balance(balance, shift, _log_probability(n, balance, mean, spread))


def _log_probability(n: int, balance: float, mean: float, spread: float) -> float:
    """Return log of E[exp(-n/2 · λ D); D > 0] + E[exp(n/2 · (1 - λ) D); D < 0] for a normal D."""
    if spread <= 1e-12 * abs(mean) or n == 1:
        return 0.0
    above, below = 0.5 * n * balance, 0.5 * n * (1 - balance)
    parts = (
        -above * mean + 0.5 * (above * spread) ** 2 + log_ndtr(mean / spread - above * spread),
        below * mean + 0.5 * (below * spread) ** 2 + log_ndtr(-mean / spread - below * spread),
    )
    return min(float(np.logaddexp(*parts)), 0.0)
