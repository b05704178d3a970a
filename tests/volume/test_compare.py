"""Comparing two basins: what an interval allows to say, and what it does not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import landscape as ls
from helpers.bodies import ellipsoid
from helpers.volumes import ball, collapsed
from landscape.errors import LandscapeError
from landscape.volume import compare_volumes
from landscape_cli.main import cli


def test_two_balls_differ_by_the_power_of_their_radii() -> None:
    found = compare_volumes(ball(50, 1.0), ball(50, 4.0)).rows[0]
    assert found.verdicts == ("reliable", "reliable")
    assert found.difference == pytest.approx(50 * math.log(2), rel=1e-9)
    assert found.interval[0] <= 50 * math.log(2) <= found.interval[1]
    assert found.larger == found.raw_larger == "first"
    assert compare_volumes(ball(50, 4.0), ball(50, 1.0)).rows[0].larger == "second"


def test_the_intervals_half_widths_add_in_quadrature_or_as_they_are_under_one_seed() -> None:
    volume = ball(3, 1.0)
    a, b = (
        replace(volume, results=(replace(volume.results[0], log_volume=value, interval=(value - low, value + high)),))
        for value, low, high in ((10.0, 3.0, 6.0), (2.0, 8.0, 4.0))
    )
    low, high = compare_volumes(a, replace(b, config={**b.config, "seed": 1})).rows[0].interval
    assert low == pytest.approx(8 - 5)  # 3 below the first, 4 above the second
    assert high == pytest.approx(8 + 10)  # 6 above the first, 8 below the second
    assert compare_volumes(a, b).rows[0].interval == pytest.approx((8 - 7, 8 + 14))


def test_intervals_that_overlap_cannot_tell() -> None:
    curvatures = np.exp(0.5 * np.random.default_rng(0).normal(size=10))
    body = ellipsoid(curvatures)
    a, b = (ls.log_volume(body, [0.5], metric="identity", directions=400, seed=seed) for seed in (0, 1))
    found = compare_volumes(a, b).rows[0]
    assert found.verdicts == ("reliable", "reliable")
    assert found.larger == "cannot tell"


def test_two_lower_bounds_cannot_tell() -> None:
    found = compare_volumes(collapsed(), collapsed()).rows[0]
    assert found.verdicts == ("lower bound", "lower bound")
    assert found.larger == "cannot tell"
    low, high = collapsed().results[0].interval
    assert found.interval == (low - high, high - low)  # end to end: a bound has no normal error to add in quadrature


def test_a_lower_bound_decides_against_a_smaller_reliable_basin_and_against_nothing_else() -> None:
    bound, small, large = collapsed(), ball(300, 1e6, cap=40.0), ball(300, 1 / 1500, cap=40.0)
    assert bound.results[0].verdict == "lower bound"
    assert small.results[0].verdict == large.results[0].verdict == "reliable"
    assert compare_volumes(bound, small).rows[0].larger == "first"
    # the large ball has radius 38.7 and the cap, 40, leaves the bound room above it
    assert compare_volumes(bound, large).rows[0].larger == "cannot tell"


def test_parameter_coordinates_add_the_scales() -> None:
    a, b = ball(4, 1.0), ball(4, 1.0)
    grown = replace(a, results=(replace(a.results[0], log_volume_raw=a.results[0].log_volume + 5),))
    found = compare_volumes(grown, b).rows[0]
    assert found.larger == "cannot tell"
    assert found.raw_larger == "first"
    assert found.raw_interval[0] == pytest.approx(found.interval[0] + 5)


def test_infinite_intervals_are_no_claim() -> None:
    uncapped = ls.log_volume(ellipsoid(1 / np.arange(1, 301)), [0.5], metric="identity", directions=100)
    found = compare_volumes(uncapped, uncapped)
    assert found.rows[0].larger == "cannot tell"
    assert found.to_dict()["rows"][0]["interval"] == [None, None]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: ball(51, 1.0), "different dimensions"),
        (lambda: ball(50, 1.0, cap=3.0), "max_radius: None and 3.0"),
        (lambda: replace(ball(50, 1.0), results=()), "share no cutoff"),
    ],
)
def test_what_cannot_be_compared(other, words) -> None:
    with pytest.raises(LandscapeError, match=words):
        compare_volumes(ball(50, 1.0), other())


def test_differences_are_noted() -> None:
    a = ball(5, 1.0)
    other = replace(a, config={**a.config, "data_hash": "other", "theta_hash": "other"}, estimator="annealed")
    assert compare_volumes(a, other).notes == (
        "they were measured on different data",
        "the estimators differ: uniform and annealed",
    )
    assert compare_volumes(a, a).notes == ("both are of one trained point",)


def test_an_approximation_decides_nothing() -> None:
    small, large = ball(50, 4.0), ball(50, 1.0)
    guess = replace(large, results=(replace(large.results[0], verdict="approximation"),))
    found = compare_volumes(guess, small)
    assert found.rows[0].difference == pytest.approx(50 * math.log(2))
    assert found.rows[0].larger == found.rows[0].raw_larger == "cannot tell"
    assert any("does not include the distance" in note for note in found.notes)


def test_the_command(tmp_path) -> None:
    paths = [str(tmp_path / f"{name}.h5") for name in "ab"]
    for path, volume in zip(paths, (ball(50, 1.0), ball(50, 4.0)), strict=True):
        ls.Store(path)["volume"] = volume
    told = CliRunner().invoke(cli, ["compare", *paths])
    assert told.exit_code == 0, told.output
    assert "first, by 14.97 to 15.13 orders" in told.output
    found = json.loads(CliRunner().invoke(cli, ["compare", *paths, "--json"]).output)
    assert found["rows"][0]["larger"] == "first"
    assert found["rows"][0]["log10_interval"][0] == pytest.approx(50 * math.log10(2), abs=0.1)
    missing = CliRunner().invoke(cli, ["compare", paths[0], str(tmp_path / "none.h5")])
    assert missing.exit_code == 2
    assert "none.h5" in missing.output
