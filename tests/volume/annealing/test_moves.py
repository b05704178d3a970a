"""Moves along great circles: how long their steps are."""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.moves import move
from landscape.volume.annealing.path import start_of
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.schedule import Level
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure

N, COUNT = 6, 64


def ellipsoid(x: torch.Tensor) -> torch.Tensor:
    """Return a bowl that is 100 times as narrow along the first axis."""
    return 1e4 * x[..., 0].square() + x[..., 1:].square().sum(-1)


def test_particles_that_draw_their_own_steps_move_where_one_length_is_too_long() -> None:
    objective = Objective.from_function(ellipsoid, torch.zeros(N, dtype=torch.float64))
    rays = basin_radii(objective, [1.0], metric="identity", directions=32, rtol=1e-6)
    metric = make_metric("identity", objective.theta, objective.scope)
    body = StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))
    accepted = {}
    with objective.running():
        path, random = RadiusPath.of(body), np.random.default_rng(0)
        particles = start_of(path, body, COUNT, random)
        for own in (False, True):
            level = Level((1.0, math.log(0.5)), 0.1, 8, None, shortest=0.1 if own else 0.75, own_steps=own)
            moved = [move(path, level, particles, random, lambda: None).accepted for _ in range(4)]
            accepted[own] = float(np.mean(moved))
    assert accepted[True] > 3 * accepted[False]
