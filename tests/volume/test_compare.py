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
from helpers.commands import flat
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
    a, b = (
        ls.log_volume(body, [0.5], estimator="uniform", metric="identity", directions=400, seed=seed) for seed in (0, 1)
    )
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
    uncapped = ls.log_volume(
        ellipsoid(1 / np.arange(1, 301)), [0.5], estimator="uniform", metric="identity", directions=100
    )
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


SHAPE = np.exp(np.random.default_rng(2).normal(size=12) / 5)


def scaled(curvature: float, **options) -> ls.Volume:
    """An ellipsoid of one shape, with all curvatures times a factor: every ray has the same ratio of lengths."""
    options = {"estimator": "uniform", "directions": 400, "seed": 0, **options}
    return ls.log_volume(ellipsoid(curvature * SHAPE), [0.5], metric="identity", **options)


def test_the_same_rays_are_compared_one_by_one() -> None:
    """The ratio of two ellipsoids of one shape is the same along every ray: what they have in common cancels."""
    row = compare_volumes(scaled(1.0), scaled(1.02)).rows[0]
    apart = compare_volumes(scaled(1.0), scaled(1.02, seed=1)).rows[0]
    truth = 6 * math.log(1.02)
    assert (row.method, apart.method) == ("paired rays", "intervals combined")
    assert row.verdicts == apart.verdicts == ("reliable", "reliable")
    assert row.interval[0] < truth < row.interval[1]
    assert row.difference == pytest.approx(truth, abs=1e-3)
    width, other = (each.interval[1] - each.interval[0] for each in (row, apart))
    assert width < other / 3
    assert (row.larger, apart.larger) == ("first", "cannot tell")


def test_rays_are_paired_only_if_they_are_the_same_and_enough_of_them_count() -> None:
    volume = scaled(1.0)
    finer = replace(volume, config={**volume.config, "step_ratio": 1.1})
    drawn = replace(volume, config={**volume.config, "proposal": {"name": "diagonal"}})
    few = replace(volume, results=(replace(volume.results[0], ess=49.0),))
    counted = replace(volume, results=(replace(volume.results[0], log_volume=volume.results[0].log_volume - 0.1),))
    bare = replace(volume, log_weights=np.zeros((0, 1)))
    for other in (finer, drawn, few, counted, bare, scaled(1.0, directions=500)):
        row = compare_volumes(volume, other).rows[0]
        assert row.method == "intervals added"
        a, b = volume.results[0], other.results[0]
        assert row.interval == (a.interval[0] - b.interval[1], a.interval[1] - b.interval[0])
    plain = replace(volume, config={"max_radius": None})  # radii from elsewhere have no seed
    assert compare_volumes(plain, plain).rows[0].method == "intervals added"


def test_the_tolerance_of_the_radii_widens_the_interval_from_pairs() -> None:
    volume = scaled(1.0)
    row = volume.results[0]
    low, high = row.interval
    wide = replace(volume, results=(replace(row, interval=(low - 0.5, high + 0.25)),))
    before, after = (compare_volumes(volume, other).rows[0].interval for other in (volume, wide))
    assert after == (pytest.approx(before[0] - 0.25), pytest.approx(before[1] + 0.5))


def test_counted_hits_bound_a_basin_from_above_and_so_decide() -> None:
    """A lower bound with an upper one from counted hits is smaller than a basin that lies above that."""
    large, volume = ball(300, 1 / 1500, cap=40.0), collapsed()
    row = volume.results[0]
    assert compare_volumes(large, volume).rows[0].larger == "cannot tell"
    counted = replace(volume, results=(replace(row, upper_bound=large.results[0].interval[0] - 7),))
    found = compare_volumes(large, counted).rows[0]
    assert (found.larger, found.method) == ("first", "bounds")
    assert found.interval[0] == pytest.approx(7)
    assert math.isnan(found.difference)


def test_a_file_with_several_estimates_keeps_the_rays_of_each_cutoff() -> None:
    volume = scaled(1.0)
    (row,) = volume.results
    both = replace(
        volume,
        results=(row, replace(row, cutoff=0.7, verdict="lower bound")),
        log_weights=np.repeat(volume.log_weights, 2, axis=1),
    )
    chains = replace(both, estimator="annealed", log_weights=np.zeros((8, 2)))
    chains = replace(chains, results=(replace(row, verdict="lower bound"), replace(row, cutoff=0.7, verdict="settled")))
    found = compare_volumes({"volume": both, "annealed": chains, "radii": None}, {"volume": both, "annealed": chains})
    assert [row.method for row in found.rows] == ["paired rays", "intervals added"]
    assert [row.verdict for row in found.rows] == ["reliable", "settled"]
    assert found.estimators == ("uniform and annealed", "uniform and annealed")
    assert "a settled estimate leaves out any part of the basin that no chain met" in found.notes
    with pytest.raises(LandscapeError, match=r"b\.h5 holds no log-volume"):
        compare_volumes(volume, {"radii": None}, names=("a.h5", "b.h5"))


