"""Moves by leapfrog steps: how long steps are, and what they leave as it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.moves import Moved, Straying, move
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import Place, start_of
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.schedule import Level
from landscape.volume.annealing.stretch import Stretch
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.star_body import StarBody
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


class Slab:
    """Directions close to a plane off the centre: exp(-k n (phi_1 - c)² / 2)."""

    narrowness, centre = 400.0, 0.3

    def look(self, phi: torch.Tensor, place: Place) -> Particles:
        return Particles.bare(phi, phi[:, :1].numpy())

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        n = particles.phi.shape[1]
        return -self.narrowness * n * np.square(particles.values[:, 0] - self.centre) / 2

    def aim(self, particles: Particles) -> np.ndarray | None:
        return None

    def pull(self, phi: torch.Tensor, place: Place, aim: np.ndarray | None = None) -> torch.Tensor:
        slope = torch.zeros_like(phi)
        slope[:, 0] = -self.narrowness * phi.shape[1] * (phi[:, 0] - self.centre)
        return tangent(slope, phi)

    def strength(self, place: Place) -> float:
        return 1.0


def in_the_slab(
    count: int, n: int, random: np.random.Generator, slab: Slab | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return draws of the slab's density, shape (count, n), and their cosines.

    The cosine has the density of the slab times that of uniform directions, (1 - t²)^((n - 3) / 2).
    """
    table = np.linspace(-1, 1, 200_001)
    like = torch.zeros(len(table), n, dtype=torch.float64)
    like[:, 0] = torch.from_numpy(table)
    path = slab or Slab()
    log_density = path.log_density(path.look(like, (1.0,)), (1.0,))
    log_density[1:-1] += (n - 3) / 2 * np.log1p(-np.square(table[1:-1]))
    weights = np.exp(log_density - log_density.max())
    cosines = np.interp(random.random(count), np.cumsum(weights) / weights.sum(), table)
    rest = random.normal(size=(count, n - 1))
    rest *= np.sqrt(1 - cosines**2)[:, None] / np.linalg.norm(rest, axis=1, keepdims=True)
    return np.column_stack([cosines, rest]), cosines


@pytest.mark.parametrize("n", [3, 40])
def test_moves_in_a_narrow_body_off_the_centre_accept_long_steps_and_leave_the_density_as_it_is(n: int) -> None:
    random, count = np.random.default_rng(0), 2000
    drawn, cosines = in_the_slab(count, n, random)
    axis = torch.eye(n, dtype=torch.float64)[:, :1]
    stretch = Stretch(axis, torch.tensor([(1 + Slab.narrowness) ** -0.5], dtype=torch.float64))
    slab: Any = Slab()
    level = Level((1.0,), 0.1 / math.sqrt(n), 4, stretch)
    moved = move(slab, level, slab.look(torch.from_numpy(drawn), level.place), random, lambda: None)
    assert moved.accepted.mean() > 0.85
    after = moved.particles.phi[:, 0].numpy()
    assert np.abs(np.corrcoef(after, cosines)[0, 1]) < 0.9
    # as many particles on each side of the median as before, and as far from it: 4 sigma
    middle = np.median(cosines)
    assert abs((after > middle).mean() - 0.5) < 4 * 0.5 * math.sqrt(2 / count)
    ratio = np.abs(after - middle).mean() / np.abs(cosines - middle).mean()
    assert abs(ratio - 1) < 4 * math.sqrt(2 * (math.pi / 2 - 1) / count)


def test_many_short_moves_with_refusals_leave_the_density_as_it_is() -> None:
    random, count, n = np.random.default_rng(1), 40_000, 12
    drawn, cosines = in_the_slab(count, n, random)
    slab: Any = Slab()
    level = Level((1.0,), 1.7 * (n * Slab.narrowness) ** -0.5, 3, None, goes_on=True)
    particles = slab.look(torch.from_numpy(drawn), level.place)
    refused = []
    for _ in range(12):
        moved = move(slab, level, particles, random, lambda: None)
        particles = moved.particles
        refused.append(1 - moved.accepted.mean())
    assert 0.3 < np.mean(refused) < 0.6
    after = particles.phi[:, 0].numpy()
    middle = np.median(cosines)
    assert abs((after > middle).mean() - 0.5) < 4 * 0.5 * math.sqrt(2 / count)
    ratio = np.abs(after - middle).mean() / np.abs(cosines - middle).mean()
    assert abs(ratio - 1) < 4 * math.sqrt(2 * (math.pi / 2 - 1) / count)


