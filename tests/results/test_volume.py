"""An estimate of a volume carries its bounds, its resolution and the conditions of its verdict."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import landscape as ls
from landscape.results import VERDICTS, Check, Volume, grade
from landscape.results.ball import log_ball

CHECKS = (
    Check("islands' spread", 0.7, 1.0, True, "log Z of the islands spreads by 0.7 nats (at most 1)"),
    Check("reverse gap", 4.5, "between 0 and 3", False, "reverse runs lie 4.5 nats above (0 to 3 are allowed)"),
)


def disc(cap: float | None = None, **fields) -> Volume:
    """A disc of radius 2, seen along equal rays."""
    volume = ls.volume_from_radii(np.full(200, 2.0), n=2, max_radius=cap, cutoffs=[0.1])
    return replace(volume, results=(replace(volume.results[0], **fields),))


def test_an_estimate_is_stored_and_read_back_with_all_that_speaks_for_it(tmp_path) -> None:
    volume = disc(verdict="settled", resolution=1.5, survives=0.93, bound=2.0, upper_bound=3.0, checks=CHECKS)
    ls.Store(tmp_path / "run.h5")["volume"] = volume
    row = ls.Store(tmp_path / "run.h5")["volume"].results[0]
    assert repr(row) == repr(volume.results[0])  # NaN equals NaN
    assert row.checks == CHECKS
    shown = json.loads(json.dumps(volume.summary(), allow_nan=False))["results"][0]
    assert (shown["verdict"], shown["resolution"], shown["survives"]) == ("settled", 1.5, 0.93)
    assert (shown["bound"], shown["upper_bound"], shown["log_cap_ball"]) == (2.0, 3.0, None)
    assert shown["checks"][1]["limit"] == "between 0 and 3"
    assert [check["met"] for check in shown["checks"]] == [True, False]


def test_a_file_from_before_these_fields_is_read() -> None:
    volume = disc()
    attributes = volume.attributes()
    new = ("resolution", "survives", "bound", "upper_bound", "checks", "log_cap_ball")
    old = [{key: value for key, value in row.items() if key not in new} for row in attributes["results"]]
    row = Volume.from_parts(volume.arrays(), {**attributes, "results": old}).results[0]
    assert math.isnan(row.resolution)
    assert row.checks == ()
    assert row.log_volume == volume.results[0].log_volume


def test_the_interval_of_a_lower_bound_is_its_bounds() -> None:
    row = disc(verdict="lower bound", interval=(-7.0, 4.0), bound=math.nan, upper_bound=math.nan).results[0]
    assert (row.bound, row.upper_bound) == (-7.0, 4.0)
    assert replace(row, interval=(-8.0, 4.0)).bound == -8.0
    assert replace(row, upper_bound=1.0).upper_bound == 1.0  # counted hits say more than the cap


def test_a_bound_stands_beside_every_measurement() -> None:
    """Rays of equal length: the mean is exact, and Markov's inequality takes off log 20."""
    row = disc(cap=3.0).results[0]
    assert row.verdict == "reliable"
    assert row.bound == pytest.approx(math.log(4 * math.pi) - math.log(20))
    assert row.upper_bound == pytest.approx(math.log(9 * math.pi))


def test_the_ball_of_the_cap() -> None:
    assert disc(cap=3.0).results[0].log_cap_ball == pytest.approx(math.log(9 * math.pi))
    assert disc().results[0].log_cap_ball == math.inf
    assert log_ball(4, 2.0) == pytest.approx(math.log(math.pi**2 / 2 * 16))
    normal = {"measure": "gaussian", "measure_centre": "zero", "sigma": 1.0, "max_radius": 3.0}
    gaussian = replace(disc(cap=3.0), config=normal)
    assert gaussian.results[0].log_cap_ball == math.inf  # V is a probability


def test_verdicts_are_graded() -> None:
    assert sorted(VERDICTS, key=grade) == ["approximation", "lower bound", "settled", "reliable"]
