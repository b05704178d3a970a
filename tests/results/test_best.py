"""The best of several estimates of one basin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers.volumes import ball, collapsed
from landscape.errors import LandscapeError
from landscape.results.best import best_volume, estimates_by_cutoff


def test_the_best_volume_of_a_file() -> None:
    good, bad = ball(5, 1.0), collapsed()
    guess = replace(good, results=(replace(good.results[0], verdict="approximation"),))
    wide = replace(good, results=(replace(good.results[0], interval=(-100.0, 100.0)),))
    unknown = replace(bad, results=(replace(bad.results[0], log_volume=math.nan, interval=(math.nan, math.inf)),))
    assert best_volume({"a": bad, "radii": object(), "b": good, "c": guess}, "x") is good
    assert best_volume({"b": wide, "c": good}, "x") is good
    assert best_volume({"a": bad, "c": guess}, "x") is bad
    assert best_volume({"n": unknown, "a": bad}, "x").results[0].log_volume == bad.results[0].log_volume
    with pytest.raises(LandscapeError, match=r"x\.h5 holds no log-volume"):
        best_volume({}, "x.h5")


def test_the_highest_of_several_bounds_is_one_for_all_of_them() -> None:
    """A mean that is 21 times too large once in 25: one bound is violated in 4 %, the highest of three in 12 %."""
    rng, bad, violated = np.random.default_rng(4), collapsed(), 0
    for _ in range(2000):
        found = {
            str(i): replace(
                bad, results=(replace(bad.results[0], interval=(math.log(0.05 * (21 if hit else 0.5)), math.inf)),)
            )
            for i, hit in enumerate(rng.random(3) < 1 / 25)
        }
        violated += best_volume(found, "x").results[0].interval[0] > 0
    assert violated < 100 + 4 * math.sqrt(95)


def test_settled_stands_between_a_bound_and_reliable() -> None:
    good = ball(5, 1.0)
    row = replace(good.results[0], interval=(-3.0, 9.0))
    settled, bound = (replace(good, results=(replace(row, verdict=verdict),)) for verdict in ("settled", "lower bound"))
    assert best_volume({"a": bound, "b": settled}, "x") is settled
    assert best_volume({"a": bound, "b": settled, "c": good}, "x") is good
    higher = replace(settled, results=(replace(settled.results[0], interval=(2.0, 99.0)),))
    assert best_volume({"b": settled, "d": higher}, "x") is settled  # the narrower interval, not the higher one


def test_every_estimate_of_the_body_is_listed_and_the_best_comes_first() -> None:
    good, few, other = ball(5, 1.0), ball(5, 1.0, directions=20), ball(5, 1.0, directions=20, cap=3.0)
    assert [volume.results[0].verdict for volume in (good, few)] == ["reliable", "lower bound"]
    (pairs,) = estimates_by_cutoff({"other": other, "few": few, "good": good}, "x")
    assert [volume for _, volume in pairs] == [good, few]  # the other has another cap, so it is of another body
    assert pairs[1][0] == few.results[0]
