"""The ratio of two means over the same rays: what the rays have in common cancels."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp, stdtrit

from landscape.volume.ray_weights.statistics import log_mean

_LEVEL = 0.99  # of each interval that is taken together with others, as for a single mean


def log_ratio_interval(log_a: np.ndarray, log_b: np.ndarray) -> tuple[float, float]:
    """Return a 95 % interval for log E[a] - log E[b] from pairs (a_i, b_i) that are independent of each other.

    It covers that of all pairs and that of the second half, as
    :func:`landscape.volume.ray_weights.statistics.interval_of_halves` does for one mean. Either covers, at 99 %:

    - Student's interval with the standard error of the delete-one jackknife (Miller 1974);
    - that of log-normal weights, difference of (mean + variance / 2), if no weight is zero;
    - what a share of zeros that none of k pairs has met may take off one of the means, log(200) / k.

    Infinite if either of the means is carried by fewer than two weights.

    Args:
        log_a, log_b: shape (pairs,).

    >>> weights = np.random.default_rng(0).normal(size=1000)
    >>> low, high = log_ratio_interval(weights + 3, weights)
    >>> round(low, 4), round(high, 4)
    (2.9894, 3.0106)
    """
    half = len(log_a) // 2
    (low, high), (second_low, second_high) = _interval(log_a, log_b), _interval(log_a[half:], log_b[half:])
    return min(low, second_low), max(high, second_high)


def _interval(log_a: np.ndarray, log_b: np.ndarray) -> tuple[float, float]:
    """Return the interval from all of these pairs."""
    count = len(log_a)
    if min(np.isfinite(logs).sum() for logs in (log_a, log_b)) < 2:
        return -math.inf, math.inf
    t = float(stdtrit(count - 1, (1 + _LEVEL) / 2))
    unmet = math.log(2 / (1 - _LEVEL)) / count
    value = log_mean(log_a) - log_mean(log_b)
    error = _jackknife_error(log_a, log_b)
    ends = [value - t * error, value + t * error, value - unmet, value + unmet]
    if np.isfinite(log_a).all() and np.isfinite(log_b).all():
        # of each pair: mean + variance / 2 as a mean over terms
        terms = _log_normal_terms(log_a) - _log_normal_terms(log_b)
        middle, normal_error = float(terms.mean()), float(terms.std(ddof=1)) / math.sqrt(count)
        ends += [middle - t * normal_error, middle + t * normal_error]
    return min(ends), max(ends)


def _jackknife_error(log_a: np.ndarray, log_b: np.ndarray) -> float:
    """Return the standard error of log mean a - log mean b, from leaving out one pair at a time."""
    left_out = _log_rest(log_a) - _log_rest(log_b)
    count = len(log_a)
    return math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))


def _log_rest(logs: np.ndarray) -> np.ndarray:
    """Return log of the sum without each weight in turn, shape (pairs,)."""
    return np.log1p(-np.exp(logs - logsumexp(logs)))


def _log_normal_terms(logs: np.ndarray) -> np.ndarray:
    """Return terms whose mean is mean + variance / 2 of the logs."""
    return logs + (logs - logs.mean()) ** 2 / 2 * len(logs) / (len(logs) - 1)
