"""The robust sign error: against mbe-eval, and its weights and thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.families import shared_case
from landscape.ranking import Configurations
from landscape.ranking.sign_error import pair_weight, sign_errors


def test_environments_are_those_of_mbe_eval() -> None:
    """mbe-eval 0.5.0: robust_sign_error_environments(shared_case() as a DataFrame, ..., target="gap"), which lists each
    environment twice, and robust_sign_error_summary of them."""
    runs = shared_case()
    design = Configurations.of(runs.axes)
    result = sign_errors(runs.values, runs.targets[0], design, test_size=10_000)
    once = np.ones((1, 27))
    assert len(result.errors) == 110 / 2
    assert result.effective.sum() == pytest.approx(826.0500212465927)
    assert result.mean(once)[0] == pytest.approx([0.11455672084984425, 0.5642093596989136])
    assert result.largest() == pytest.approx([0.46141196959221764, 1.0])
    assert [result.errors[result.axis == axis, 0].mean() for axis in range(3)] == pytest.approx(
        [0.083359, 0.181770, 0.104492], abs=1e-6
    )


def test_weights_follow_the_formula() -> None:
    """m d²/2 = log 8 gives 1 - 2/8 = 3/4, squared 9/16, less 1/2: 1/16."""
    size = 5000
    difference = np.sqrt(2 * np.log(8) / size)
    assert pair_weight(np.array([difference, 0.0, -1.0]), size) == pytest.approx([1 / 16, 0.0, 0.5])
    assert pair_weight(np.array([difference, 0.0]), None).tolist() == [1.0, 0.0]


def test_right_wrong_and_level_measures() -> None:
    runs = shared_case()
    design = Configurations.of(runs.axes)
    target = runs.targets[0]
    values = np.array([target, -target, np.ones_like(target), np.full_like(target, np.nan)])
    result = sign_errors(values, target, design, test_size=10_000)
    once = np.ones((1, 27))
    expected = [0.0, 1.0, 0.5, np.nan]
    for got in (result.mean(once)[0], result.tail(once)[0], result.largest()):
        assert got == pytest.approx(expected, nan_ok=True)


def test_environments_with_few_pairs_are_left_out() -> None:
    runs = shared_case()
    one_seed = runs.kept(np.array([seed == "0" for seed in runs.seeds]))
    design = Configurations.of(one_seed.axes)
    none = sign_errors(one_seed.values, one_seed.targets[0], design, test_size=None)
    assert none.errors.shape == (0, 2)
    assert none.candidates == 81
    assert np.isnan(none.mean(np.ones((1, 27)))).all()
    assert np.isnan(none.tail(np.ones((1, 27)))).all()
    assert np.isnan(none.largest()).all()
    assert len(sign_errors(one_seed.values, one_seed.targets[0], design, test_size=None, fewest=1.0).errors) == 81


def test_a_resample_weighs_environments_by_both_configurations() -> None:
    runs = shared_case()
    design = Configurations.of(runs.axes)
    result = sign_errors(runs.values, runs.targets[0], design, test_size=10_000)
    copies = np.arange(27) % 3
    repeated = np.repeat(np.arange(len(result.errors)), copies[result.first] * copies[result.second])
    assert result.mean(copies[None].astype(float))[0] == pytest.approx(result.errors[repeated].mean(axis=0))
    tail = np.quantile(result.errors[repeated], 0.9, axis=0, method="inverted_cdf")
    assert result.tail(copies[None].astype(float))[0] == pytest.approx(tail)
