"""The count of points in the ball of the cap: walls, cutoffs that share rays, budgets, and what a run promises."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from helpers.stores import assert_same
from landscape.results import Hits, Progress
from landscape.volume import count_hits

GIVEN: dict[str, Any] = {"metric": "identity", "max_radius": 1.0, "budget": None}


def shells(n: int, *rooms: tuple[float, float], wall: float = 2.0) -> ls.Objective:
    """Return a function that is |x| in these spherical shells and ``wall`` between them."""

    def f(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        inside = torch.zeros_like(r, dtype=torch.bool)
        for low, high in rooms:
            inside |= (r >= low) & (r < high)
        return torch.where(inside, r, torch.full_like(r, wall))

    return ls.Objective.from_function(f, torch.zeros(n, dtype=torch.float64))


@pytest.mark.parametrize("wall", [2.0, math.nan, math.inf])
def test_a_point_behind_a_wall_is_a_hit_that_the_basin_does_not_contain(wall: float) -> None:
    body = shells(3, (0.0, 0.5), (0.7, 0.9), wall=wall)
    hits = count_hits(body, [1.0], first_step=0.3, directions=3000, hits=3000, **GIVEN)
    behind = hits.radius > 0.6
    assert (hits.radius[behind] >= 0.7).all()
    assert (hits.inside(0) == ~behind).all()
    assert (hits.peak[~behind] < 0.5).all()
    # P(hit) = 0.5^3 + 0.9^3 - 0.7^3, P(in the basin) = 0.5^3
    for number, share in ((len(hits.ray), 0.5**3 + 0.9**3 - 0.7**3), (int(hits.inside(0).sum()), 0.5**3)):
        assert abs((number - 3000 * share) / math.sqrt(3000 * share * (1 - share))) < 4.5


def test_a_wall_between_the_points_of_the_grid_is_not_seen() -> None:
    body = shells(3, (0.0, 0.5), (0.55, 0.9))
    coarse = count_hits(body, [1.0], first_step=0.4, directions=500, hits=500, **GIVEN)
    fine = count_hits(body, [1.0], first_step=0.4, step_ratio=1.1, directions=500, hits=500, **GIVEN)
    assert coarse.inside(0).all()
    assert (fine.inside(0) == (fine.radius < 0.5)).all()
    assert np.array_equal(coarse.ray, fine.ray)


def test_only_hits_cost_more_than_one_evaluation() -> None:
    hits = count_hits(shells(2, (0.0, 0.5)), [1.0], first_step=0.2, directions=400, hits=400, **GIVEN)
    below = (hits.radius > 0.2).sum() + (hits.radius > 0.4).sum()
    assert hits.cost.calls == 400 + below
    assert hits.pilot.calls == 0


def test_cutoffs_that_share_rays_count_what_each_counts_alone() -> None:
    bowl = ls.Objective.from_function(lambda x: x.norm(dim=-1), torch.zeros(4, dtype=torch.float64))
    cutoffs, more = [0.25, 0.6, 0.9], {**GIVEN, "first_step": 0.1, "hits": 60}
    together = count_hits(bowl, cutoffs, **more)
    for column, cutoff in enumerate(cutoffs):
        assert together.count(column) == count_hits(bowl, [cutoff], **more).count(0)
    easy = count_hits(bowl, [0.9], **more)
    # once the largest cutoff has its hits, points between the cutoffs are no longer searched
    assert (together.loss[together.ray >= easy.rays] < 0.6).all()
    assert together.rays > 10 * easy.rays


def test_the_grid_is_that_of_uniform_rays_with_the_same_seed() -> None:
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(4, dtype=torch.float64))
    radii = ls.basin_radii(bowl, [0.1], metric="identity", max_radius=1.0, directions=5)
    hits = count_hits(bowl, [0.1], directions=50, **GIVEN)
    assert hits.config["first_step_taken"] == radii.config["first_step_taken"]
    assert hits.pilot.calls == radii.pilot.calls > 0


@cache
def net() -> ls.Objective:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(60, 2)
    with torch.no_grad():
        model[2].weight.mul_(20)
    return ls.Objective(model, (x, model(x).argmax(-1)), "cross_entropy", memory=20_000)


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_a_resumed_count_is_the_same_to_the_last_bit(blocks: int) -> None:
    settings: dict[str, Any] = {"cutoffs": [0.3, 1.0], "directions": 200, "hits": 200, "budget": None}
    whole = count_hits(net(), **settings)
    partial: list[Hits] = []

    def stop(progress: Progress[Hits]) -> None:
        partial.append(progress.snapshot())
        if len(partial) == blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count_hits(net(), **settings, on_progress=stop)
    assert 0 < partial[-1].rays < whole.rays
    resumed = count_hits(net(), **settings, resume=partial[-1])
    assert_same(same_clock(resumed), same_clock(whole))


def same_clock(hits: Hits) -> Hits:
    parts = hits.attributes()
    return Hits.from_parts(hits.arrays(), parts | {name: parts[name] | {"seconds": 0.0} for name in ("cost", "pilot")})


def test_a_budget_of_passes_ends_the_count_at_the_same_ray() -> None:
    settings: dict[str, Any] = {"cutoffs": [0.3], "hits": 10**6}
    first, again = (count_hits(net(), budget=400, **settings) for _ in range(2))
    assert_same(same_clock(first), same_clock(again))
    assert 400 <= first.cost.evaluations < 600
    more = count_hits(net(), budget=400, **settings, resume=first)
    assert more.rays == first.rays


def test_a_count_of_something_else_is_not_continued() -> None:
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    past = count_hits(bowl, [0.5], directions=100, **GIVEN)
    for change, words in (({"seed": 1}, "seed: stored 0, asked 1"), ({"hits": 7}, "hits: stored 100, asked 7")):
        with pytest.raises(ls.LandscapeError, match=words):
            count_hits(bowl, [0.5], resume=past, **{**GIVEN, **change})
    other = ls.Objective.from_function(lambda x: 2 * x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ls.LandscapeError, match="another function"):
        count_hits(other, [0.5], resume=past, **GIVEN)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_radius": None}, "there is no cap here. Pass a finite `max_radius=...`"),
        ({"max_radius": math.inf}, "there is no cap here"),
        ({"hits": 1}, "at least 2 hits"),
        ({"directions": 0}, "1 ray"),
        ({"step_ratio": 1.0}, "step_ratio"),
        ({"budget": "soon"}, "Invalid budget 'soon'"),
    ],
)
def test_senseless_settings_are_refused_with_what_to_type(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ls.LandscapeError) as caught:
        count_hits(shells(3, (0.0, 0.5)), [1.0], **{**GIVEN, **settings})
    assert words in str(caught.value)


LONG: dict[str, Any] = {"metric": "identity", "max_radius": 1.0, "budget": 40_000}


def test_a_count_that_nothing_will_come_of_is_given_up_after_a_tenth_of_the_budget() -> None:
    small = shells(8, (0.0, 0.2))  # P = 0.2^8, three in a million
    given_up, whole = count_hits(small, [1.0], adaptive=True, **LONG), count_hits(small, [1.0], **LONG)
    assert 4_000 <= given_up.rays < 9_000
    assert whole.rays > 39_000
    assert len(given_up.ray) == 0


def test_a_count_that_comes_to_its_end_is_never_given_up() -> None:
    body = shells(8, (0.0, 0.6))  # P = 0.017: 100 hits in 6,000 rays, after the look
    patient, hasty = (count_hits(body, [1.0], adaptive=adaptive, **LONG) for adaptive in (False, True))
    assert hasty.count(0).stopped
    assert np.array_equal(hasty.ray, patient.ray)
    # a smaller cutoff that nothing comes of is given up once the larger one has its hits
    two = ls.Objective.from_function(lambda x: x.norm(dim=-1), torch.zeros(8, dtype=torch.float64))
    both = count_hits(two, [0.2, 0.6], adaptive=True, first_step=1.0, **LONG)
    assert both.count(1).stopped
    assert not both.count(0).stopped
    assert both.rays < 20_000


def test_a_count_close_to_a_verdict_goes_on_beyond_its_budget() -> None:
    body = shells(8, (0.0, 0.42))  # P = 0.001: 39 hits in the whole budget
    strict, patient = (count_hits(body, [1.0], adaptive=adaptive, **LONG) for adaptive in (False, True))
    assert 25 <= strict.inside(0).sum() < 50
    assert strict.rays < 41_000
    assert 50 <= patient.inside(0).sum() < 60
    assert patient.cost.evaluations < 80_000
    assert np.array_equal(patient.ray[: len(strict.ray)], strict.ray)


def test_a_count_far_from_a_verdict_does_not() -> None:
    body = shells(8, (0.0, 0.38))  # P = 0.0004: 17 hits
    strict, patient = (count_hits(body, [1.0], adaptive=adaptive, **LONG) for adaptive in (False, True))
    assert 0 < strict.inside(0).sum() < 25
    assert patient.rays <= strict.rays


def test_a_count_under_way_is_given_up_at_the_same_ray_if_it_was_stopped_between() -> None:
    body, seen = shells(8, (0.0, 0.4)), []  # P = 0.0007: 26 hits in the whole budget
    whole = count_hits(body, [1.0], adaptive=True, on_progress=lambda told: seen.append(told.snapshot()), **LONG)
    assert len(whole.ray)
    for part in seen[:2]:
        again = count_hits(body, [1.0], adaptive=True, resume=part, **LONG)
        assert np.array_equal(again.ray, whole.ray)
        assert again.rays == whole.rays
