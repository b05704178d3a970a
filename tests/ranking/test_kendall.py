"""Kendall's tau-b: against scipy, with ties, gaps and resampled configurations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from landscape.ranking import Configurations
from landscape.ranking.kendall import kendall_tau, kendall_tau_of_nets
from landscape.ranking.resamples import interval, permutations, resample_weights

ONCE = np.ones((1, 24))
PAIRS = np.triu_indices(24, 1)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_tau_is_that_of_scipy_with_ties(random: np.random.Generator) -> None:
    values = np.array([random.normal(size=24), random.integers(4, size=24), np.ones(24)])
    target = random.integers(6, size=24).astype(float)
    taus = kendall_tau(values, target, ONCE, PAIRS)[0]
    assert taus[:2] == pytest.approx([stats.kendalltau(row, target).statistic for row in values[:2]])
    assert np.isnan(taus[2])


def test_a_resample_is_the_table_with_rows_repeated(random: np.random.Generator) -> None:
    values, target = random.integers(8, size=(2, 24)).astype(float), random.normal(size=24)
    weights = resample_weights(24, 1, 0)[1:]
    repeated = np.repeat(np.arange(24), weights[0].astype(int))
    expected = [stats.kendalltau(row[repeated], target[repeated]).statistic for row in values]
    assert kendall_tau(values, target, weights, PAIRS)[0] == pytest.approx(expected)
    nets = kendall_tau_of_nets(values, target, np.arange(24), weights)
    assert nets[0] == pytest.approx(expected)


def test_nets_of_a_configuration_are_repeated_together(random: np.random.Generator) -> None:
    values, target = random.normal(size=(2, 24)), random.normal(size=24)
    group = np.repeat(np.arange(8), 3)
    weights = resample_weights(8, 2, 0)
    for row, taus in zip(weights.astype(int), kendall_tau_of_nets(values, target, group, weights), strict=True):
        chosen = np.concatenate([np.tile(np.flatnonzero(group == place), count) for place, count in enumerate(row)])
        expected = [stats.kendalltau(measure[chosen], target[chosen]).statistic for measure in values]
        assert taus == pytest.approx(expected)


def test_a_gap_is_left_out(random: np.random.Generator) -> None:
    values, target = random.normal(size=(1, 24)), random.integers(9, size=24).astype(float)
    values[0, [2, 7]] = np.nan
    known = np.isfinite(values[0])
    expected = stats.kendalltau(values[0, known], target[known]).statistic
    assert kendall_tau(values, target, ONCE, PAIRS)[0, 0] == pytest.approx(expected)
    assert kendall_tau_of_nets(values, target, np.arange(24), ONCE)[0, 0] == pytest.approx(expected)


def test_permutations_give_the_known_spread_of_chance(random: np.random.Generator) -> None:
    """Kendall (1938): the variance of tau between independent orders is 2 (2n + 5) / (9 n (n - 1))."""
    number = 4000
    target = random.normal(size=24)[permutations(24, number, 0)]
    taus = kendall_tau(random.normal(size=(1, 24)), target, ONCE, PAIRS)[:, 0]
    variance = 2 * (2 * 24 + 5) / (9 * 24 * 23)
    z = (taus.var() / variance - 1) / np.sqrt(2 / number)
    assert abs(z) < 4
    assert abs(taus.mean()) < 4 * np.sqrt(variance / number)


def test_resamples_draw_as_many_configurations_as_there_are() -> None:
    """Counts are multinomial: each has variance 1 - 1/C."""
    weights = resample_weights(24, 4000, 0)
    assert weights[0].tolist() == [1.0] * 24
    assert (weights.sum(axis=1) == 24).all()
    variances = weights[1:].var(axis=1)
    assert abs(variances.mean() - (1 - 1 / 24)) < 4 * variances.std() / np.sqrt(4000)


def test_the_interval_covers_the_truth() -> None:
    """Normal pairs of correlation r have tau = 2 asin(r) / pi. The interval is to hold it in 95 % of tables."""
    tables, size = 80, 40
    random = np.random.default_rng(1)
    pairs, weights = np.triu_indices(size, 1), resample_weights(size, 200, 0)
    covered = 0
    for _ in range(tables):
        target = random.normal(size=size)
        values = (0.5 * target + np.sqrt(0.75) * random.normal(size=size))[None]
        low, high = interval(kendall_tau(values, target, weights, pairs)[1:])
        covered += bool(low[0] <= 1 / 3 <= high[0])
    assert abs(covered / tables - 0.95) < 4 * np.sqrt(0.95 * 0.05 / tables)


def test_means_ignore_gaps_and_configurations_are_found() -> None:
    design = Configurations.of({"width": [1, 1, 2, 2], "data": ["b", "b", "a", "b"]})
    assert design.count == 3
    assert design.labels == {"width": [1, 2], "data": ["a", "b"]}
    means = design.mean(np.array([[1.0, np.nan, 3.0, np.nan]]))
    assert means[0, design.group[[0, 2]]].tolist() == [1.0, 3.0]
    assert np.isnan(means[0, design.group[3]])
    _, _, axis = design.environments()
    assert sorted(axis.tolist()) == [0, 1]
