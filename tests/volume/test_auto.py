"""What ``auto`` measures, in which order, and what each part may cost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import landscape as ls
from helpers.islands import bowl
from helpers.slow import slow_bowl, slow_clock
from helpers.volumes import ball
from landscape.rays.budget import Budget
from landscape.results import Cost, Volume
from landscape.volume.annealed import NoWholeRound
from landscape.volume.auto import AutoVolumes, measure_in_steps

GOOD, BAD = (ball(5, 1.0, directions=count, cap=2.0) for count in (100, 20))


def measured(budget: str | float, *volumes: Volume) -> tuple[AutoVolumes, list[str]]:
    """What was measured, and what was said to whom; the volumes come one after another."""
    said: list[str] = []
    left = iter(volumes)

    def uniform(limit: Budget) -> Volume:
        said.append(f"uniform {limit.passes:g}")
        return next(left)

    def counted(budget: str | float) -> Volume:
        said.append(f"counted {float(budget):g}")
        return next(left)

    def annealed(cutoffs: list[float], budget: str | float) -> Volume:
        said.append(f"annealed {cutoffs} {float(budget):g}")
        return next(left)

    return measure_in_steps(budget, uniform=uniform, counted=counted, annealed=annealed), said


def costing(volume: Volume, passes: float, estimator: str) -> Volume:
    return replace(volume, cost=Cost(passes, int(passes), 0.0), estimator=estimator)


def test_nothing_follows_reliable_rays() -> None:
    found, said = measured(1000, GOOD)
    assert said == ["uniform 1000"]
    assert found.best.results == GOOD.results
    assert "more effort would add nothing" in found.notes[0]


def test_each_step_gets_a_share_of_what_is_left() -> None:
    rays, hits = costing(BAD, 200, "uniform"), costing(BAD, 100, "counted")
    _, said = measured(1000, rays, costing(GOOD, 100, "counted"))
    assert said == ["uniform 1000", "counted 200"]
    found, said = measured(1000, rays, hits, costing(GOOD, 600, "annealed"))
    assert said == ["uniform 1000", "counted 200", f"annealed {[BAD.results[0].cutoff]} 700"]
    assert list(found.volumes) == ["uniform", "counted", "annealed"]
    assert found.best.estimator == "annealed"


def test_islands_that_give_nothing_cost_what_they_cost() -> None:
    def annealed(cutoffs: list[float], budget: str | float) -> Volume:
        raise NoWholeRound(cutoffs[0], Cost(700.0, 700, 0.0))

    rays, hits = costing(BAD, 200, "uniform"), costing(BAD, 100, "counted")
    found = measure_in_steps(1000, uniform=lambda _: rays, counted=lambda _: hits, annealed=annealed)
    assert found.best.cost.evaluations == 1000
    assert found.notes[0].startswith("The budget was used up before a first round was whole at the cutoff")


def test_a_budget_that_rays_use_up_ends_there() -> None:
    found, said = measured(1000, costing(BAD, 1000, "uniform"))
    assert said == ["uniform 1000"]
    assert "The budget of 1000 was used up before annealing" in found.notes[0]
    assert found.best.results[0].reasons[-1] == found.notes[0].rstrip(".")
    assert f"{found.notes[0]}\n" in f"{found.best.notes[0]}\n"


def test_what_was_gone_before_counts_against_a_time() -> None:
    shares: list[float] = []

    def counted(budget: str | float) -> Volume:
        shares.append(Budget.parse(budget).seconds)
        return GOOD

    def annealed(cutoffs: list[float], budget: str | float) -> Volume:
        raise AssertionError("nothing is left to measure")

    measure_in_steps("100s", uniform=lambda _: BAD, counted=counted, annealed=annealed, late=60.0)
    spent = replace(BAD, cost=Cost(1.0, 1, 80.0))  # in an earlier run
    measure_in_steps("100s", uniform=lambda _: spent, counted=counted, annealed=annealed)
    assert shares == pytest.approx([10.0, 5.0], abs=0.5)


def test_cutoffs_that_no_round_reached_are_named() -> None:
    two = (replace(BAD.results[0], cutoff=0.1), replace(BAD.results[0], cutoff=0.4))
    rays = costing(replace(BAD, results=two), 10, "uniform")
    late = costing(replace(GOOD, results=(replace(GOOD.results[0], cutoff=0.4),)), 10, "annealed")
    found, _ = measured(1000, rays, costing(rays, 10, "counted"), late)
    assert found.notes == ("No round of islands was whole at cutoff 0.1: pass a longer `budget=...`.",)
    assert [row.cutoff for row in found.best.results] == [0.1, 0.4]
    assert [row.verdict for row in found.best.results] == ["lower bound", "reliable"]


def test_a_bound_says_only_what_is_missing_at_its_own_cutoff() -> None:
    low, high = (replace(BAD.results[0], cutoff=cutoff) for cutoff in (0.1, 0.4))
    rays = costing(replace(BAD, results=(low, high)), 10, "uniform")
    found, _ = measured(
        1000, rays, costing(rays, 10, "counted"), costing(replace(BAD, results=(high,)), 10, "annealed")
    )
    missing = [any("No round of islands" in reason for reason in row.reasons) for row in found.best.results]
    assert missing == [True, False]


def test_one_budget_holds_for_everything() -> None:
    found = ls.log_volume(bowl(), [1.0], estimator="auto", metric="identity", directions=200, budget=800)
    assert found.directions < 200
    assert found.cost.evaluations < 2 * 800  # a last group of rays, and those that are searched again
    assert found.results[0].bound < math.log(4 / 3 * math.pi)


def test_bad_budgets_and_measures_are_refused_before_anything_is_measured() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        assert len(x) < 10, "nothing should be measured"
        return x.square().sum(-1)

    objective = ls.Objective.from_function(broken, torch.zeros(3, dtype=torch.float64), lanes=64)
    options = {"estimator": "auto", "metric": "identity"}
    with pytest.raises(ls.LandscapeError, match="Invalid budget"):
        ls.log_volume(objective, [1.0], budget="soon", **options)
    with pytest.raises(ls.LandscapeError, match="sigma"):
        ls.log_volume(objective, [1.0], measure="gaussian", **options)


def test_nothing_is_counted_near_a_cap_that_no_ray_comes_near() -> None:
    far = costing(ball(200, 0.5, directions=20, cap=2.0), 200, "uniform")  # 69 nats below the ball of the cap
    _, said = measured(1000, far, costing(GOOD, 600, "annealed"))
    assert said == ["uniform 1000", f"annealed {[far.results[0].cutoff]} 800"]


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("passes", [30, 100, 300, 1000])
def test_a_time_is_a_deadline_for_every_stage(passes: int, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is going on when the time is over: rays, a look at them, a count, or islands."""
    clock = slow_clock(monkeypatch)
    ball, began = slow_bowl(clock, 30, lanes=lanes, seconds=1.0, centre=0.15), clock.now
    options = {"metric": "identity", "max_radius": 2.0, "budget": f"{passes}s"}
    volume = ls.log_volume(ball, [1.0], estimator="auto", **options)
    assert math.isfinite(volume.results[0].bound)
    assert 0.8 * passes <= clock.now - began <= 1.1 * passes + lanes


@pytest.mark.parametrize("estimator", ["auto", "counted", "annealed"])
@pytest.mark.parametrize("seconds", [4.0, 6.0])
def test_a_time_without_room_for_one_ray_is_one_error(
    estimator: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = slow_clock(monkeypatch)
    ball, began = slow_bowl(clock, 30, seconds=1.0, centre=0.15), clock.now
    with pytest.raises(ls.LandscapeError, match=r"(\d) passes over the data took \1 s.*30\.\nPass `budget=60s`, or a"):
        ls.log_volume(ball, [1.0], estimator=estimator, metric="identity", max_radius=2.0, budget=f"{seconds}s")
    assert clock.now - began <= 1.1 * seconds + 2