class Fold(Slab):
    """Directions between two slopes: exp(-30 max(phi_1, -3 phi_1)). The aim is the slope that is higher."""

    slopes = np.array([1.0, -3.0])

    def _heights(self, particles: Particles) -> np.ndarray:
        return particles.values * self.slopes

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        return -30 * self._heights(particles).max(axis=1)

    def aim(self, particles: Particles) -> np.ndarray:
        return self._heights(particles).argmax(axis=1)

    def pull(self, phi: torch.Tensor, place: Place, aim: np.ndarray | None = None) -> torch.Tensor:
        found = self.aim(self.look(phi, place)) if aim is None else aim
        slope = torch.zeros_like(phi)
        slope[:, 0] = -30 * torch.from_numpy(self.slopes[found])
        return tangent(slope, phi)


@pytest.mark.parametrize("aimed", [True, False])
def test_moves_that_keep_their_aim_leave_the_density_as_it_is(aimed: bool) -> None:
    random, count, n = np.random.default_rng(3), 40_000, 6
    fold: Any = Fold()
    drawn, cosines = in_the_slab(count, n, random, fold)
    level = Level((1.0,), 0.008, 2, None, goes_on=True, aimed=aimed)
    particles = fold.look(torch.from_numpy(drawn), level.place)
    strayed = []
    for _ in range(6):
        moved = move(fold, level, particles, random, lambda: None)
        particles = moved.particles
        strayed.append(moved.strayed.mean())
        assert (moved.accepted[moved.strayed] == 0).all() == aimed
    assert 0.2 < np.mean(strayed) < 0.6
    after = particles.phi[:, 0].numpy()
    assert abs((after > 0).mean() - (cosines > 0).mean()) < 4 * 0.5 * math.sqrt(2 / count)
    assert abs(after.mean() - cosines.mean()) < 4 * cosines.std() * math.sqrt(2 / count)
    assert abs(np.abs(after).mean() - np.abs(cosines).mean()) < 4 * np.abs(cosines).std() * math.sqrt(2 / count)


@pytest.mark.parametrize("aimed", [True, False])
def test_a_pull_that_particles_bring_along_is_that_of_where_they_are(aimed: bool) -> None:
    random, n = np.random.default_rng(4), 6
    fold: Any = Fold()
    drawn, _ = in_the_slab(500, n, random, fold)
    level = Level((1.0,), 0.008, 2, None, goes_on=True, aimed=aimed)
    particles = fold.look(torch.from_numpy(drawn), level.place)
    for _ in range(3):
        particles = move(fold, level, particles, random, lambda: None).particles
        particles = particles.take(random.permutation(len(particles)))
        assert torch.allclose(particles.pull, fold.pull(particles.phi, level.place))


class Everywhere(Slab):
    """Uniform directions."""

    narrowness = 0.0


def test_short_moves_go_on_where_the_last_one_went() -> None:
    n, count, moves, turn = 200, 100, 5, 0.2
    random, uniform = np.random.default_rng(2), Everywhere()
    path: Any = uniform
    start = torch.nn.functional.normalize(torch.from_numpy(random.normal(size=(count, n))))
    level = Level((1.0,), turn / 2 / math.sqrt(n), 2, None, goes_on=True)
    particles = uniform.look(start, level.place)
    for _ in range(moves):
        particles = move(path, level, particles, random, lambda: None).particles
    angle = float(torch.arccos((particles.phi * start).sum(1)).mean())
    assert 1.5 * turn * math.sqrt(moves) < angle < turn * moves  # a random walk gets as far as the root of its steps


def test_moves_keep_their_aim_once_many_have_ended_with_the_aim_they_began_with() -> None:
    def moved(strayed: int, count: int) -> Moved:
        return Moved(
            Particles.bare(torch.zeros(0, 3), np.zeros((0, 1))), np.ones(count), np.arange(count) < strayed, ()
        )

    straying = Straying()
    straying.add(moved(0, 6))
    assert not straying.is_rare
    straying.add(moved(0, 32))
    assert straying.is_rare
    straying.add(moved(8, 32))
    assert not straying.is_rare
    for _ in range(8):
        straying.fade()
        straying.add(moved(0, 32))
    assert straying.is_rare
