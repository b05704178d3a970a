"""The ``annealed`` estimator: the mean of the chains' weights, unbiased, and what shows whether it can be trusted."""

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

# A verdict ``reliable`` needs:
RELIABLE_CHAINS = 16  # at least so many chains
RELIABLE_SPREAD = 1.0  # at most this standard deviation of the log-weights at half effort
RELIABLE_LARGEST = 0.25  # at most this share of the sum on one weight
RELIABLE_UNSEEN = 0.5  # at most this share of V on rays that the reference rays show and the chains do not
_AGREE = 3.0  # half and full effort may differ by so many joint standard errors


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

    Each weight is unbiased for V/ω_n, so their mean is too. By Markov's inequality V is at least 0.05 of the estimate
    with 95 % confidence, however badly the chains mixed. That is the verdict ``lower bound``; the upper end of its
    interval is what the cap allows.

    The verdict is ``reliable`` if all of these hold:

    - there are at least 16 chains, and none was resampled;
    - the log-weights of *half* effort have a standard deviation of at most 1;
    - half and full effort agree within three joint standard errors;
    - no weight of full effort carries more than a quarter of the sum;
    - no search for a radius gave up;
    - the uniform reference rays do not show more than 0.5 of V on long rays that the chains missed (:func:`unseen`).

    The spread is judged on half effort because a run whose own weights look calm may have missed their tail. At half
    effort the variance of the log-weights is about twice as large. The 95 % interval of a reliable mean comes from
    :func:`landscape.volume.ray_weights.statistics.interval_of`. Both intervals are widened by the tolerance of the
    radii, n · rtol.

    Resampled chains share ancestors. Together they are one unbiased draw whose scatter is unknown, so the verdict is
    ``lower bound`` and ``ess`` is 1.

    Failure mode: a part of the basin that no chain and no reference ray has met leaves no trace. Then the bound holds
    and ``reliable`` is wrong.

    Raises:
        LandscapeError: if the run is not finished.
    """
    if chains.config["temperatures"] is None:
        raise LandscapeError(
            f"the budget was used up before the chains began: after {len(chains.trace):,} temperatures their pilots "
            "are not finished.\nPass a longer `budget=...`."
        )
    if not chains.done.all():
        raise LandscapeError(
            f"the chains are not at the end: {int(chains.done.sum()):,} of {len(chains.done):,} temperatures are done, "
            "and a volume needs them all.\nPass the chains to anneal as `resume=...`."
        )
    cutoffs = range(len(chains.cutoffs))
    unseen_shares = [unseen(chains, cutoff) for cutoff in cutoffs]
    ball = w.log_unit_ball(chains.dimension)
    half = chains.log_weights[:, 0].T

    def trace(name: str) -> np.ndarray:
        return np.stack([chains.column(name, cutoff) for cutoff in cutoffs], axis=1)

    return AnnealedVolume(
        results=tuple(_estimate(chains, cutoff, unseen_shares[cutoff]) for cutoff in cutoffs),
        log_weights=chains.log_weights[:, 1].T.copy(),
        estimator="annealed",
        dimension=chains.dimension,
        directions=chains.chains,
        config=chains.config,
        cost=chains.cost,
        log_weights_half=half.copy(),
        log_volume_half=np.array([ball + w.log_mean(half[:, cutoff]) for cutoff in cutoffs]),
        weight_spread=np.apply_along_axis(w.spread, 2, chains.log_weights),
        inverse_temperature=trace("inverse_temperature"),
        log_density=trace("log_density"),
        log_density_spread=trace("log_density_spread"),
        accepted=trace("accepted"),
        correlation=trace("correlation"),
        unseen=np.array(unseen_shares),
        resampled=np.array([chains.resamplings(cutoff) for cutoff in cutoffs]),
    )


def _estimate(chains: Chains, cutoff: int, unseen_share: float) -> VolumeEstimate:
    """Return the estimate for the cutoff of this index; ``unseen_share`` comes from :func:`unseen`."""
    half, full = chains.log_weights[cutoff]
    ball, tolerance = w.log_unit_ball(chains.dimension), chains.steepness * float(chains.config["rtol"])
    value = ball + w.log_mean(full)
    resampled = chains.resamplings(cutoff)
    reliable = is_settled(half, full, tolerance, unseen_share) and not chains.unfinished[cutoff].any()
    reliable &= not any(resampled)
    if reliable:
        low, high = w.interval_of(full)
        interval = (ball + low - tolerance, ball + high + tolerance)
        if chains.of_probability:
            interval = (interval[0], min(interval[1], 0.0))
    else:
        interval = (value + math.log(1 - w.CONFIDENCE) - tolerance, _ceiling(chains))
    one_draw = resampled[1] > 0
    return VolumeEstimate(
        cutoff=chains.cutoffs[cutoff],
        log_volume=value,
        log_volume_raw=value + (0.0 if chains.of_probability else chains.log_scale_sum),
        interval=interval,
        ess=1.0 if one_draw else w.effective_sample_size(full),
        largest_weight=1.0 if one_draw else w.largest_share(full),
        censored=float(chains.censored_last[cutoff, 1].mean()),
        censored_weight=w.share(full, chains.censored_last[cutoff, 1]),
        pareto_k=math.inf if one_draw else w.pareto_k(full, tolerance),
        verdict="reliable" if reliable else "lower bound",
        reasons=() if reliable else (_why_unreliable(chains, cutoff, unseen_share),),
    )


def _why_unreliable(chains: Chains, cutoff: int, unseen_share: float) -> str:
    """Return in words why the estimate at a cutoff is not reliable: the first condition that fails."""
    half, full = chains.log_weights[cutoff]
    if any(chains.resamplings(cutoff)):
        return (
            "the chains were resampled on the way and share ancestors. Together they are one draw, whose mean is V and "
            "whose scatter is unknown: compare half effort, and another `seed=...`"
        )
    if len(full) < RELIABLE_CHAINS:
        return f"fewer than {RELIABLE_CHAINS} chains: pass `chains=32`"
    spread = w.spread(half)
    if math.isinf(spread):
        return "some chains began on rays that end at the trained point itself, and count as zero"
    if spread > RELIABLE_SPREAD:
        return (
            f"the log-weights of the chains spread by {spread:,.1f} nats at half effort, and a measurement allows "
            f"{RELIABLE_SPREAD:g}: pass a longer `budget=...`"
        )
    if unseen_share > RELIABLE_UNSEEN:
        return "uniform rays found long rays that the chains did not find: pass a longer `budget=...`"
    if w.largest_share(full) > RELIABLE_LARGEST:
        return "one chain carries much of the mean: pass a longer `budget=...`"
    if chains.unfinished[cutoff].any():
        return "a search along a ray gave up: pass a longer `budget=...`"
    return "the runs of half and of full effort differ: pass a longer `budget=...`"


def _ceiling(chains: Chains) -> float:
    """Return log of the largest V that the cap allows. A probability is at most 1."""
    if chains.of_probability:
        return 0.0
    return w.log_unit_ball(chains.dimension) + chains.dimension * math.log(chains.max_radius)


def unseen(chains: Chains, cutoff: int) -> float:
    """Return how much more of V the reference rays show beyond some radius than the chains do.

    Beyond a radius x the rays show mean(r^n; r > x) / V, and the chains the share of their weights that ends there.
    The result is the largest excess of the first over the second, over all x. By another measure the effective log
    radius of a ray takes the place of log r.

    Args:
        chains: finished.
        cutoff: index of the cutoff.
    """
    n, weights = chains.dimension, chains.log_weights[cutoff, 1]
    last = chains.last_effective_log_radii(cutoff)
    rays = np.sort(chains.reference_effective_log_radii(cutoff))[::-1]
    return excess_on_long_rays(rays, last, weights, n, 2 * (chains.steepness / n) * float(chains.config["rtol"]))


def excess_on_long_rays(rays: np.ndarray, ends: np.ndarray, log_weights: np.ndarray, n: int, tolerance: float) -> float:
    """Return the largest excess of the share of V that uniform rays show over that of the chains, at least 0.

    Args:
        rays: effective log radii of the uniform rays, descending, shape (rays,).
        ends: effective log radii of the chains, shape (chains,).
        log_weights: of the chains, shape (chains,).
        n: dimension.
        tolerance: of a log radius: a ray as long as a chain's must not count as longer.
    """
    with np.errstate(over="ignore"):
        shown = np.exp(np.logaddexp.accumulate(n * rays) - math.log(len(rays)) - w.log_mean(log_weights))
    met = np.array([w.share(log_weights, ends > ray - tolerance) for ray in rays])
    return max(float((shown - met).max()), 0.0)


def is_settled(half: np.ndarray, full: np.ndarray, tolerance: float, unseen_share: float = 0.0) -> bool:
    """Return whether the mean weight may be called a measurement; :func:`volume_from_chains` says when.

    Args:
        half, full: log-weights of the chains of half and of full effort, shape (chains,).
        tolerance: how far the tolerance of the radii may have moved them.
        unseen_share: share of V on rays that no chain has met.
    """
    joint = math.hypot(w.relative_error(half), w.relative_error(full))
    return (
        len(full) >= RELIABLE_CHAINS
        and w.spread(half) <= RELIABLE_SPREAD
        and unseen_share <= RELIABLE_UNSEEN
        and w.largest_share(full) <= RELIABLE_LARGEST
        and abs(w.log_mean(full) - w.log_mean(half)) <= _AGREE * joint + tolerance
    )
