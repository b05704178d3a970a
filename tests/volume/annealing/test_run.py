"""Runs of islands within a budget: what is whole, runs that stop and go on, and what is said meanwhile."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.islands import BUDGET, assert_same_islands, bowl, few_particles, islands
from helpers.moments import some
from helpers.slow import Clock, slow_clock
from landscape.rays.basin import check_basin
from landscape.results import Islands, Progress
from landscape.volume import run_islands, volume_from_islands
from landscape.volume.annealing import effort, ellipsoid_path, telling
from landscape.volume.annealing.find_schedule import find_schedule
from landscape.volume.annealing.party import PARTIES, Party
from landscape.volume.annealing.reference_rays import REFERENCE_RAYS
from landscape.volume.annealing.verdict import rounds_of
from landscape.volume.ray_weights.statistics import spread


@pytest.fixture(autouse=True, scope="module")
def small_islands() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        few_particles(patch)
        yield


@pytest.fixture(scope="module")
def told() -> list[Progress[Islands]]:
    """All that a run says."""
    said: list[Progress[Islands]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telling, "_EVERY", 0.0)
        islands((1.0, 2.0), budget=2 * BUDGET, on_progress=said.append)
    return said


@pytest.fixture(scope="module")
def blocks() -> list[Islands]:
    """What was known whenever there was news; the last one is the whole run."""
    known: list[Islands] = []
    islands(on_progress=lambda progress: known.append(progress.snapshot()) if progress.news else None)
    return known


def test_rounds_grow_and_the_budget_is_kept(blocks: list[Islands]) -> None:
    whole = blocks[-1]
    assert whole.done.all()
    assert 0.5 * BUDGET < whole.cost.evaluations < 1.05 * BUDGET
    rounds = whole.whole(0)
    assert len(rounds) >= 1
    assert (np.diff([row.effort for row in rounds]) > 0).all()
    for row in rounds:
        assert len(whole.of_round(row)) == PARTIES["radius"].groups


def test_a_round_has_particles_by_the_scatter_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def after(party: Party, islands: int, scatter: float) -> Party:
        assert islands == 8
        asked.append(scatter)
        return party

    monkeypatch.setattr(Party, "after", after)
    rounds = rounds_of(islands(budget=20_000), 0)
    assert len(rounds) > 1
    assert spread(rounds[-1].out) in asked  # whether there is room for one more
    assert asked.count(spread(rounds[0].out)) > 1


def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(blocks: list[Islands], tmp_path: Path) -> None:
    for at in some(len(blocks) - 1, most=3):
        ls.Store(tmp_path / "run.h5")["islands"] = blocks[at]
        kept = ls.Store(tmp_path / "run.h5")["islands"]
        assert isinstance(kept, Islands)
        assert_same_islands(islands(resume=kept), blocks[-1])


def test_a_small_budget_gives_a_bound_and_goes_on_to_the_same_bytes() -> None:
    """A careful pilot would cost all of it. A hasty one leaves enough for islands that go out."""
    small = islands(budget=5000, max_radius=0.83)
    assert small.cost.evaluations < 5000
    rows = small.whole(0)
    assert [row.groups for row in rows] == [1, 1]
    assert rows[1].effort > 3 * rows[0].effort  # it is far beyond what the pilot has told
    cap_ball = math.log(4 / 3 * math.pi * 0.83**3)
    bound = volume_from_islands(small).results[0].bound
    assert cap_ball - 8 < bound < cap_ball
    first: list[Islands] = []

    def stop(progress: Progress[Islands]) -> None:
        if progress.news:
            first.append(progress.snapshot())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        islands(budget=60_000, max_radius=0.83, on_progress=stop)
    assert first[0].pilots[0, 3] != small.pilots[0, 3]  # a large budget pays for a careful pilot
    assert_same_islands(islands(budget=5000, max_radius=0.83, resume=small), small)


def test_a_larger_budget_goes_further_out_where_no_whole_round_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body is narrow, and a round that comes back would cost more than both budgets."""
    monkeypatch.setattr(ellipsoid_path, "_MOST", 0)
    monkeypatch.setattr("landscape.volume.annealing.find_schedule._MOST_OF_RADIUS", 0)  # so particles grow
    monkeypatch.setattr(effort, "_MOST_OUT", 100.0)  # the schedule has few levels
    small = islands(budget=6000, max_radius=100.0)
    more = islands(budget=15_000, max_radius=100.0, resume=small)
    first, second = more.whole(0)
    assert more.forwards[:1].tobytes() == small.forwards.tobytes()
    assert first.groups == second.groups == 1
    assert second.effort >= 4 * first.effort
    assert more.cost.evaluations < 15_000


def test_a_larger_budget_goes_on_from_the_rounds_that_are_whole(blocks: list[Islands]) -> None:
    whole = blocks[-1]
    more = islands(budget=2 * BUDGET, resume=whole)
    for name in ("forwards", "backwards", "groups"):
        assert getattr(more, name)[: len(getattr(whole, name))].tobytes() == getattr(whole, name).tobytes(), name
    assert len(more.groups) > len(whole.groups)
    assert len(more.whole(0)) > len(whole.whole(0))


def test_the_same_passes_give_the_same_bytes_whatever_the_clock_says(
    blocks: list[Islands], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**9))
    monkeypatch.setattr("landscape.volume.annealing.run.time.perf_counter", lambda: 3600.0 * next(clock))
    again = islands()
    assert again.cost.seconds > 3600
    assert_same_islands(again, blocks[-1])


def test_a_time_is_a_deadline() -> None:
    started = time.monotonic()
    short = islands(budget="0.3s")
    assert time.monotonic() - started < 10
    assert short.done.all()


