"""The ``laplace`` estimator: the volume of the basin of the quadratic that the curvature at theta describes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, stdtrit

from landscape.curvature import GaussNewton, Hessian, log_determinant, spectral_density
from landscape.errors import CurvatureError, ObjectiveError
from landscape.objective import Objective
from landscape.radius import check_basin
from landscape.results import Cost, LaplaceVolume, LogDeterminant, SpectralDensity, VolumeEstimate
from landscape.volume import weights as w

CURVATURES: dict[str, type[Hessian] | type[GaussNewton]] = {"hessian": Hessian, "ggn": GaussNewton}
_ABSENT = 1e-9  # of an eigenvalue: smaller weights are rounding
_PREDICTS = ("cross_entropy", "binary_cross_entropy")  # losses whose Gauss-Newton matrix is that of the KL


def laplace_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str = "filter",
    curvature: str | None = None,
    max_radius: float | None = None,
    probes: int = 30,
    steps: int = 80,
    seed: int = 0,
) -> LaplaceVolume:
    """Return the log-volume of the basin of the quadratic around theta, for each cutoff.

    log V = log ω_n + n/2 · log 2(c - L0) - 1/2 · log det(S H S), c - L0 the rise from the centre to the cutoff. It is
    exact for an ellipsoid, and otherwise an approximation of unknown error and no bound, in either direction: the
    verdict is ``approximation``, and the 95 % interval is for the volume of the quadratic alone. It holds the
    statistical error of the log-determinant (Student's t over the probes) and, added to it, that of the quadrature.

    With a finite cap R the body is the ellipsoid cut by the ball of radius R. The matrix

        M = (1 - λ) S H S / 2(c - L0) + λ / R²,    λ from 0 to 1,

    makes an ellipsoid x' M x <= 1 that contains the cut one for every λ; that of least volume is taken, and the
    chance that a point of it lies in both bodies comes on top (:func:`cap_balance`). H enters as H + shift, so
    directions that are flat or bend downwards end at the cap and need no other care.

    1. The gradient at theta is taken as zero.
    2. A shift of 2(c - L0) / R² without more, which keeps the whole ellipsoid inside the ball, is the case in which
       both count in full; it makes log V too small by up to n/2 · log 2.

    Args:
        objective, cutoffs, criterion, metric, max_radius: as for :func:`landscape.basin_radii`.
        curvature: ``hessian`` or ``ggn`` (Gauss-Newton); by default the Hessian, and for the criterion ``kl`` the
            Gauss-Newton matrix, which is the second derivative of the KL (the Fisher information).
        probes, steps, seed: as for :func:`landscape.log_determinant`.

    Raises:
        CurvatureError: where the matrix is not positive definite and there is no cap, and whatever the operator raises.
        ObjectiveError: where there is no basin, as for :func:`landscape.basin_radii`.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = laplace_volume(bowl, [4.0], metric="identity").results[0]
    >>> round(math.exp(disc.log_volume) / math.pi, 6), disc.verdict
    (4.0, 'approximation')
    """
    started = time.perf_counter()
    values, centre = check_basin(objective, cutoffs, criterion)
    op = basin_curvature(objective, criterion, metric, curvature)
    cap = cap_of(op, max_radius)
    settings = {"probes": probes, "steps": steps, "seed": seed}
    # the same chains as those of the log-determinant, so no eigenvalue shows in the one and not in the other
    density = spectral_density(op, probes, steps, seed=seed) if math.isfinite(cap) else None
    models: list[_Model] = []
    known: dict[float, LogDeterminant] = {}
    for cutoff in values:
        balance = _UNCUT if density is None else _balance_of(density, 2 * (cutoff - centre), cap)
        if balance.share < 1 and balance.shift not in known:
            known[balance.shift] = log_determinant(op, balance.shift, **settings)
            _check_definite(known[balance.shift], op.name, balance)
        models.append(_Model(cutoff, 2 * (cutoff - centre), op.size, cap, balance, known.get(balance.shift)))
    negative = float(op.size * density.negative_share) if density is not None else 0.0
    cost = Cost(op.cost.evaluations, op.cost.calls, time.perf_counter() - started)
    config = laplace_config(op, criterion, cap, **settings)

    def column(read: Any) -> np.ndarray:
        return np.array([read(model.found) if model.found is not None else math.nan for model in models])

    return LaplaceVolume(
        results=tuple(model.estimate(op.metric.log_scale_sum) for model in models),
        log_weights=np.zeros((0, len(values))),
        estimator="laplace",
        dimension=op.size,
        directions=0,
        config=config,
        cost=cost,
        log_determinant=column(lambda found: found.value),
        standard_error=column(lambda found: found.standard_error),
        quadrature_error=column(lambda found: found.quadrature_error),
        shift=np.array([model.balance.shift for model in models]),
        negative=negative,
    )


def laplace_config(
    op: Hessian | GaussNewton, criterion: str, cap: float, probes: int = 30, steps: int = 80, seed: int = 0
) -> dict[str, Any]:
    """Return what determines the numbers, as the result of :func:`laplace_volume` keeps it."""
    return {
        **op.describe(),
        "criterion": criterion,
        "curvature": op.name,
        "max_radius": None if math.isinf(cap) else cap,
        "dead_filters": len(op.metric.dead),
        "probes": probes,
        "steps": steps,
        "seed": seed,
    }


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
        log_chance: log of the share of the ellipsoid of M that lies in both bodies.
    """

    share: float
    shift: float
    log_chance: float


_UNCUT = Balance(0.0, 0.0, 0.0)


def _balance_of(density: SpectralDensity, rise: float, cap: float) -> Balance:
    """Return the balance for the eigenvalues in a spectral density."""
    nodes = np.where(np.abs(density.nodes) <= density.zero, 0.0, density.nodes)
    present = density.dimension * density.weights > _ABSENT  # as in the log-determinant
    return cap_balance(nodes[present], density.weights[present] / len(nodes), density.dimension, rise, cap)


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
    return Balance(balance, shift, _log_chance(n, balance, mean, spread))


def _log_chance(n: int, balance: float, mean: float, spread: float) -> float:
    """Return log of E[exp(-n/2 · λ D); D > 0] + E[exp(n/2 · (1 - λ) D); D < 0] for a normal D."""
    if spread <= 1e-12 * abs(mean) or n == 1:
        return 0.0
    above, below = 0.5 * n * balance, 0.5 * n * (1 - balance)
    parts = (
        -above * mean + 0.5 * (above * spread) ** 2 + log_ndtr(mean / spread - above * spread),
        below * mean + 0.5 * (below * spread) ** 2 + log_ndtr(-mean / spread - below * spread),
    )
    return min(float(np.logaddexp(*parts)), 0.0)


@dataclass(frozen=True)
class _Model:
    """The quadratic's basin for one cutoff; ``found`` is None where the cap is all."""

    cutoff: float
    rise: float
    n: int
    cap: float
    balance: Balance
    found: LogDeterminant | None

    def estimate(self, log_scale_sum: float) -> VolumeEstimate:
        """Return its log-volume, with the errors of the log-determinant."""
        value, half = w.log_unit_ball(self.n) + self.balance.log_chance, 0.0
        if self.found is None:
            value += self.n * math.log(self.cap)
        else:
            value += 0.5 * (self.n * math.log(self.rise / (1 - self.balance.share)) - self.found.value)
            t = float(stdtrit(max(len(self.found.samples) - 1, 1), (1 + w.CONFIDENCE) / 2))
            half = 0.5 * (t * self.found.standard_error + self.found.quadrature_error)
        return VolumeEstimate(
            cutoff=self.cutoff,
            log_volume=value,
            log_volume_raw=value + log_scale_sum,
            interval=(value - half, value + half),
            ess=math.nan,
            largest_weight=math.nan,
            censored=math.nan,
            censored_weight=math.nan,
            pareto_k=math.nan,
            verdict="approximation",
        )


def _check_definite(found: LogDeterminant, name: str, balance: Balance) -> None:
    """Refuse a matrix whose quadratic has no basin of finite volume."""
    if found.definite:
        return
    what = (
        f"about {found.negative:.3g} negative eigenvalues"
        if found.negative > 0
        else f"about {found.zero:.3g} eigenvalues that are 0 to rounding"
    )
    advice = ["estimator='annealed', which needs no curvature"]
    if not balance.share:
        advice.insert(0, "a finite max_radius, which bounds what the curvature does not")
    if name == "hessian" and found.negative > 0:
        advice.insert(0, "curvature='ggn', which has no negative eigenvalues")
    raise CurvatureError(
        f"the {name} at the trained point has {what} among {found.dimension:,}, so the quadratic around it has no "
        f"finite volume.\nPass {'; or '.join(advice)}."
    )
