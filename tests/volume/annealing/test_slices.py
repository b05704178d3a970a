"""Slices leave r^n as it is, on a body with edges."""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.readings import with_radii
from landscape.volume.annealing.slices import moved_per_pass, slice_move
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure

N, COUNT, MOVES = 4, 2000, 4


def box(x: torch.Tensor) -> torch.Tensor:
    """Return a cube of side 2 whose centre is half a unit from theta along the first axis."""
    shift = torch.zeros(N, dtype=torch.float64)
    shift[0] = 0.5
    return (x - shift).abs().amax(-1)


def test_uniform_points_of_a_box_stay_uniform() -> None:
    """Directions of uniform points of the box have the density r^n; so moments of the directions must not change."""
    objective = Objective.from_function(box, torch.zeros(N, dtype=torch.float64))
    rays = basin_radii(objective, [1.0], metric="identity", directions=32, rtol=1e-6)
    metric = make_metric("identity", objective.theta, objective.scope)
    body = StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))
    drawn = np.random.default_rng(0).uniform(-1, 1, (2 * COUNT, N)) + np.array([0.5, 0, 0, 0])
    phi = sphere(torch.from_numpy(drawn))
    random = np.random.default_rng(1)
    with objective.running():
        start = particles = with_radii(body, Particles.bare(phi[:COUNT], np.zeros((COUNT, 0))))
        for _ in range(MOVES):
            before = particles
            particles = slice_move(body, float(N), particles, 2 * math.pi, random)
        again = with_radii(body, Particles.bare(particles.phi, np.zeros((COUNT, 0))))
    assert np.array_equal(again.log_radius, particles.log_radius)
    assert moved_per_pass(before, particles, COUNT) > 0.1
    assert abs(float((start.phi * particles.phi).sum(1).mean())) < 0.5
    for moment in (lambda x: x[:, 0], lambda x: x[:, 0] ** 2, lambda x: x[:, 1] ** 4, lambda x: x[:, 2] * x[:, 0]):
        moved, exact = (moment(x.numpy()) for x in (particles.phi, phi[COUNT:]))
        error = math.hypot(moved.std(), exact.std()) / math.sqrt(COUNT)
        assert abs(moved.mean() - exact.mean()) < 4 * error
