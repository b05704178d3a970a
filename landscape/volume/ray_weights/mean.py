"""The volume as a mean over rays: shared by all estimators that measure rays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.rays import stored_metric
from landscape.results import Cost, Radii, RayStatus, Volume, VolumeEstimate
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.measure import Lebesgue, Measure, MeasureOnRays, make_measure, measure_on_uniform_rays

_MOST_RESOLUTION = 0.1  # nats: a larger spread of log-weights is never put down to the tolerance of the radii


def measure_of_radii(objective: Objective, radii: Radii, **which: Any) -> MeasureOnRays:
    """Return a measure along the uniform rays of these radii; options as for :func:`make_measure`."""
    metric = stored_metric(objective, radii.config)
    return measure_on_uniform_rays(make_measure(objective, metric, **which), objective, metric, radii)


def volume_from_radii(
    radii: Radii | np.ndarray,
    n: int | None = None,
    *,
    max_radius: float | None = None,
    log_scale_sum: float = math.nan,
    cutoffs: Sequence[float] | None = None,
    measure: MeasureOnRays | None = None,
) -> Volume:
    """Return log V = log ω_n + log mean r^n from radii along uniform rays.

    The verdict is ``reliable`` under three conditions. The effective sample size is at least 50, no weight carries more
    than a tenth, and the tail index of the weights is at most 1/2
    (:func:`landscape.volume.ray_weights.statistics.is_reliable`, judged on the first half of the rays). The interval
    covers that of all rays and that of the second half, which suit skewed weights too
    (:func:`landscape.volume.ray_weights.statistics.interval_of`), and is widened by the tolerance of the radii.

    Otherwise the verdict is ``lower bound``. The mean of non-negative unbiased weights exceeds V·e^a with probability
    at most e^-a (Markov). So V is at least 0.05 of the estimate with 95 % confidence. The upper end is what the cap
    allows.

    Failure modes: ``reliable`` relies on rays that have met every part of the basin that matters. A part in fewer than
    3/K of all directions leaves no trace in K rays with a probability of 5 % or more; the two bounds hold without it.
    And both rely on the first crossing on the grid of the search. V is that of the basin at the resolution of the grid
    (``resolution``), without walls that lie between two of its points (:mod:`landscape.rays.crossing`).

    Args:
        radii: what :func:`landscape.basin_radii` returned, or plain radii, shape (rays,) or (rays, cutoffs).
        n: the dimension; needed with plain radii and with rollouts.
        max_radius: with plain radii: those at or above it are censored.
        log_scale_sum: with plain radii and rollouts: sum of log s_i, for the volume in parameter coordinates.
        cutoffs: with plain radii: the names of the columns.
        measure: another measure of the basin along these rays (:func:`measure_of_radii`); volume by default.

    Raises:
        LandscapeError: if n is missing, the rays are not uniform, radii are negative or NaN, or rays are still to be
            measured.

    >>> ball = volume_from_radii(np.full(100, 2.0), n=3).results[0]
    >>> round(math.exp(ball.log_volume) * 3 / 4 / math.pi, 9)
    8.0
    """
    if not isinstance(radii, Radii):
        radii = _plain_radii(radii, n, max_radius, log_scale_sum, cutoffs)
    elif max_radius is not None or cutoffs is not None or (n is not None and radii.dimension not in (0, n)):
        raise LandscapeError(
            f"these radii know their own cap, cutoffs and dimension (n = {radii.dimension}), and others were passed. "
            "Pass n only with rollouts and plain radii, cutoffs and max_radius only with plain radii."
        )
    if radii.config.get("proposal") is not None:
        raise LandscapeError(
            f"these rays were not drawn uniformly but from the proposal {radii.config['proposal']['name']!r}, and the "
            "plain mean of r^n over them is no volume.\n"
            "Pass them to importance_volume as `resume=...`."
        )
    if math.isnan(radii.log_scale_sum):
        radii = replace(radii, log_scale_sum=log_scale_sum)
    dimension = radii.dimension if n is None else n
    if dimension < 1 or dimension != int(dimension):
        raise LandscapeError(
            f"a volume needs the dimension n of the space, a whole number from 1; n = {dimension}. Pass `n=...`."
        )
    if not radii.done.all():
        raise LandscapeError(
            f"{int((~radii.done).sum())} of {radii.directions} rays are still to be measured, and a volume of the "
            "others alone would be that of another run.\nPass the radii to basin_radii as `resume=...`."
        )
    lebesgue = MeasureOnRays(Lebesgue(dimension, radii.log_scale_sum), np.zeros((radii.directions, 0)))
    return mean_over_rays(radii, measure or lebesgue)


def mean_over_rays(
    radii: Radii, on_rays: MeasureOnRays, *, log_tilts: np.ndarray | None = None, estimator: str = "uniform"
) -> Volume:
    """Return log V = log ω_n + log mean of r^n · tilt over finished rays, with m in place of r^n for another measure.

    Args:
        radii: one row per ray.
        on_rays: the measure along these rays.
        log_tilts: log of the uniform density over the density that the rays were drawn from, shape (directions,); None
            for uniform rays.
        estimator: name of the estimator.
    """
    # a search proves the inner end of its bracket and knows the outer one to its tolerance; a grid knows both
    rtol = radii.config.get("rtol")
    outer = radii.upper if rtol is None else np.minimum(radii.upper, radii.radii * (1 + rtol))
    tilts = np.zeros((1, 1)) if log_tilts is None else log_tilts[:, None]
    logs = {
        name: on_rays.log_mass(values) + tilts
        for name, values in (("radii", radii.radii), ("lower", radii.lower), ("outer", outer))
    }
    measure = on_rays.measure
    rows = tuple(_estimate(radii, column, measure, logs) for column in range(len(radii.cutoffs)))
    config = {**radii.config, **measure.describe(), "rays": radii.directions}
    return Volume(rows, logs["radii"], estimator, measure.dimension, radii.directions, config, radii.cost)


def _estimate(radii: Radii, column: int, measure: Measure, logs: dict[str, np.ndarray]) -> VolumeEstimate:
    """Return the estimate for one cutoff."""
    every = logs["radii"][:, column]
    log_weights, resolution = judged(radii.config, measure.dimension, every)
    censored = radii.status[:, column] == RayStatus.CENSORED
    constant, ceiling = w.log_unit_ball(measure.dimension), measure.ceiling(radii.max_radius)
    value = constant + w.log_mean(log_weights)
    inner = constant + w.log_mean(logs["lower"][:, column])
    bound = inner + math.log(1 - w.CONFIDENCE)  # Markov: the mean of the weights is unbiased
    reliable = w.is_reliable(log_weights, resolution) and not (radii.status[:, column] == RayStatus.UNFINISHED).any()
    if reliable:
        outer = np.where(censored, every, logs["outer"][:, column])
        low, high = w.interval_of_halves(log_weights)
        interval = (
            low + inner - w.log_mean(log_weights),
            min(high + w.log_mean(outer) - w.log_mean(log_weights) + constant, ceiling),
        )
    else:
        interval = (bound, ceiling)
    return VolumeEstimate(
        cutoff=radii.cutoffs[column],
        log_volume=value,
        log_volume_raw=value + measure.log_raw,
        interval=interval,
        ess=w.effective_sample_size(log_weights),
        largest_weight=w.largest_share(log_weights),
        censored=float(censored.mean()),
        censored_weight=w.share(every, censored),
        pareto_k=w.pareto_k(log_weights, resolution),
        verdict="reliable" if reliable else "lower bound",
        reasons=() if reliable else (w.why_unreliable(log_weights, resolution, len(every), float(censored.mean())),),
        resolution=radii.config.get("step_ratio", math.nan),
        bound=bound,
        upper_bound=ceiling,
    )


def judged(config: Mapping[str, Any], dimension: int, log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what a verdict is judged on: log-weights of independent draws, and the spread that the search may explain.

    A draw is a ray, or a line of two opposite rays. A spread that the tolerance of the radii explains is no tail.

    Args:
        config: of the radii, or of the volume made from them.
        dimension: n.
        log_weights: of the rays at one cutoff, shape (rays,).
    """
    resolution = min(dimension * (config.get("rtol") or 0.0), _MOST_RESOLUTION)
    if not config.get("antithetic"):
        return log_weights, resolution
    return np.logaddexp(*np.split(log_weights, 2)) - math.log(2), resolution