def test_a_pilot_that_is_made_again_keeps_to_the_time(blocks: list[Islands], monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is over in the middle of it; what was whole stays."""
    clock = slow_clock(monkeypatch)

    def endless(*arguments: Any, **options: Any) -> Any:
        for _ in range(100):
            clock.now += 3600
            arguments[3]()
        raise AssertionError("nothing has looked at the clock")

    monkeypatch.setattr("landscape.volume.annealing.run.find_schedule", endless)
    short = islands(budget="30h", resume=blocks[-2])
    assert short.groups.tobytes() == blocks[-2].groups.tobytes()
    assert short.done.all()


def test_a_time_that_ends_before_the_rays_keeps_what_was_whole(
    blocks: list[Islands], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = slow_clock(monkeypatch)

    def late(*arguments: Any) -> tuple[tuple[float, ...], float]:
        clock.now += 3600
        return check_basin(*arguments)

    monkeypatch.setattr("landscape.volume.annealing.run.check_basin", late)
    short = islands(budget="1s", resume=blocks[-2])
    assert short.groups.tobytes() == blocks[-2].groups.tobytes()
    assert short.done.all()


def clocked_bowl(clock: Clock) -> ls.Objective:
    """Return the bowl, of which a call takes time by the clock: much for the call, and a little for each point."""

    def f(x: torch.Tensor) -> torch.Tensor:
        clock.now += 0.05 + 0.001 * (x.numel() // 3)
        return (x - 0.2).square().sum(-1)

    return ls.Objective.from_function(f, torch.zeros(3, dtype=torch.float64))


def in_time(clock: Clock, budget: str) -> Islands:
    return run_islands(clocked_bowl(clock), (1.0,), metric="identity", rtol=0.05, max_radius=0.83, budget=budget)


def test_a_careful_pilot_is_not_refused_because_few_particles_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = slow_clock(monkeypatch)
    careful, hasty = in_time(clock, "150s"), in_time(clock, "20s")
    assert hasty.pilots[0, 3] != careful.pilots[0, 3]
    some = in_time(clock, "80s")
    assert some.pilots.tolist() == careful.pilots.tolist()
    assert some.cost.seconds < 90


def test_a_slow_pilot_does_not_make_the_last_round_small(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = slow_clock(monkeypatch)

    def slow(*arguments: Any, **options: Any) -> Any:
        found = find_schedule(*arguments, **options)
        clock.now += 60
        return found

    monkeypatch.setattr("landscape.volume.annealing.run.find_schedule", slow)
    assert 120 < in_time(clock, "150s").cost.seconds < 165


def test_what_is_said_meanwhile(told: list[Progress[Islands]]) -> None:
    """The stage, the share of the budget, and from the first whole round on the estimate."""
    words = [progress.words for progress in told]
    assert words[0] == "uniform rays"
    assert "pilot; cutoff 1" in words
    assert "round 1, group 1 of 2; cutoff 2" in words
    later = [text for text in words if "; cutoff 2 log V" in text]
    truth = math.log(4 / 3 * math.pi * 2**1.5)
    assert abs(float(later[0].split("log V ")[1].split()[0]) - truth) < 1
    shares = [progress.done for progress in told]
    assert shares == sorted(shares)
    assert (told[-1].done, told[-1].total) == (100, 100)
    assert sum(progress.news for progress in told) < len(told) / 4
    with pytest.raises(ls.LandscapeError, match="nothing has changed"):
        next(progress for progress in told if not progress.news).snapshot()


def test_the_trend_and_nats_below_the_ball_of_a_cap(blocks: list[Islands]) -> None:
    whole = blocks[-1]
    two = replace(whole, rounds=np.array([whole.whole(0)[0]] * 2))
    teller = telling.Teller(None)
    teller.learn(two, 0)
    assert re.fullmatch(r"log V 1\.\d \(\+0\.0\)", teller.known)
    teller.learn(replace(two, config={**whole.config, "max_radius": math.e}), 0)
    assert re.fullmatch(r"[23]\.\d nats below the ball \(\+0\.0\)", teller.known)  # three: the ball of radius e


def test_uniform_rays_take_at_most_a_quarter_of_a_small_budget() -> None:
    few = islands(budget=4_000)
    assert 16 <= len(few.reference_radii) < REFERENCE_RAYS
    again = islands(resume=few)
    assert again.reference_radii.tobytes() == few.reference_radii.tobytes()
    assert len(again.whole(0))


def test_what_cannot_be_continued(blocks: list[Islands]) -> None:
    whole = blocks[-1]
    with pytest.raises(ls.LandscapeError, match="seed: stored 0, asked 1"):
        islands(resume=whole, seed=1)
    with pytest.raises(ls.LandscapeError, match="cutoffs"):
        islands((2.0,), resume=whole)
    other = replace(whole, reference_radii=1.1 * whole.reference_radii)
    fewer = replace(whole, log_radii=whole.log_radii[:, ::2])
    with pytest.raises(ls.LandscapeError, match="particles of a group: stored 64, asked 128"):
        islands(resume=fewer)
    with pytest.raises(ls.LandscapeError, match="another function"):
        islands(resume=other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": "plenty"}, "Invalid budget 'plenty'"),
        ({"cutoffs": [-1.0]}, "no basin"),
        ({"seed": -1}, "seed"),
        ({"rtol": 1.0}, "rtol"),
        ({"metric": "round"}, "round"),
    ],
)
def test_misuse_is_refused_with_what_to_type(options: dict[str, object], words: str) -> None:
    cutoffs = options.pop("cutoffs", [1.0])
    with pytest.raises(ls.LandscapeError, match=words):
        run_islands(bowl(), cutoffs, **{"metric": "identity", "budget": 2_000, **options})  # type: ignore[arg-type]
