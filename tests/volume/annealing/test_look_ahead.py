"""What stands between theta and the cap: rays look for walls where they are inside at the cap, if they get there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.look_ahead import Ahead, look_ahead
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure

N = 8


def path_of(loss: object) -> ShellPath:
    """Return the shell's path for the body below 1 of a function of points, within the unit ball."""
    objective = Objective.from_function(loss, torch.zeros(N, dtype=torch.float64))  # type: ignore[arg-type]
    rays = basin_radii(objective, [1.0], metric="identity", directions=16, max_radius=1.0)
    metric = make_metric("identity", objective.theta, objective.scope)
    body = StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))
    return ShellPath(body, np.array([0.1, 0.3]))


def nothing() -> None:
    """Stop nothing."""


def slab(x: torch.Tensor) -> torch.Tensor:
    """Return a wall at the cap and before it alike: rays that are inside at the cap meet none."""
    return 100 * x[..., 0].abs()


def ring(x: torch.Tensor) -> torch.Tensor:
    """Return a slab with a high wall at a radius of 0.3 besides."""
    return slab(x) + 20 * torch.exp(-((x.norm(dim=-1) - 0.3) / 0.05).square())


def low_ring(x: torch.Tensor) -> torch.Tensor:
    """Return a slab with a wall that particles could still walk around."""
    return slab(x) + ring(x) / 20


def bowl(x: torch.Tensor) -> torch.Tensor:
    """Return an ellipsoid that ends before the cap: its longest half-axis goes 0.7 of the way."""
    return 2 * (x.square() * torch.logspace(0, 1.5, N, dtype=x.dtype)).sum(-1)


def valley(x: torch.Tensor) -> torch.Tensor:
    """Return one that is a thousand times as long as wide, in which rays take long to find the way down."""
    return 2 * (x.square() * torch.logspace(0, 6, N, dtype=x.dtype)).sum(-1)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (slab, Ahead.FREE),
        (ring, Ahead.WALLED),
        (low_ring, Ahead.FREE),
        (bowl, Ahead.OUT_OF_REACH),
        (valley, Ahead.UNSURE),
    ],
)
def test_walls_before_the_cap_are_seen_if_they_are_high_and_whether_the_cap_can_be_reached(
    loss: object, expected: Ahead
) -> None:
    path = path_of(loss)
    with path.body.objective.running():
        assert look_ahead(path, 0, 1, nothing, lambda _: True) is expected
    assert path.body.spent.evaluations < 2000


def test_a_small_budget_has_no_room_for_a_look() -> None:
    path = path_of(bowl)
    asked: list[float] = []

    def affords(dearer: float) -> bool:
        asked.append(dearer * path.body.spent.evaluations)
        return False

    with path.body.objective.running():
        assert look_ahead(path, 0, 1, nothing, affords) is Ahead.FREE
    assert asked == [4 * 60 * 24.0]  # 60 steps of 8 rays, three passes each, four times
    assert path.body.spent.evaluations < 100
