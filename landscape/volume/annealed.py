"""The ``annealed`` estimator: the mean of the chains' weights, unbiased, and what shows whether it has settled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.results import VolumeEstimate
from landscape.results.chains import AnnealedVolume, Chains
from landscape.volume.annealing.anneal import anneal
from landscape.volume.ray_weights import statistics as w

RELIABLE_CHAINS = 16
RELIABLE_SPREAD = 1.0  # standard deviation of the log-weights at half effort
RELIABLE_LARGEST = 0.25
RELIABLE_UNSEEN = 0.5  # of V, on rays that the first look shows and the chains do not
_AGREE = 3.0  # joint standard errors that half and full effort may differ by


def annealed_volume(objective: Objective, cutoffs: Any, **options: Any) -> AnnealedVolume:
    """Return the log-volume of the basin for each cutoff by annealed importance sampling on the sphere.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        options: of :func:`landscape.volume.annealing.anneal.anneal`.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = annealed_volume(bowl, [4.0], metric="identity", chains=16, temperatures=2).results[0]
    >>> round(math.exp(disc.log_volume) / math.pi, 6), disc.verdict
    (4.0, 'reliable')
    """
    return volume_from_chains(anneal(objective, cutoffs, **options))


def volume_from_chains(chains: Chains) -> AnnealedVolume:
    """Return log V = log ω_n + log of the mean weight of the chains of full effort.

    Each weight is unbiased for V/ω_n, so their mean is, and by Markov's inequality V is at least 0.05 of the estimate
    with 95 % confidence, settled or not: that is the verdict ``lower bound``, whose upper end is what the cap allows.
    The verdict is ``reliable`` when there are at least 16 chains, the log-weights of the run of *half* effort have a
    standard deviation of at most 1, the two runs agree within three joint standard errors, no weight of full effort
    carries more than a quarter, no search was given up, and the uniform rays of the first look do not show more of V
    on long rays than the chains do (:func:`unseen`, at most 0.5). The spread is judged on the other run because a run
    whose own weights look calm may be one that missed their tail; at half effort the variance of the log-weights is
    about twice as large. The interval (:func:`landscape.volume.ray_weights.statistics.interval_of`) is then 95 % for
    the mean. Both are widened by the tolerance of the radii, n · rtol.

    Chains that were resampled share ancestors: together they are one unbiased draw whose scatter nobody has seen, so
    always a lower bound, with an ``ess`` of 1.

    A part of the basin that neither a chain nor one of those rays has met leaves no trace: then the bound holds and
    ``reliable`` is wrong.

    Raises:
        LandscapeError: for a run that is not finished.
    """
    if not chains.done.all():
        raise LandscapeError(
            f"the chains are not at the end: {int(chains.done.sum()):,} of {len(chains.done):,} temperatures are done, "
            "and a volume needs them all.\nContinue the run with --resume, or pass resume= to anneal."
        )
    columns = range(len(chains.cutoffs))
    beyond = [unseen(chains, column) for column in columns]
    rows = tuple(_estimate(chains, column, beyond[column]) for column in columns)
    ball = w.log_unit_ball(chains.dimension)
    half = chains.log_weights[:, 0].T

    def trace(name: str) -> np.ndarray:
        return np.stack([chains.column(name, column) for column in columns], axis=1)

    return AnnealedVolume(
        results=rows,
        log_weights=chains.log_weights[:, 1].T.copy(),
        estimator="annealed",
        dimension=chains.dimension,
        directions=chains.chains,
        config=chains.config,
        cost=chains.cost,
        log_weights_half=half.copy(),
        log_volume_half=np.array([ball + w.log_mean(half[:, column]) for column in columns]),
        weight_spread=np.apply_along_axis(w.spread, 2, chains.log_weights),
        temperature=trace("temperature"),
        energy=trace("energy"),
        energy_spread=trace("energy_spread"),
        accepted=trace("accepted"),
        correlation=trace("correlation"),
        unseen=np.array(beyond),
        resampled=np.array([chains.resamplings(column) for column in columns]),
    )


def _estimate(chains: Chains, column: int, beyond: float) -> VolumeEstimate:
    """Return the estimate for one cutoff; ``beyond`` is what :func:`unseen` says."""
    half, full = chains.log_weights[column]
    ball, tolerance = w.log_unit_ball(chains.dimension), chains.steepness * float(chains.config["rtol"])
    value = ball + w.log_mean(full)
    shared = chains.resamplings(column)
    reliable = is_settled(half, full, tolerance, beyond) and not chains.unfinished[column].any()
    reliable &= not any(shared)
    if reliable:
        low, high = w.interval_of(full)
        interval = (ball + low - tolerance, ball + high + tolerance)
        if chains.of_probability:
            interval = (interval[0], min(interval[1], 0.0))
    else:
        lower = value + math.log(1 - w.CONFIDENCE) - tolerance
        interval = (lower, _ceiling(chains))
    return VolumeEstimate(
        cutoff=chains.cutoffs[column],
        log_volume=value,
        log_volume_raw=value + (0.0 if chains.of_probability else chains.log_scale_sum),
        interval=interval,
        ess=1.0 if shared[1] else w.effective_sample_size(full),
        largest_weight=1.0 if shared[1] else w.largest_share(full),
        censored=float(chains.censored_last[column, 1].mean()),
        censored_weight=w.share(full, chains.censored_last[column, 1]),
        pareto_k=math.inf if shared[1] else w.pareto_k(full, tolerance),
        verdict="reliable" if reliable else "lower bound",
    )


def _ceiling(chains: Chains) -> float:
    """Return log of the most that V can be under the cap; a probability is at most 1."""
    if chains.of_probability:
        return 0.0
    return w.log_unit_ball(chains.dimension) + chains.dimension * math.log(chains.max_radius)


def unseen(chains: Chains, column: int) -> float:
    """Return how much of V the first look's uniform rays show beyond some radius more than the chains do.

    Beyond x the rays show mean(r^n; r > x) / V, and the chains the share of their weights that ends there; the result
    is the largest excess of the first over the second, over all x. By another measure the extent of a ray takes the
    place of log r.
    """
    n, weights = chains.dimension, chains.log_weights[column, 1]
    last = chains.last_extents(column)
    rays = np.sort(chains.look_extents(column))[::-1]
    # a tolerance nearer in, so that a ray of the same length as a chain's does not count as longer
    edges = rays - 2 * (chains.steepness / n) * float(chains.config["rtol"])
    with np.errstate(over="ignore"):
        shown = np.exp(np.logaddexp.accumulate(n * rays) - math.log(len(rays)) - w.log_mean(weights))
    met = np.array([w.share(weights, last > edge) for edge in edges])
    return max(float((shown - met).max()), 0.0)


def is_settled(half: np.ndarray, full: np.ndarray, tolerance: float, beyond: float = 0.0) -> bool:
    """Whether the chains' mean weight may be called a measurement; :func:`volume_from_chains` says when.

    Args:
        half, full: log-weights of the chains of half and of full effort, shape (chains,).
        tolerance: what the radii may have moved them by.
        beyond: share of V on rays that no chain has met.
    """
    joint = math.hypot(w.relative_error(half), w.relative_error(full))
    return (
        len(full) >= RELIABLE_CHAINS
        and w.spread(half) <= RELIABLE_SPREAD
        and beyond <= RELIABLE_UNSEEN
        and w.largest_share(full) <= RELIABLE_LARGEST
        and abs(w.log_mean(full) - w.log_mean(half)) <= _AGREE * joint + tolerance
    )