def test_the_words_say_what_decides_and_which_coordinates_answer_which_question() -> None:
    volume = scaled(1.0)
    body = {"metric": "filter", "criterion": "loss", "seed": 0, "max_radius": None, "scope": "weights"}
    (row,) = volume.results

    def at(value: float, raw: float, verdict: str = "reliable", seed: int = 0) -> ls.Volume:
        ends = (value - 1, math.inf if verdict == "lower bound" else value + 1)
        known = replace(row, log_volume=value, log_volume_raw=raw, interval=ends, verdict=verdict, upper_bound=math.nan)
        return replace(volume, results=(known,), config={**body, "seed": seed}, log_weights=np.zeros((0, 1)))

    place = "At cutoff 0.5 (loss, filter metric, n = 12)"
    found = compare_volumes(at(30, 30), at(5, 40))
    assert found.rows[0].report == (
        f"{place} the first basin is larger by 23.0 to 27.0 nats, or 9.99 to 11.73 orders of magnitude (95 % interval, "
        "from both intervals added; reliable). In parameter coordinates the second basin is larger by 8.0 to 12.0 "
        "nats, or 3.47 to 5.21 orders of magnitude."
    )
    assert found.rows[0].raw_difference == -10
    assert "The order can differ between the two: on one pair of nets it did" in found.notes[-1]
    assert found.table().splitlines() == [
        "cutoff  coordinates  difference  95 % interval  larger  rests on",
        "(loss)                   (nats)         (nats)",
        "   0.5  metric             25.0   23.0 to 27.0  first   reliable",
        "        parameter         -10.0  -12.0 to -8.0  second  reliable",
    ]
    close = compare_volumes(at(5, 5, "settled"), at(4, 4, seed=1)).rows[0]
    assert close.report == (
        f"{place} the larger basin is unknown: log V(first) - log V(second) is -0.4 to 2.4 nats (95 % interval, from "
        "both intervals in quadrature; settled)."
    )
    bounds = compare_volumes(at(5, 5, "lower bound"), at(4, 4, "lower bound"))
    assert bounds.rows[0].report == (
        f"{place} the larger basin is unknown (as far as bounds can tell, each with 95 % confidence; lower bound)."
    )
    assert bounds.table().splitlines()[2:] == [
        "   0.5  metric          unknown        unknown  cannot tell  lower bound"
    ]
    assert bounds.notes[0].startswith("this rests on bounds.")


def test_different_resolutions_are_noted() -> None:
    coarse, fine = (
        replace(volume, results=(replace(volume.results[0], resolution=q),))
        for volume, q in ((scaled(1.0), 2.0), (scaled(1.0), 1.1))
    )
    assert any("the resolutions differ (q = 2 and 1.1)" in note for note in compare_volumes(coarse, fine).notes)
    assert not any("resolutions" in note for note in compare_volumes(fine, fine).notes)


def test_the_command(tmp_path) -> None:
    paths = [str(tmp_path / f"{name}.h5") for name in "ab"]
    for path, volume in zip(paths, (ball(50, 1.0), ball(50, 4.0)), strict=True):
        ls.Store(path)["volume"] = volume
    told = CliRunner().invoke(cli, ["compare", *paths])
    assert told.exit_code == 0, told.output
    assert "the first basin is larger by 34.5 to 34.8 nats, or 14.97 to 15.13 orders" in flat(told.output)
    assert max(len(line) for line in told.output.splitlines() if str(tmp_path) not in line) <= 80
    found = json.loads(CliRunner().invoke(cli, ["compare", *paths, "--json"]).output)
    assert found["rows"][0]["larger"] == "first"
    assert found["rows"][0]["log10_interval"][0] == pytest.approx(50 * math.log10(2), abs=0.1)
    missing = CliRunner().invoke(cli, ["compare", paths[0], str(tmp_path / "none.h5")])
    assert missing.exit_code == 2
    assert "none.h5" in missing.output
