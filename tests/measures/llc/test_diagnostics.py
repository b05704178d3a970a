"""What chains say of themselves, against autoregressive series whose effective sample size is known."""

import math

import numpy as np
import pytest

from landscape.measures.llc.diagnostics import effective_sample_size, split_rhat, standard_error, starts_apart


def autoregressive(correlation, chains, draws, seed=0):
    """Return series x_t = correlation x_(t-1) + noise with variance 1, shape (chains, draws)."""
    noise = np.random.default_rng(seed).standard_normal((chains, draws))
    values = noise.copy()
    for t in range(1, draws):
        values[:, t] = correlation * values[:, t - 1] + math.sqrt(1 - correlation**2) * noise[:, t]
    return values


@pytest.mark.parametrize("correlation", [-0.3, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_autoregressive_series(correlation):
    values = autoregressive(correlation, 8, 4_000)
    known = values.size * (1 - correlation) / (1 + correlation)
    assert effective_sample_size(values) == pytest.approx(known, rel=0.1)
    assert standard_error(values) == pytest.approx(known**-0.5, rel=0.3)
    assert split_rhat(values) < 1.02


def test_what_chains_share_counts_in_the_standard_error():
    """Eight copies of one chain know no more than one."""
    values = np.repeat(autoregressive(0.5, 1, 4_000), 8, axis=0)
    assert standard_error(values) == pytest.approx((4_000 / 3) ** -0.5, rel=0.2)


def test_chains_that_disagree_in_mean_or_in_spread():
    values = autoregressive(0.2, 4, 500)
    assert split_rhat(values + np.array([[0.0], [0.0], [0.0], [2.0]])) > 1.2
    assert split_rhat(values * np.array([[1.0], [1.0], [1.0], [5.0]])) > 1.1
    assert effective_sample_size(values + 3 * np.arange(4)[:, None]) < 20


def test_a_trend_is_found_by_the_halves():
    assert split_rhat(autoregressive(0.2, 4, 500) + np.linspace(0, 2, 500)) > 1.1


def test_starts_apart_in_standard_errors():
    values = autoregressive(0.0, 10, 1_000)
    assert starts_apart(values, 5) < 4
    shifted = values + 0.2 * (np.arange(10) >= 5)[:, None]
    assert starts_apart(shifted, 5) == pytest.approx(0.2 / math.sqrt(2 / 5_000), rel=0.35)


@pytest.mark.parametrize("values", [np.ones((4, 100)), np.zeros((4, 3))], ids=["stuck", "short"])
def test_chains_that_say_nothing(values):
    assert math.isnan(split_rhat(values))
    assert math.isnan(effective_sample_size(values))
    assert math.isnan(standard_error(values))
