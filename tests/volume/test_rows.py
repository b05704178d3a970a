"""What an estimate holds, on each estimator that takes a moment, against a body of known volume."""

from __future__ import annotations

import math

import numpy as np
import pytest

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume

CURVATURES = np.array([0.5, 1.0, 2.0])
CUTOFF = 0.3
TRUTH = ellipsoid_log_volume(CURVATURES, CUTOFF)
OPTIONS: dict[str, dict[str, int]] = {
    "uniform": {"directions": 100},
    "importance": {"directions": 100},
    "laplace": {},
    "counted": {"hits": 20},
}


@pytest.mark.parametrize("estimator", OPTIONS)
def test_a_row_holds_the_volume_its_bounds_and_the_sentence(estimator: str) -> None:
    volume = ls.log_volume(
        ellipsoid(CURVATURES), [CUTOFF], metric="identity", max_radius=1.5, estimator=estimator, **OPTIONS[estimator]
    )
    (row,) = volume.results
    assert row.log_volume == pytest.approx(TRUTH, abs=0.7)
    assert row.log10_volume == row.log_volume / math.log(10)
    assert row.report == volume.report(CUTOFF)
    assert row.report.startswith(f"At cutoff {CUTOFF:g} (loss, identity metric, n = 3) ")
    assert row.verdict in row.report
    if estimator == "laplace":
        assert math.isnan(row.bound)
        assert math.isnan(row.upper_bound)
    else:
        assert row.bound <= TRUTH <= row.upper_bound + 1e-12
    data = volume.to_frame().iloc[0]
    assert (data.bound_nats, data.report) == (pytest.approx(row.bound, nan_ok=True), row.report)
