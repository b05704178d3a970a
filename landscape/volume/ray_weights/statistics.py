"""What a set of log-weights says about the mean that they estimate, and how far that can be trusted.

All in logs, float64: r^n overflows long before n = 1,000.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp, stdtrit

from landscape.results.ball import log_unit_ball as log_unit_ball
from landscape.results.table import percent

CONFIDENCE = 0.95
RELIABLE_ESS = 50.0
RELIABLE_SHARE = 0.1
RELIABLE_PARETO_K = 0.5
_LEVEL = 0.99  # of each interval that is taken together with others: with skewed weights 95 % would miss too often
_SMALLEST = 1e-290  # the smallest excess whose inverse float64 can still multiply
_ROUNDING = 1e-9  # of an effective sample size: equal weights must not miss the threshold by rounding
_FEW_AT_THE_CAP = 0.1  # share of rays


def log_mean(log_weights: np.ndarray) -> float:
    """Return log of the mean of exp(log_weights), shape (k,)."""
    return float(logsumexp(log_weights)) - math.log(len(log_weights))


def effective_sample_size(log_weights: np.ndarray) -> float:
    """Return (sum of w)^2 / (sum of w^2): k for equal weights, 1 if a single one carries all.

    >>> effective_sample_size(np.zeros(8)), effective_sample_size(np.array([0.0, -900.0]))
    (8.0, 1.0)
    """
    if not np.isfinite(log_weights).any():
        return 0.0
    w = np.exp(log_weights - log_weights.max())
    return float(w.sum() ** 2 / (w**2).sum())


def weighted_spread(log_weights: np.ndarray) -> float:
    """Return the standard deviation of log-weights, each counted with its weight: 0 if one carries all.

    >>> round(weighted_spread(np.array([1.0, -1.0, -900.0])), 3)
    0.648
    """
    if not np.isfinite(log_weights).any():
        return 0.0
    known = log_weights[np.isfinite(log_weights)]
    share = np.exp(known - logsumexp(known))
    return float(np.sqrt(max(share @ known**2 - (share @ known) ** 2, 0.0)))


def largest_share(log_weights: np.ndarray) -> float:
    """Return the share of the sum that the largest weight carries."""
    if not np.isfinite(log_weights).any():
        return 1.0
    return float(np.exp(log_weights.max() - logsumexp(log_weights)))


def share(log_weights: np.ndarray, chosen: np.ndarray) -> float:
    """Return the share of the sum that the chosen weights carry."""
    if not chosen.any() or not np.isfinite(log_weights[chosen]).any():
        return 0.0
    return float(np.exp(logsumexp(log_weights[chosen]) - logsumexp(log_weights)))


def relative_error(log_weights: np.ndarray) -> float:
    """Return the standard error of the mean weight over that mean; infinite for fewer than two weights."""
    k = len(log_weights)
    ess = effective_sample_size(log_weights)
    if k < 2 or ess == 0:
        return math.inf
    return math.sqrt(max(1 / ess - 1 / k, 0.0) * k / (k - 1))


def pareto_k(log_weights: np.ndarray, resolution: float = 0.0) -> float:
    """Return the tail index k of a generalised Pareto distribution fitted to the largest weights.

    The mean's variance is finite for k < 1/2, and the mean itself for k < 1. The fit takes the min(m/5, 3 sqrt m)
    largest of m weights (Vehtari, Simpson, Gelman, Yao & Gabry 2024) and the estimator of Zhang & Stephens (2009).
    Minus infinity if the tail is flat: its logs spread over no more than ``resolution``. Infinite if fewer than five
    weights are left to fit.

    >>> tail = -0.7 * np.log(np.random.default_rng(0).random(20_000))
    >>> abs(pareto_k(tail) - 0.7) < 0.1
    True
    """
    count = int(min(len(log_weights) / 5, 3 * math.sqrt(len(log_weights))))
    if count < 5:
        return math.inf
    ordered = np.sort(log_weights)[-count - 1 :]
    top = ordered[-1]
    if not np.isfinite(top):
        return math.inf
    excess = np.exp(ordered[1:] - top) - np.exp(ordered[0] - top)
    if top - ordered[0] <= resolution:
        return -math.inf
    return _fit_pareto(excess)


def _fit_pareto(excess: np.ndarray) -> float:
    """Return the tail index of a generalised Pareto distribution fitted to ascending, non-negative excesses."""
    m = len(excess)
    quartile, largest = excess[int(m / 4 + 0.5) - 1], excess[-1]
    if quartile < _SMALLEST:  # the weights span more than float64 does: the tail is as heavy as can be
        return math.inf
    grid = np.arange(1, 31 + int(math.sqrt(m)))
    b = 1 / largest + (1 - np.sqrt((len(grid)) / (grid - 0.5))) / (3 * quartile)
    tail_index = np.array([np.log1p(-value * excess).mean() for value in b])
    with np.errstate(divide="ignore", invalid="ignore"):
        profile = m * (np.log(-b / tail_index) - tail_index - 1)
    profile = np.where(np.isfinite(profile), profile, -np.inf)
    weight = np.exp(profile - logsumexp(profile))
    mean_b = float((b * weight).sum())
    k = float(np.log1p(-mean_b * excess).mean())
    # a weak prior at 1/2 worth ten observations keeps small fits sane
    return (m * k + 5) / (m + 10)


def is_reliable(log_weights: np.ndarray, resolution: float = 0.0) -> bool:
    """Return whether the mean of the weights may be called a measurement.

    It needs an effective sample size of at least 50 and no weight above a tenth of the sum, among all weights and among
    the first half. In the first half it also needs a tail index of at most 1/2, so that the variance behind the
    interval exists. Only one half is judged closely, because weights look calmest if they have missed their tail. The
    other half is not selected by that (:func:`interval_of_halves`).
    """
    first = log_weights[: len(log_weights) // 2]
    return _calm(first) and pareto_k(first, resolution) <= RELIABLE_PARETO_K and _calm(log_weights)


def why_unreliable(log_weights: np.ndarray, resolution: float, rays: int, censored: float) -> str:
    """Return in words why the mean of the weights is not reliable: the first condition that fails.

    If :func:`is_reliable` holds, what remains is a search for a radius that gave up.

    Args:
        log_weights: of independent draws, shape (draws,): rays, or lines of two opposite rays.
        resolution: as for :func:`pareto_k`.
        rays: number of rays.
        censored: share of the rays that end at the cap.
    """
    ess, index = effective_sample_size(log_weights), pareto_k(log_weights, resolution)
    if ess == 0:
        return "all rays end at the trained point itself: the criterion jumps there"
    fewest = 2 * RELIABLE_ESS * rays / len(log_weights)  # half of the draws are judged
    if rays < fewest and 2 * ess >= len(log_weights):
        return f"fewer than {fewest:.0f} rays: pass `directions=1000`, and a larger budget if that ended them"
    # a ray at the cap weighs as much as any ray can
    bounded = 0 < censored < _FEW_AT_THE_CAP
    unseen = "The cap bounds every weight, but too few rays reached it to measure V: pass more `directions=...`"
    if not _calm(log_weights):
        carrying = max(round(ess), 1)
        outweighed = "Rays that were not drawn probably outweigh it, so the mean does not measure V"
        return (
            f"an ess of {ess:.1f} means that about {carrying:,} of {rays:,} rays "
            f"carr{'ies' if carrying == 1 else 'y'} the mean (the largest alone "
            f"{percent(largest_share(log_weights))}). {unseen if bounded else outweighed}"
        )
    if index > RELIABLE_PARETO_K:
        tail = f"the weights of the rays have a tail index of {index:.2f}, above {RELIABLE_PARETO_K}"
        return f"{tail}. {unseen}" if bounded else f"{tail}, so rays that were not drawn may outweigh all that were"
    if not is_reliable(log_weights, resolution):
        first = log_weights[: len(log_weights) // 2]
        return (
            f"the first half of the rays, which decides the verdict, has an ess of {effective_sample_size(first):,.1f} "
            f"({RELIABLE_ESS:.0f} are needed) and a tail index of {pareto_k(first, resolution):.2f} (at most "
            f"{RELIABLE_PARETO_K} is allowed): pass more `directions=...`"
        )
    return "the search along some rays gave up, and their radii are the inner ends of their brackets"


def _calm(log_weights: np.ndarray) -> bool:
    """Return whether enough weights carry the mean, and none too much of it."""
    return (
        effective_sample_size(log_weights) >= RELIABLE_ESS * (1 - _ROUNDING)
        and largest_share(log_weights) <= RELIABLE_SHARE
    )


def interval_of_halves(log_weights: np.ndarray) -> tuple[float, float]:
    """Return a 95 % interval for the log of a mean that was called reliable.

    It covers :func:`interval_of` all weights and that of the second half.
    """
    pairs = zip(interval_of(log_weights), interval_of(log_weights[len(log_weights) // 2 :]), strict=True)
    (low, second_low), (high, second_high) = pairs
    return min(low, second_low), max(high, second_high)


def interval_of(log_weights: np.ndarray) -> tuple[float, float]:
    """Return a 95 % interval for the log of the mean weight.

    It covers three intervals:

    - Student's for the mean of the weights. It misses upwards if few of them carry much of the mean.
    - That of log-normal non-zero weights, mean + variance / 2 (Land 1972; Olsson 2005). A sum of many small gains is
      close to normal.
    - Downwards, what a share of zeros that none of k draws has met may take off, log(1/200) / k.

    All are taken at 99 %, since skewed weights make them miss more often than they say.
    ``benchmarks/known_bodies.py`` counts how often. Infinite if fewer than two weights are non-zero.

    >>> low, high = interval_of(np.zeros(1000))
    >>> round(low, 4), high
    (-0.0053, 0.0)
    """
    count, non_zero = len(log_weights), log_weights[np.isfinite(log_weights)]
    if len(non_zero) < 2:
        return -math.inf, math.inf
    t, value, positive = float(stdtrit(count - 1, (1 + _LEVEL) / 2)), log_mean(log_weights), len(non_zero) / count
    half = t * relative_error(log_weights)
    variance = float(non_zero.var(ddof=1))
    normal = float(non_zero.mean()) + variance / 2 + math.log(positive)
    error = variance / len(non_zero) + variance**2 / (2 * (len(non_zero) - 1)) + (1 - positive) / len(non_zero)
    normal_half, unmet = t * math.sqrt(error), math.log((1 - _LEVEL) / 2) / count
    return min(value - half, normal - normal_half, value + unmet), max(value + half, normal + normal_half)


def resample(log_weights: np.ndarray, place: float) -> np.ndarray:
    """Return which of k chains continue, by systematic resampling (Carpenter et al. 1999), shape (k,).

    A chain with the share p of the weights continues floor(k p) or ceil(k p) times, k p on average.

    Args:
        log_weights: shape (k,).
        place: uniform between 0 and 1.

    >>> resample(np.log([1.0, 6.0, 1.0]), 0.5).tolist()
    [1, 1, 1]
    """
    shares = np.exp(log_weights - log_weights.max())
    edges = np.cumsum(shares) / shares.sum()
    return np.minimum(np.searchsorted(edges, (np.arange(len(shares)) + place) / len(shares)), len(shares) - 1)


def spread(log_weights: np.ndarray) -> float:
    """Return the standard deviation of log-weights; infinite if a weight is zero or there are fewer than two."""
    known = len(log_weights) > 1 and np.isfinite(log_weights).all()
    return float(log_weights.std(ddof=1)) if known else math.inf


def ratio(log_a: np.ndarray, log_b: np.ndarray) -> np.ndarray:
    """Return log(a / b), shape (k,): minus infinity if a is zero, whatever b is."""
    return log_a - np.where(np.isneginf(log_a), 0.0, log_b)
