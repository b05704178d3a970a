"""What a count of hits says at each cutoff."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from helpers.stores import assert_same
from landscape.results import Cost, Count, Hits


def make_hits(wanted: int = 3) -> Hits:
    """Ten rays: hits on 1, 2, 4, 5, 8, a wall before that on 4 for both cutoffs, and on 5 for the smaller."""
    return Hits(
        ray=np.array([1, 2, 4, 5, 8]),
        radius=np.array([0.9, 0.8, 0.95, 0.99, 0.97]),
        loss=np.array([0.5, 0.1, 0.3, 0.2, 0.4]),
        peak=np.array([-np.inf, 0.2, np.inf, 0.7, 0.6]),
        rays=10,
        cutoffs=(0.45, 1.0),
        dimension=7,
        log_scale_sum=-0.5,
        centre=0.01,
        config={"hits": wanted, "max_radius": 1.0, "seed": 0},
        cost=Cost(12.5, 13, 0.1),
    )


def test_hits_below_and_inside_are_counted_for_each_cutoff() -> None:
    hits = make_hits(wanted=5)
    assert hits.inside(0).tolist() == [False, True, False, False, False]
    assert hits.count(0) == Count(rays=10, sublevel=4, inside=1, stopped=False)
    assert hits.count(1) == Count(rays=10, sublevel=5, inside=4, stopped=False)
    assert hits.done.tolist() == [True, False, False, False, False]


def test_a_count_ends_with_the_ray_of_its_last_wanted_hit() -> None:
    hits = make_hits(wanted=2)
    assert hits.count(1) == Count(rays=3, sublevel=2, inside=2, stopped=True)
    assert hits.count(0) == Count(rays=10, sublevel=4, inside=1, stopped=False)
    assert hits.done.tolist() == [True, False]


def test_it_comes_back_from_its_parts_and_prints_a_line_per_cutoff() -> None:
    hits = make_hits()
    assert_same(Hits.from_parts(hits.arrays(), hits.attributes()), hits)
    assert "10 rays, n = 7" in str(hits)
    assert hits.table().splitlines()[-1].split() == ["1", "6", "4", "3"]


def test_no_hits_at_all() -> None:
    nothing = np.zeros(0)
    hits = dataclasses.replace(make_hits(), ray=nothing.astype(int), radius=nothing, loss=nothing, peak=nothing)
    assert hits.count(0) == Count(rays=10, sublevel=0, inside=0, stopped=False)
    assert not hits.done.any()
    assert math.isfinite(hits.cost.evaluations)
