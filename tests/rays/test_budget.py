"""A budget is a time or a number of passes, and uniform rays for a share of it."""

from __future__ import annotations

import re

import pytest
import torch

import landscape as ls
from helpers.slow import PASS, slow_bowl, slow_clock
from landscape.rays.budget import FEWEST_RAYS, Budget, radii_within
from landscape.results import OnProgress, Radii


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("300s", Budget(seconds=300)),
        ("5min", Budget(seconds=300)),
        ("1.5 h", Budget(seconds=5400)),
        ("20000", Budget(passes=20000)),
        (2e4, Budget(passes=20000)),
        ("2e4", Budget(passes=20000)),
    ],
)
def test_budgets_are_read(text: str | float, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["0", "0s", "-5", "-5min", "nan", "inf", "plenty", "", "5 parsecs", "1e999"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ls.LandscapeError, match="5min"):
        Budget.parse(text)


def rays_within(
    budget: Budget, lanes: int, share: float = 1 / 4, resume: Radii | None = None, ball: ls.Objective | None = None
) -> Radii:
    if ball is None:
        ball = ls.Objective.from_function(
            lambda x: x.square().sum(-1), torch.zeros(4, dtype=torch.float64), lanes=lanes
        )

    def measure(on_progress: OnProgress[Radii]) -> Radii:
        options = {"metric": "identity", "directions": 100, "resume": resume}
        return ls.basin_radii(ball, [1.0], on_progress=on_progress, **options)

    return radii_within(budget, share, measure, known=resume)


def test_rays_end_at_a_share_of_the_budget_whatever_the_blocks() -> None:
    whole = rays_within(Budget(passes=1e6), 1)
    few, same = (rays_within(Budget(passes=800), lanes) for lanes in (1, 7))
    assert FEWEST_RAYS < few.directions < 100
    assert few.radii.tobytes() == same.radii.tobytes() == whole.radii[: few.directions].tobytes()
    assert few.done.all()
    assert 200 <= few.cost.evaluations < 220
    assert whole.directions == 100
    assert few.profile_ray.max() < few.directions
    assert rays_within(Budget(passes=1), 1).directions == FEWEST_RAYS


def test_rays_within_a_time_go_on_to_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = slow_bowl(slow_clock(monkeypatch))
    few = rays_within(Budget(seconds=300.0), 1, ball=ball)
    assert FEWEST_RAYS <= few.directions < 100
    again, whole = (rays_within(Budget(seconds=3600), 1, resume=before, ball=ball) for before in (few, None))
    assert again.radii.tobytes() == whole.radii.tobytes()


@pytest.mark.parametrize("seconds", [10.0, 15.0, 20.0, 60.0, 100.0])
@pytest.mark.parametrize("lanes", [1, 4])
def test_a_time_is_a_deadline_for_the_first_rays_too(
    seconds: float, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = slow_clock(monkeypatch)
    ball = slow_bowl(clock, lanes=lanes)
    began = clock.now
    rays = rays_within(Budget(seconds=seconds), lanes, ball=ball)
    assert clock.now - began <= 1.1 * seconds + PASS * lanes
    assert rays.done.all()
    assert rays.radii == pytest.approx(1.0, rel=1e-3)
    assert rays.directions >= 1


def test_the_budget_that_is_proposed_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = slow_clock(monkeypatch)
    ball, began = slow_bowl(clock), clock.now
    with pytest.raises(
        ls.LandscapeError, match=r"before one ray was finished: 8 passes over the data took 2\.4 s"
    ) as short:
        rays_within(Budget(seconds=2.0), 1, ball=ball)
    assert clock.now - began <= 2.2 + PASS
    proposed = re.search(r"`budget=(\w+)`", str(short.value))
    assert proposed
    assert proposed[1] == "20s"
    assert rays_within(Budget.parse(proposed[1]), 1, ball=ball).directions >= 1


def test_stored_rays_are_kept_if_the_time_is_over_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = slow_bowl(slow_clock(monkeypatch))
    few = rays_within(Budget(seconds=20.0), 1, ball=ball)
    again = rays_within(Budget(seconds=0.1), 1, resume=few, ball=ball)
    assert again.radii.tobytes() == few.radii.tobytes()
