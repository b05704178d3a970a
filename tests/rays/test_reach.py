"""How high the loss rises along random rays inside the cap, against closed forms."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.rays import Reach, metric_of, random_directions, reach
from landscape.rays.reach import RAYS


def seen_of(objective: ls.Objective, cap: float, **options: object) -> Reach:
    seen = reach(objective, metric_of(objective, "identity"), max_radius=cap, **options)
    assert seen is not None
    return seen


def of(function: object) -> ls.Objective:
    return ls.Objective.from_function(function, torch.zeros(5, dtype=torch.float64))


def test_a_bowl_rises_to_the_square_of_the_cap() -> None:
    seen = seen_of(of(lambda x: x.square().sum(-1)), 3.0)
    assert np.allclose(seen.highest, 9.0)
    assert len(seen.highest) == RAYS
    assert (seen.count(8.99), seen.count(9.01)) == (RAYS, 0)


def test_a_hill_on_the_way_counts() -> None:
    """Falls to zero again at the cap: the largest value is the one at half of it."""
    seen = seen_of(of(lambda x: (r := x.norm(dim=-1)) * (2 - r)), 2.0)
    assert np.allclose(seen.highest, 1.0)


def test_rays_are_those_of_the_seed() -> None:
    """A valley along the other axes: each ray rises by the square of its first entry."""
    objective = of(lambda x: x[..., 0].square())
    steps = random_directions(objective, metric_of(objective, "identity"), 7).steps(range(RAYS))
    seen = seen_of(objective, 2.0, seed=7)
    assert np.allclose(seen.highest, 4 * steps[:, 0].numpy() ** 2)
    assert seen.count(1.0) == int((4 * steps[:, 0] ** 2 >= 1).sum())


def test_suggestions_lie_between_the_centre_and_what_most_rays_reach() -> None:
    for centre in (0.0, 0.4, 11.1, -3.0):
        seen = Reach(centre, 1.0, centre + np.array([*[0.2] * 18, 0.01, 9.0]))
        low, high = seen.suggested()
        assert centre < low < high < centre + 0.2
        assert seen.enough(low)
        assert seen.enough(high)
        assert not seen.enough(centre + 0.21)


def test_no_suggestion_if_the_loss_falls() -> None:
    seen = seen_of(of(lambda x: -x.square().sum(-1)), 1.0)
    assert seen.suggested() == ()
    assert not seen.enough(1e-9)


def test_infinite_losses_are_reached() -> None:
    seen = seen_of(of(lambda x: torch.where(x.norm(dim=-1) > 0.3, math.nan, x.square().sum(-1))), 1.0)
    assert seen.count(1e9) == RAYS
    assert all(0 < cutoff < 1 for cutoff in seen.suggested())


def test_without_a_cap_there_is_nothing_to_see() -> None:
    objective = of(lambda x: x.square().sum(-1))
    assert reach(objective, metric_of(objective, "identity")) is None


def test_the_criterion_and_few_points_at_a_time() -> None:
    objective = ls.Objective(torch.nn.Linear(3, 1), (torch.ones(4, 3), torch.zeros(4, 1)), "mse", lanes=1)
    metric = metric_of(objective, "filter")
    loss, rise = (reach(objective, metric, criterion=criterion, rays=3) for criterion in ("loss", "rise"))
    assert loss is not None
    assert rise is not None
    assert np.allclose(loss.highest - objective.centre, rise.highest)
    assert rise.centre == 0.0
    assert len(rise.highest) == 3


def test_slow_points_stop_after_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of one point takes longer than there is: the ray is judged by the cap alone, and its time is known."""
    torch.manual_seed(0)
    model, data = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.randint(0, 2, (8,)))
    objective = ls.Objective(model, data, flat=False)
    monkeypatch.setattr(sys.modules[reach.__module__], "_SECONDS", 0.0)
    metric = metric_of(objective, "filter")
    seen = reach(objective, metric)
    assert seen is not None
    at_cap = objective.along(random_directions(objective, metric, 0).steps([0]), np.ones(1)).values
    assert seen.highest.tolist() == at_cap.tolist()
    assert 0 < seen.seconds < 5
