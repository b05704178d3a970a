"""The volume of the basin as a measure of flatness."""

from __future__ import annotations

import math
from typing import Any

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective
from landscape.rays import METRICS
from landscape.rays.budget import Budget
from landscape.results import Volume, VolumeEstimate
from landscape.results.ball import log_unit_ball
from landscape.results.sharpness import ESTIMATE, LOWER_BOUND
from landscape.volume import log_volume

KL_CUTOFF = 0.01  #: of Scherlis & Belrose 2025
KL_RAYS = 200  #: twice theirs
_SHARE = 0.8  # of the time that is left: it is taken last
_WIDTH = 2 * 1.96  # of a 95 % interval, in standard errors


@measure("log-volume", larger="flatter", closed_form=True, core=True, invariant=("permutation",), anytime=True)
def basin_volume(objective: Objective, draws: Draws) -> Reading:
    """Return log V of the basin below the cutoff, in nats, in coordinates of the metric, by ``auto``.

    V grows like r^n, so it cannot compare nets of different n; ``effective-radius`` can.
    :func:`landscape.log_volume` has the other estimators. Source: Huang et al. 2019.
    """
    row = _basin(objective, draws).results[0]
    return _as_reading(row, row.reported, _error(row))


@measure("effective-radius", larger="flatter", invariant=("permutation",), anytime=True, shares="log-volume")
def effective_radius(objective: Objective, draws: Draws) -> Reading:
    """Return the radius of the ball that has the volume of the basin, (V / ω_n)^(1/n), from the same run."""
    volume = _basin(objective, draws)
    row, n = volume.results[0], volume.dimension
    radius = math.exp((row.reported - log_unit_ball(n)) / n)
    return _as_reading(row, radius, _error(row) * radius / n)


@measure("basin-probability", larger="flatter", invariant=("permutation",))
def basin_probability(objective: Objective, draws: Draws) -> Reading:
    """Return log P that weights from N(0, σ²), σ the RMS weight, lie in the basin of a mean KL divergence of 0.01.

    By uniform rays, which give a lower bound in high dimension. Source: Scherlis & Belrose 2025. Departure: 200 rays,
    where they take 100, since a verdict is judged on half of the rays.
    """
    sigma = float(objective.scope.gather(objective.theta).double().square().mean().sqrt())
    if not sigma > 0:
        raise LandscapeError("every weight in scope is zero, so the normal distribution of its weights has no width.")
    volume = log_volume(
        objective, [KL_CUTOFF], criterion="kl", estimator="uniform", metric="identity", directions=KL_RAYS,
        seed=draws.settings.seed, measure="gaussian", sigma=sigma,
    )  # fmt: skip
    draws.charge(volume.cost.evaluations, volume.cost.calls)
    row = volume.results[0]
    return _as_reading(row, row.reported, _error(row), sigma=sigma)


def _basin(objective: Objective, draws: Draws) -> Volume:
    """Return the volume of the basin, measured once."""
    settings = draws.settings
    if settings.metric not in METRICS:
        raise LandscapeError(
            f"rays have no metric {settings.metric!r}. Pass `metric='filter'`, `'layer'` or `'identity'` for volumes."
        )

    def run() -> Volume:
        volume = log_volume(
            objective, [settings.cutoff], estimator="auto", budget=_budget(draws), metric=settings.metric,
            seed=settings.seed,
        )  # fmt: skip
        draws.charge(volume.cost.evaluations, volume.cost.calls)
        return volume

    return draws.once("volume", run)


def _budget(draws: Draws) -> str | float:
    """Return the budget of the settings, or a share of what is left of that of all measures if it is smaller."""
    own, share = Budget.parse(draws.settings.volume_budget), _SHARE * draws.left()
    seconds, passes = share * draws.budget.seconds, share * draws.budget.passes
    wanted = own.seconds if math.isfinite(own.seconds) or math.isinf(seconds) else own.passes * draws.pass_seconds
    if math.isfinite(seconds) and wanted > seconds:
        draws.cut = True
        return f"{max(seconds, 1.0):.3f}s"
    if passes < own.passes:
        draws.cut = True
        return max(passes, 1.0)
    return draws.settings.volume_budget


def _as_reading(row: VolumeEstimate, value: float, error: float, **config: Any) -> Reading:
    """Return the reading of a volume: an estimate if its interval is one for V, else a lower bound."""
    about = {"volume_verdict": row.verdict, "volume_interval": list(row.reported_interval), **config}
    return Reading(value, error, ESTIMATE if row.measured else LOWER_BOUND, tuple(row.reasons), config=about)


def _error(row: VolumeEstimate) -> float:
    """Return a quarter of the 95 % interval; NaN for a bound."""
    low, high = row.interval
    return (high - low) / _WIDTH if row.measured else math.nan
