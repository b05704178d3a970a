"""Whether walls stand before the cap: rays look for them where they are inside at the cap."""

from __future__ import annotations

import numpy as np
import torch

from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.walls_inside import walls_inside
from landscape.volume.ray_weights.measure import make_measure

N = 8


def path_of(loss: object) -> ShellPath:
    """Return the shell's path for the body below 1 of a function of points, within the unit ball."""
    objective = Objective.from_function(loss, torch.zeros(N, dtype=torch.float64))  # type: ignore[arg-type]
    rays = basin_radii(objective, [1.0], metric="identity", directions=16, max_radius=1.0)
    metric = make_metric("identity", objective.theta, objective.scope)
    body = StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))
    return ShellPath(body, np.array([0.1, 0.3]))


def slab(x: torch.Tensor) -> torch.Tensor:
    """Return a wall at the cap and before it alike: rays that are inside at the cap meet none."""
    return 100 * x[..., 0].abs()


def ring(x: torch.Tensor) -> torch.Tensor:
    """Return a slab with a high wall at a radius of 0.3 besides."""
    return slab(x) + 20 * torch.exp(-((x.norm(dim=-1) - 0.3) / 0.05).square())


def low_ring(x: torch.Tensor) -> torch.Tensor:
    """Return a slab with a wall that particles could still walk around."""
    return slab(x) + ring(x) / 20


def test_only_high_walls_before_the_cap_count() -> None:
    for loss, expected in ((slab, False), (ring, True), (low_ring, False)):
        path = path_of(loss)
        with path.body.objective.running():
            assert walls_inside(path, 0, 1) is expected, loss.__name__
        assert path.body.spent.evaluations < 2000
