"""The ratio of two means over the same rays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape.volume.ray_weights.paired import log_ratio_interval
from landscape.volume.ray_weights.statistics import interval_of


@pytest.mark.parametrize(("sd", "correlation"), [((1.0, 1.0), 0.0), ((1.0, 1.0), 0.95), ((0.2, 1.2), -0.5)])
def test_the_interval_holds_the_ratio_of_two_log_normal_means(sd: tuple[float, float], correlation: float) -> None:
    """log E[a] - log E[b] is half the difference of the variances. The level of 95 % must not be missed by chance."""
    rng, misses, runs = np.random.default_rng(7), 0, 150
    for _ in range(runs):
        z = rng.normal(size=(2, 500))
        a, b = sd[0] * z[0], sd[1] * (correlation * z[0] + math.sqrt(1 - correlation**2) * z[1])
        low, high = log_ratio_interval(a, b)
        misses += not low <= (sd[0] ** 2 - sd[1] ** 2) / 2 <= high
    assert misses <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)


def test_what_both_have_in_common_cancels() -> None:
    common = np.random.default_rng(0).normal(size=1000)
    low, high = log_ratio_interval(common + 3, common)
    assert (low, high) == (pytest.approx(3 - math.log(200) / 500), pytest.approx(3 + math.log(200) / 500))
    shuffled = np.random.default_rng(1).permutation(common)
    wide_low, wide_high = log_ratio_interval(common + 3, shuffled)
    assert wide_low < 3 < wide_high
    assert wide_high - wide_low > 10 * (high - low)


def test_against_a_constant_it_is_the_interval_of_one_mean() -> None:
    """The jackknife differs from the plain standard error by the skewness of few weights only."""
    logs = 0.3 * np.random.default_rng(2).normal(size=4000)
    low, high = log_ratio_interval(logs, np.zeros(4000))
    one_low, one_high = interval_of(logs)
    half_low, half_high = interval_of(logs[2000:])
    assert low == pytest.approx(min(one_low, half_low), abs=1e-3)
    assert high == pytest.approx(max(one_high, half_high), abs=1e-3)


def test_zeros_are_weights_too_and_too_few_others_say_nothing() -> None:
    """Counted hits: half of the rays of a hit, a quarter of those of b."""
    hits = np.where(np.arange(4000) % 4 < 2, 0.0, -np.inf), np.where(np.arange(4000) % 4 < 1, 0.0, -np.inf)
    low, high = log_ratio_interval(*hits)
    assert low < math.log(2) < high
    assert high - low < 0.3
    assert log_ratio_interval(np.full(10, -np.inf), np.zeros(10)) == (-math.inf, math.inf)