def _plain_radii(
    values: Any, n: int | None, max_radius: float | None, log_scale_sum: float, cutoffs: Sequence[float] | None
) -> Radii:
    """Return plain radii as a :class:`Radii` whose brackets are the radii themselves."""
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise LandscapeError(f"radii must have shape (rays,) or (rays, cutoffs), with at least one; got {array.shape}.")
    if not bool((array >= 0).all()):
        raise LandscapeError(
            "radii must be non-negative numbers, but some are negative or NaN. Drop or mend those rays."
        )
    if n is None:
        raise LandscapeError("plain radii do not know the dimension of their space. Pass `n=...`.")
    cap = math.inf if max_radius is None else max_radius
    if not cap > 0:
        raise LandscapeError(f"max_radius = {cap} leaves no room for a ray. Pass a positive radius, or leave it out.")
    if not np.isfinite(np.minimum(array, cap)).all():
        raise LandscapeError("some radii are infinite, and so would be the volume. Pass `max_radius=...`.")
    if cutoffs is not None and len(cutoffs) != array.shape[1]:
        raise LandscapeError(
            f"there are {array.shape[1]} columns of radii and {len(cutoffs)} cutoffs; they must agree."
        )
    array = np.minimum(array, cap)
    status = np.where(array >= cap, RayStatus.CENSORED, RayStatus.CROSSED).astype(np.int8)
    rays, nothing = len(array), np.zeros(0)
    return Radii(
        radii=array,
        status=status,
        lower=array,
        upper=array,
        calls=np.zeros(rays, dtype=np.int64),
        evaluations=np.zeros(rays),
        nonfinite=np.zeros(rays, dtype=np.int64),
        profile_ray=nothing.astype(np.int64),
        profile_radius=nothing,
        profile_loss=nothing,
        cutoffs=tuple(cutoffs) if cutoffs is not None else (math.nan,) * array.shape[1],
        dimension=n,
        log_scale_sum=log_scale_sum,
        centre=math.nan,
        config={"max_radius": None if math.isinf(cap) else cap, "source": "plain radii"},
        cost=Cost(0.0, 0, 0.0),
    )
