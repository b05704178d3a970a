"""The words for a volume, letter by letter: one line per cutoff, and the sentence to quote."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import landscape as ls
from landscape.errors import LandscapeError
from landscape.results import Cost, Volume, VolumeEstimate
from landscape.results.ball import log_ball
from landscape.results.volume_words import bounds_cell, interval_cell

CONFIG = {"criterion": "loss", "metric": "filter", "scope": "weights", "max_radius": 1.0}
BALL = log_ball(3457, 1.0)


def estimate(below: float = 6.7, width: float = 0.2, verdict: str = "reliable", **fields) -> VolumeEstimate:
    """An estimate this many nats below the ball of radius 1 in 3,457 dimensions."""
    value = BALL - below
    ends = (value, BALL) if verdict == "lower bound" else (value - width, value + width)
    known = {"cutoff": 1.0, "bound": value - 1, "reasons": (), **fields}
    if verdict != "lower bound":
        known.setdefault("upper_bound", BALL)
    return VolumeEstimate(
        log_volume=value + (5 if verdict == "lower bound" else 0),  # what a collapsed mean says counts for nothing
        log_volume_raw=value,
        interval=known.pop("interval", ends),
        ess=math.nan,
        largest_weight=math.nan,
        censored=0.0,
        censored_weight=0.0,
        pareto_k=math.nan,
        verdict=verdict,
        **known,
    )


def volume(*rows: VolumeEstimate, n: int = 3457, **config) -> Volume:
    config = {**CONFIG, **config}
    return Volume(rows, np.zeros((0, len(rows))), "annealed", n, 8, config, Cost(1.0, 1, 1.0))


def test_one_line_per_cutoff_says_how_large_how_sure_at_which_resolution() -> None:
    rows = (
        estimate(23.1, 2.2, "settled", cutoff=0.1, resolution=1.1, survives=0.939),
        estimate(6.7, 0.2, "reliable", cutoff=1.0, resolution=2.0),
        estimate(4741.2, 0, "lower bound", cutoff=2.0, resolution=1.1, survives=1.0),
        estimate(0.05, 0.01, "approximation", cutoff=4.0),
    )
    assert volume(*rows).table().splitlines() == [
        "cutoff  nats below   95 % interval  verdict              grid       log10 V",
        "(loss)    the ball          (nats)                  (q, left)",
        "   0.1        23.1    20.9 to 25.3  settled         1.1, 93 %     -3,998.36",
        "     1         6.7      6.5 to 6.9  reliable                2     -3,991.24",
        "     2  <= 4,741.2  0.0 to 4,741.2  lower bound    1.1, 100 %  >= -6,047.40",
        "     4      ~ 0.05    0.04 to 0.06  approximation           -   ~ -3,988.35",
        "grid: the resolution of V. q is the ratio of neighbouring radii at which rays",
        "  are tested; left is the share of V that a finer grid leaves.",
    ]


PLACE = "At cutoff 1 (loss, filter metric, n = 3,457) the basin's volume"
SETTLED = " No interval holds without conditions: a part of the basin that no chain met is not in it."


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            estimate(resolution=2.0),
            f"{PLACE} is 6.7 nats below the ball of radius 1 (95 % interval 6.5 to 6.9; reliable), at a radial "
            "resolution of q = 2.",
        ),
        (
            estimate(verdict="settled", resolution=1.1, survives=0.939),
            f"{PLACE} is 6.7 nats below the ball of radius 1 (95 % interval 6.5 to 6.9; settled), at a radial "
            f"resolution of q = 1.1 (a finer grid leaves 93 % of it).{SETTLED}",
        ),
        (
            estimate(626.3, verdict="lower bound", resolution=1.1),
            f"{PLACE} is at least exp(-626.3) of the ball of radius 1, so at most 626.3 nats below it (95 % "
            "confidence; lower bound), at a radial resolution of q = 1.1.",
        ),
        (
            estimate(626.3, verdict="lower bound", upper_bound=BALL - 5.9),
            f"{PLACE} is at least exp(-626.3) of the ball of radius 1, so at most 626.3 and at least 5.9 nats below it "
            "(95 % confidence; lower bound).",
        ),
        (
            estimate(math.inf, verdict="lower bound"),
            f"{PLACE} has no lower bound: no ray was seen to leave the trained point inside the basin.",
        ),
        (
            estimate(verdict="approximation"),
            "At cutoff 1 (loss, filter metric, n = 3,457) the volume of the quadratic with the same curvature is 6.7 "
            "nats below the ball of radius 1 (95 % interval 6.5 to 6.9; approximation). How far the basin is from that "
            "quadratic is unknown.",
        ),
    ],
    ids=["reliable", "settled", "lower bound", "two bounds", "no bound", "approximation"],
)
def test_the_sentence_to_quote(row: VolumeEstimate, words: str) -> None:
    capped = volume(row)
    assert capped.results[0].report == capped.report(1.0) == capped.summary()["results"][0]["report"] == words
    assert row.report == ""  # an estimate that is in no volume does not know what it is of


def test_without_a_cap_the_logarithm_itself_is_given() -> None:
    row = estimate(interval=(-12.5, -12.1), log_cap_ball=0.0)
    free = volume(replace(row, log_volume=-12.3), max_radius=None, scope="all").results[0]
    assert free.report == (
        "At cutoff 1 (loss, filter metric, scope all, n = 3,457) the basin's log-volume is -12.3 nats (95 % interval "
        "-12.5 to -12.1; reliable)."
    )
    bound = replace(row, verdict="lower bound", interval=(-12.5, math.inf), upper_bound=math.nan)
    bound = volume(bound, max_radius=None)
    assert "the basin's log-volume is at least -12.5 nats (95 % confidence; lower bound)." in bound.results[0].report
    assert bound.table().splitlines()[0].startswith("cutoff     log V  95 % interval")
    assert bound.table().splitlines()[2] == "     1  >= -12.5  -12.5 or more  lower bound          -  >= -5.43"


def test_a_probability_is_named_as_one() -> None:
    normal = {"measure": "gaussian", "measure_centre": "zero", "sigma": 0.1}
    chance = volume(replace(estimate(interval=(-12.5, -12.1)), log_volume=-12.3), **normal)
    assert "the log-probability of the basin under N(0, 0.1²) is -12.3 nats (95 % interval" in chance.results[0].report
    assert "log P" in chance.table()


def test_plain_radii_have_a_sentence_without_a_cutoff() -> None:
    (row,) = ls.volume_from_radii(np.full(200, 2.0), n=2, max_radius=4.0).results
    assert row.report.startswith("For n = 2 the basin's volume is 1.39 nats below the ball of radius 4 (95 % interval")


def test_nothing_infinite_is_printed() -> None:
    """Rays of no length have no bound, with a cap and without."""
    for cap in (3.0, None):
        nothing = ls.volume_from_radii(np.zeros(200), n=2, max_radius=cap, cutoffs=[0.1])
        assert "no bound" in nothing.table()
        assert "inf" not in str(nothing)


def test_a_bound_is_what_is_reported_and_the_bounds_of_others_are_told_apart() -> None:
    bound, sure = volume(estimate(626.3, verdict="lower bound"), estimate(6.7, cutoff=2.0)).results
    assert (bound.nats_below_ball, bound.nats_below_ball_interval) == (
        pytest.approx(626.3),
        (0.0, pytest.approx(626.3)),
    )
    assert bound.reported == bound.bound
    assert bound.log10_reported == pytest.approx((BALL - 626.3) / math.log(10))
    assert (sure.reported, sure.nats_below_ball) == (sure.log_volume, pytest.approx(6.7))
    assert (bounds_cell(bound), bounds_cell(sure)) == ("0.0 to 626.3", "0.0 to 7.7")
    counted = replace(bound, upper_bound=BALL - 5.9)
    assert interval_cell(counted) == bounds_cell(counted) == "5.9 to 626.3"
    assert counted.nats_below_ball_interval == (pytest.approx(5.9), pytest.approx(626.3))


def test_large_nets_fit_a_terminal() -> None:
    """ResNet-50 has 25.5 million weights."""
    n = 25_500_000
    ball = log_ball(n, 1.0)
    rows = [
        estimate(0, verdict="lower bound", cutoff=0.125, interval=(ball - 9_876_543, ball), resolution=1.02),
        estimate(0, verdict="settled", cutoff=10.0, interval=(ball - 123_456, ball - 101_234), resolution=1.1),
    ]
    rows[1] = replace(rows[1], log_volume=ball - 112_345, survives=0.99)
    large = volume(*rows, n=n)
    assert max(map(len, str(large).splitlines())) <= 80
    assert "<= 9,876,543    0.0 to 9,876,543" in large.table()


def test_a_cutoff_that_was_not_measured_is_one_clear_error() -> None:
    with pytest.raises(LandscapeError, match=r"no volume at cutoff 3\. Pass one of 1"):
        volume(estimate()).report(3.0)


def test_a_basin_that_fills_the_ball_says_so_in_the_sentence_and_in_columns() -> None:
    rows = estimate(0.01, 0.005, cutoff=2.0), estimate(0.3, 0.25, cutoff=1.0)
    report = volume(*rows)
    whole = "So it fills the ball, and how far it reaches beyond is not measured."
    assert [whole in report.report(cutoff) for cutoff in (2.0, 1.0)] == [True, False]
    frame = report.to_frame()
    assert frame.nats_below_ball_low.tolist() == pytest.approx([0.005, 0.05])
    assert frame.nats_below_ball_high.tolist() == pytest.approx([0.015, 0.55])
