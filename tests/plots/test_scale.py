"""Losses as colours and heights: round levels that span them, and gaps that stay gaps."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.slice_results import make_plane, with_gaps
from landscape.plots.scale import DECADES, Scale, log_levels


@pytest.mark.parametrize("most", [4, 7, 9, 16])
@pytest.mark.parametrize(("low", "high"), [(0.5, 20.0), (1.0, 10.0), (1e-12, 1e9), (0.03, 0.031), (2.0, 2.5)])
def test_log_levels(low: float, high: float, most: int) -> None:
    levels = log_levels(low, high, most)
    assert levels[0] <= low * (1 + 1e-9)
    assert levels[-1] >= high * (1 - 1e-9)
    assert 2 <= len(levels) <= most + 2
    np.testing.assert_allclose(np.diff(np.log(levels)), np.log(levels[1] / levels[0]))


def test_a_scale_keeps_gaps_and_shows_at_most_four_decades() -> None:
    deep = 10.0 ** make_plane().loss / 1e9
    scale = Scale.of(deep, 16)
    assert scale.logarithmic
    assert scale.clipped
    assert np.ptp(scale.levels) <= DECADES + 1
    assert scale.levels[-1] >= np.log10(deep.max())
    gaps = Scale.of(with_gaps(make_plane()).loss, 16)
    assert np.isnan(gaps.heights[0, 0])
    assert np.isnan(gaps.heights[-1]).all()
    assert not gaps.clipped
    plain = Scale.of(np.array([1.0, 2.0]), 4)
    assert not plain.logarithmic
    assert plain.levels[0] <= 1 < 2 <= plain.levels[-1]
