"""Spearman's correlation against scipy, the partial one against a plain regression."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from landscape.ranking import Configurations
from landscape.ranking.rank_correlation import axis_columns, partial_correlation, spearman
from landscape.ranking.resamples import resample_weights

SIZE = 36
DESIGN = Configurations.of({"a": [0, 1, 2] * 12, "b": [f"b{number // 3 % 2}" for number in range(SIZE)],
                            "c": [number // 6 for number in range(SIZE)]})  # fmt: skip
ONCE = np.ones((1, SIZE))


def plain(measure: np.ndarray, target: np.ndarray, columns: np.ndarray) -> float:
    """Correlation of the residuals of two least-squares fits."""
    left = [y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0] for y in map(stats.rankdata, (measure, target))]
    return float(np.corrcoef(*left)[0, 1])


@pytest.fixture
def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    target = random.integers(12, size=SIZE) + DESIGN.levels[0]
    controls = random.normal(size=(2, SIZE)) + 0.1 * target
    return target * 0.2 + random.normal(size=(2, SIZE)), target.astype(float), controls


def test_spearman_is_that_of_scipy(table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, target, _ = table
    values[1, :5] = np.nan
    weights = resample_weights(SIZE, 1, 0)
    got = spearman(values, target, weights)
    for row, copies in zip(got, weights.astype(int), strict=True):
        for place, measure in enumerate(values):
            chosen = np.repeat(np.arange(SIZE), copies)
            chosen = chosen[np.isfinite(measure[chosen])]
            assert row[place] == pytest.approx(stats.spearmanr(measure[chosen], target[chosen]).statistic)


def test_the_partial_one_is_that_of_a_plain_regression(table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, target, controls = table
    weights = resample_weights(SIZE, 1, 0)
    got = partial_correlation(values, target, weights, DESIGN, controls)
    for row, copies in zip(got, weights.astype(int), strict=True):
        chosen = np.repeat(np.arange(SIZE), copies)
        ranks = [stats.rankdata(control[chosen]) for control in controls]
        columns = np.column_stack([axis_columns(DESIGN)[chosen], *ranks])
        expected = [plain(measure[chosen], target[chosen], columns) for measure in values]
        assert row == pytest.approx(expected)


def test_axes_are_categories_or_ranks() -> None:
    """Three and two levels are categories, 2 and 1 indicators; six numbers enter as a rank."""
    assert axis_columns(DESIGN).shape == (SIZE, 1 + 2 + 1 + 1)


def test_what_the_axes_say_already_is_undefined(table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, target, _ = table
    in_disguise = DESIGN.levels[:1].astype(float) * 3
    got = partial_correlation(np.concatenate([values[:1], in_disguise]), target, ONCE, DESIGN, np.empty((0, SIZE)))
    assert np.isfinite(got[0, 0])
    assert np.isnan(got[0, 1])


def test_too_few_degrees_of_freedom_are_refused(table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, target, _ = table
    many = np.random.default_rng(1).normal(size=(22, SIZE))
    assert np.isnan(partial_correlation(values, target, ONCE, DESIGN, many)).all()
    assert np.isfinite(partial_correlation(values, target, ONCE, DESIGN, many[:21])).all()
