"""A budget is a time or a number of passes, and uniform rays for a share of it."""

from __future__ import annotations

import pytest
import torch

import landscape as ls
from landscape.results import OnProgress, Radii
from landscape.volume.annealing.budget import FEWEST_RAYS, Budget, radii_within


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


def rays_within(budget: Budget, lanes: int, share: float = 1 / 4, resume: Radii | None = None) -> Radii:
    ball = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(4, dtype=torch.float64), lanes=lanes)

    def measure(on_progress: OnProgress[Radii]) -> Radii:
        options = {"metric": "identity", "directions": 100, "resume": resume}
        return ls.basin_radii(ball, [1.0], on_progress=on_progress, **options)

    return radii_within(budget, share, measure)


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


def test_rays_within_a_time_go_on_to_the_whole_run() -> None:
    few = rays_within(Budget(seconds=1e-6), 1)
    assert FEWEST_RAYS <= few.directions < 100
    again, whole = rays_within(Budget(seconds=3600), 1, resume=few), rays_within(Budget(seconds=3600), 1)
    assert again.radii.tobytes() == whole.radii.tobytes()
