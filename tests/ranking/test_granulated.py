"""Granulated coefficients: against mbe-eval, and what happens to cells that are not defined."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.families import shared_case
from landscape.ranking import Configurations
from landscape.ranking.granulated import granulated
from landscape.ranking.resamples import resample_weights

#: mbe-eval 0.5.0: granulated_kendall(shared_case() as a DataFrame, measure, "gap", ["a", "b", "c"], group_col="config")
MBE_EVAL = {"first": [1.0, 0.6296296296296297, 0.925925925925926], "second": [-1.0, -0.03703703703703706, 1.0]}


def test_psi_is_that_of_mbe_eval() -> None:
    runs = shared_case()
    design = Configurations.of(runs.axes)
    result = granulated(design.mean(runs.values), design.mean(runs.targets)[0], np.ones((1, 27)), design)
    assert pytest.approx(np.array([MBE_EVAL["first"], MBE_EVAL["second"]])) == result.psi[0].T
    assert result.overall[0] == pytest.approx([0.851851851851852, -0.01234567901234566])
    assert result.cells.tolist() == [9, 9, 9]
    assert (result.defined == 9).all()


def test_undefined_cells_are_counted_and_never_zero() -> None:
    design = Configurations.of({"width": [1, 2, 3] * 3, "lr": [1, 1, 1, 2, 2, 2, 3, 3, 3]})
    width, lr = design.levels.astype(float)
    target = width + 10 * lr
    values = np.array([width, np.ones(9), np.where(lr == 0, np.nan, width)])
    result = granulated(values, target, np.ones((1, 9)), design)
    assert result.psi[0, 0].tolist() == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)
    assert np.isnan(result.psi[0, 1]).all()
    assert result.defined.tolist() == [[3, 0, 2], [0, 0, 0]]
    assert result.overall[0].tolist() == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


def test_rows_of_weights_do_not_meet() -> None:
    """Many resamples are worked on in chunks; each comes out as it does alone."""
    runs = shared_case()
    design = Configurations.of(runs.axes)
    values, target = design.mean(runs.values), design.mean(runs.targets)[0]
    weights = resample_weights(27, 600, 0)
    together = granulated(values, target, weights, design).psi
    alone = granulated(values, target, weights[550:551], design).psi
    assert together[550] == pytest.approx(alone[0], nan_ok=True)
    permuted = np.tile(target, (600, 1))
    permuted[550] = target[::-1]
    shuffled = granulated(values, permuted, np.ones((1, 27)), design).psi
    assert shuffled[550] == pytest.approx(granulated(values, target[::-1], np.ones((1, 27)), design).psi[0])


def test_a_family_without_crossed_axes_has_no_cell() -> None:
    design = Configurations.of({"width": [1, 2, 3], "lr": [1, 2, 3]})
    result = granulated(np.arange(3.0)[None], np.arange(3.0), np.ones((1, 3)), design)
    assert result.cells.tolist() == [0, 0]
    assert np.isnan(result.overall).all()
