"""Moves on the sphere leave their target as it is: long runs against exact moments at a z-gate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape as ls
from helpers.bodies import ellipsoid, lp_ball
from helpers.chains import MOVES, body_of, run_move
from helpers.z_scores import z_of_chains
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.moves import Trajectory
from landscape.volume.annealing.points import sphere
from landscape.volume.annealing.streams import normals, stream
from landscape.volume.annealing.targets import RadiusTarget
from landscape.volume.annealing.wall import has_gradient, log_radius_gradient

CURVATURES = np.array([0.5, 1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize("name", MOVES)
def test_ellipsoid_at_temperature_one(name: str) -> None:
    """Under r^n the points r(phi) phi, made round by sqrt(H / 2c), are uniform on the sphere: E z^2 = 1/n,
    E z^4 = 3 / (n (n + 2)).
    """
    n = len(CURVATURES)
    start = np.random.default_rng(1).normal(size=(200, n)) / np.sqrt(CURVATURES)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    kept = run_move(body_of(ellipsoid(CURVATURES), 0.3), MOVES[name], n, 25, start)
    spread = np.stack([(p.phi.numpy() * np.exp(p.log_radius)[:, None]) * np.sqrt(CURVATURES / 0.6) for p in kept])
    for axis in range(n):
        assert abs(z_of_chains(spread[:, :, axis] ** 2, 1 / n)) < 4
        assert abs(z_of_chains(spread[:, :, axis] ** 4, 3 / (n * (n + 2)))) < 4


def on_circle(radius: Callable[[np.ndarray], np.ndarray], power: float, chains: int) -> tuple[np.ndarray, list[float]]:
    """Draws from r^power on the circle, shape (chains, 2), and E log r and E cos^2 there, by quadrature."""
    angle = (np.arange(200_000) + 0.5) * 2 * math.pi / 200_000
    weight = radius(angle) ** power
    weight /= weight.sum()
    drawn = np.interp(np.random.default_rng(2).random(chains), np.cumsum(weight), angle)
    moments = [float((weight * value).sum()) for value in (np.log(radius(angle)), np.cos(angle) ** 2)]
    return np.stack([np.cos(drawn), np.sin(drawn)], axis=1), moments


@pytest.mark.parametrize(
    ("name", "power"), [*((name, power) for name in MOVES for power in (0.4, 5.0)), ("slice, whole circle", 60.0)]
)
def test_the_circle_at_any_temperature(name: str, power: float) -> None:
    def radius(angle: np.ndarray) -> np.ndarray:
        return np.sqrt(0.6 / (0.5 * np.cos(angle) ** 2 + 4 * np.sin(angle) ** 2))

    start, truth = on_circle(radius, power, 200)
    kept = run_move(body_of(ellipsoid(np.array([0.5, 4.0])), 0.3), MOVES[name], power, 25, start)
    assert abs(z_of_chains(np.stack([p.log_radius for p in kept]), truth[0])) < 4
    assert abs(z_of_chains(np.stack([p.phi[:, 0].numpy() ** 2 for p in kept]), truth[1])) < 4
    assert np.mean([np.abs(p.phi.numpy() - start).max(axis=1) > 0.01 for p in kept]) > 0.5


@pytest.mark.parametrize("name", MOVES)
def test_behind_a_wall_and_under_a_cap(name: str) -> None:
    """f = 1 in a wall of the right half-plane, 0.5 < |x| < 0.9, and below the cutoff behind it: r is 0.5 there, and the
    cap, 1.5, elsewhere.
    """

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        wall = (x[..., 0] > 0) & (size > 0.5) & (size < 0.9)
        return torch.where(wall, 1.0, 0.01 * size)

    objective = ls.Objective.from_function(f, torch.zeros(2, dtype=torch.float64))
    body = body_of(objective, 0.5, max_radius=1.5, first_step=0.3)
    start, _ = on_circle(lambda angle: np.where(np.cos(angle) > 0, 0.5, 1.5), 1.3, 200)
    kept = run_move(body, MOVES[name], 1.3, 25, start)
    truth = 1.5**1.3 / (1.5**1.3 + 0.5**1.3)
    censored = np.stack([p.censored for p in kept])
    assert abs(z_of_chains(censored.astype(float), truth)) < 4
    assert np.stack([p.log_radius for p in kept]) == pytest.approx(np.log(np.where(censored, 1.5, 0.5)), abs=1e-4)


def test_the_force_is_the_gradient_of_log_radius() -> None:
    """Against finite differences of r(phi) = (c / sum |phi|^4)^(1/4)."""
    body = body_of(lp_ball(4, 4), 0.3)
    rng = np.random.default_rng(3)
    phi = sphere(torch.from_numpy(rng.normal(size=(6, 4))))
    aside = tangent(torch.from_numpy(rng.normal(size=(6, 4))), phi)
    with body.objective.running():
        force = log_radius_gradient(body, phi, 0.7)
    assert (force * phi).sum(1).abs().max() < 1e-12

    def log_radius(x: Tensor) -> Tensor:
        return 0.25 * torch.log(0.3 / (sphere(x) ** 4).sum(1))

    slope = (log_radius(phi + 1e-5 * aside) - log_radius(phi - 1e-5 * aside)) / 2e-5
    assert (force * aside).sum(1).numpy() == pytest.approx(slope.numpy(), rel=1e-6)


def test_a_trajectory_goes_back_the_way_it_came() -> None:
    body = body_of(ellipsoid(CURVATURES), 0.3)
    streams = [stream(1, chain, 0, 0) for chain in range(8)]
    start = sphere(normals(streams, torch.empty(8, 5, dtype=torch.float64)))
    velocity = tangent(normals(streams, start), start)
    target = RadiusTarget(body, 5.0, (math.log(0.4), math.inf))
    with body.objective.running():
        there = Trajectory(target, start, velocity, 0.3)
        for _ in range(20):
            there.advance()
        back = Trajectory(target, there.phi, -there.velocity, 0.3)
        for _ in range(20):
            back.advance()
    assert (there.phi - start).abs().max() > 0.1
    assert (back.phi - start).abs().max() < 1e-9
    assert (back.velocity + velocity).abs().max() < 1e-9


def test_energy_is_kept_better_by_shorter_steps() -> None:
    """A leapfrog of second order: a tenth of the step, a hundredth of the error."""
    body = body_of(ellipsoid(CURVATURES), 0.3)
    streams = [stream(2, chain, 0, 0) for chain in range(16)]
    start = sphere(normals(streams, torch.empty(16, 5, dtype=torch.float64)))
    velocity = tangent(normals(streams, start), start)
    errors = []
    with body.objective.running():
        for step, count in ((0.05, 10), (0.005, 100)):
            trajectory = Trajectory(RadiusTarget(body, 5.0, (math.log(0.4), math.inf)), start, velocity, step)
            before = trajectory.kinetic() - 5 * body.points_at(start).log_radius
            for _ in range(count):
                trajectory.advance()
            errors.append(np.abs(trajectory.kinetic() - 5 * body.points_at(trajectory.phi).log_radius - before).max())
    assert errors[1] < errors[0] / 50


def test_a_chain_does_not_depend_on_the_others() -> None:
    body = body_of(ellipsoid(CURVATURES), 0.3)
    streams = [stream(4, chain, 0, 0) for chain in range(6)]
    start = sphere(normals(streams, torch.empty(6, 5, dtype=torch.float64)))
    for move in MOVES.values():
        with body.objective.running():
            every = move(body, body.points_at(start), 3.0, [stream(5, chain, 0, 0) for chain in range(6)]).points
            one = move(body, body.points_at(start[2:3]), 3.0, [stream(5, 2, 0, 0)]).points
        assert every.phi[2].numpy() == pytest.approx(one.phi[0].numpy(), rel=1e-12)


def test_a_function_without_a_gradient_says_so() -> None:
    objective = ls.Objective.from_function(lambda x: x.detach().square().sum(-1), torch.zeros(2, dtype=torch.float64))
    with objective.running():
        assert not has_gradient(body_of(objective, 0.3), torch.tensor([[1.0, 0.0]], dtype=torch.float64))
