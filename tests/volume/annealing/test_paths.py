"""The densities along a path: their forces are their gradients, and the last one is r^n."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.growth_path import GrowthPath
from landscape.volume.annealing.path import Path, Place
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure

N = 5
STEP = 1e-5


def bowl(x: torch.Tensor) -> torch.Tensor:
    """Return a quadratic bowl of unequal curvatures whose minimum is not at theta."""
    curvatures = torch.tensor([1.0, 2.0, 4.0, 0.5, 1.0], dtype=torch.float64)
    return ((x - 0.2).square() * curvatures).sum(-1)


def ridge(x: torch.Tensor) -> torch.Tensor:
    """Return a bowl with a smooth wall across the way along the first axis."""
    return bowl(x) + 20 * torch.exp(-0.5 * ((x[..., 0] - 0.3) / 0.1).square())


def body_of(cap: float, loss: Callable[[torch.Tensor], torch.Tensor] = bowl, **measure: object) -> StarBody:
    objective = Objective.from_function(loss, torch.zeros(N, dtype=torch.float64))
    rays = basin_radii(objective, [2.0], metric="identity", directions=32, max_radius=cap, rtol=1e-9)
    metric = make_metric("identity", objective.theta, objective.scope)
    return StarBody.of(objective, metric, rays, 2.0, make_measure(objective, metric, **measure))  # type: ignore[arg-type]


def directions(count: int) -> torch.Tensor:
    return sphere(torch.randn(count, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def differences(path: Path, phi: torch.Tensor, place: Place) -> torch.Tensor:
    """Return central differences of the log density along an orthonormal basis of the tangent space, shape (k, n)."""
    total = torch.zeros_like(phi)
    for axis in torch.eye(N, dtype=torch.float64):
        across = axis - (phi @ axis)[:, None] * phi
        values = [path.log_density(path.look(sphere(phi + sign * STEP * across), place), place) for sign in (1.0, -1.0)]
        total += torch.from_numpy((values[0] - values[1]) / (2 * STEP))[:, None] * axis
    return total - (total * phi).sum(1, keepdim=True) * phi


NAMES = [
    "radius",
    "radius, another place to read",
    "shell",
    "shell, a wall on the way",
    "shell with walls",
    "growth",
    "growth, hard",
    "mass",
]


@cache
def paths() -> dict[str, tuple[Path, Place]]:
    """Return a path of each kind with a place before any bridge."""
    open_body, capped = body_of(math.inf), body_of(0.6)
    grid, ridged = np.array([0.2, 0.4]), body_of(0.6, ridge)
    with open_body.objective.running():
        radius = RadiusPath.of(open_body)
    gaussian = body_of(math.inf, measure="gaussian", sigma=0.7)
    with gaussian.objective.running():
        mass = RadiusPath.of(gaussian)
    made = [
        (radius, (0.7, math.log(0.8))),
        (radius, (0.7, math.log(0.3))),
        (ShellPath(capped, grid), (3.0, 0.0, 0.0)),
        (ShellPath(ridged, grid), (3.0, 0.0, 0.0)),
        (ShellPath(capped, grid), (3.0, 5.0, 0.0)),
        (GrowthPath(capped, np.append(grid, 0.6), np.array([])), (math.log(0.5), 50.0, 0.0)),
        (GrowthPath(capped, np.array([0.2, 0.6]), np.array([0.4])), (math.log(0.6), 150.0, 0.0)),
        (mass, (0.7, math.log(0.8))),
    ]
    return dict(zip(NAMES, made, strict=True))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "shell with walls"])
def test_the_force_is_the_gradient_of_the_log_density(name: str) -> None:
    """It is exact for a quadratic loss, wherever its minimum lies. The shell leaves walls on the way to acceptance."""
    path, place = paths()[name]
    phi = directions(6)
    with path.body.objective.running():  # type: ignore[attr-defined]
        force, expected = path.strength(place) * path.pull(phi, place), differences(path, phi, place)
    error = float((force - expected).abs().max() / expected.abs().max())
    assert error < (0.05 if name in ("mass", "growth", "growth, hard") else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_density_is_the_mass_of_the_ray(name: str) -> None:
    path, place = paths()[name]
    last = (1.0, place[1]) if name.startswith(("radius", "mass")) else (*place[:-1], 1.0)
    phi = directions(6)
    with path.body.objective.running():  # type: ignore[attr-defined]
        particles = path.look(phi, last)
        points = path.body.points_at(phi)  # type: ignore[attr-defined]
    assert path.is_end(last)
    assert np.allclose(path.log_density(particles, last), N * points.effective_log_radius)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_complete_for_one_place_is_completed_for_the_next(name: str) -> None:
    path, place = paths()[name]
    with path.body.objective.running():  # type: ignore[attr-defined]
        particles = path.look(directions(16), place)
        there, complete = path.following(particles, place, 0.2)
        afresh = path.look(particles.phi, there)
    assert not path.is_end(there) or there[-1] == 1.0 or there[0] == 1.0
    assert np.allclose(path.log_density(complete, there), path.log_density(afresh, there))


def test_places_between_two_levels_lie_between_them() -> None:
    shell = ShellPath(body_of(0.6), np.array([0.2, 0.4]))
    assert shell.between((1.0, 0.0, 0.0), (4.0, 0.0, 0.0), 0.5) == (2.0, 0.0, 0.0)
    assert shell.between((0.0, 0.0, 0.0), (4.0, 0.0, 0.0), 0.25) == (1.0, 0.0, 0.0)
    assert shell.between((4.0, 1.0, 0.0), (4.0, 1.0, 1.0), 0.25) == (4.0, 1.0, 0.25)


def test_the_shell_holds_down_a_wall_on_the_way_to_the_cap() -> None:
    """The direction along the first axis is low at the cap, and high in the middle."""
    body = body_of(0.6, ridge)
    path = ShellPath(body, np.array([0.2, 0.4]))
    along = torch.eye(N, dtype=torch.float64)[:2]
    with body.objective.running():
        walled, free = path.log_density(path.look(along, path.start), (1.0, 0.0, 0.0))
        particles = path.look(along, path.start)
    assert particles.values[0, 0] < 1
    assert particles.values[1, 0] < 1
    assert walled < -5 < free


def test_the_bridge_begins_where_no_particle_is_cut_off() -> None:
    """Half of the directions are walled, and none of the particles that stay behind a wall is left then."""
    body = body_of(0.6, ridge)
    path = ShellPath(body, np.array([0.2, 0.4]))
    with body.objective.running():
        half = path.look(torch.eye(N, dtype=torch.float64)[[0, 1] * 8], path.start)
        there, _ = path.following(half, (3.0, 0.0, 0.0), 0.5)
        free = path.look(torch.eye(N, dtype=torch.float64)[[1, 1] * 8], path.start)
        bridge, _ = path.following(free, (3.0, 0.0, 0.0), 0.5)
    assert there[0] > 3.0
    assert there[2] == 0.0
    assert bridge[2] > 0.0


def test_growth_meets_no_step_at_a_radius_of_the_grid() -> None:
    body, tiny = body_of(0.6), 1e-7
    path = GrowthPath(body, np.array([0.2, 0.4, 0.6]), np.array([]))
    phi = directions(6)
    with body.objective.running():
        below, above = (
            path.log_density(path.look(phi, place), place)
            for place in ((math.log(0.4) + change, 50.0, 0.0) for change in (-tiny, tiny))
        )
    assert np.allclose(below, above, rtol=0.0, atol=1e-3)


def test_a_finer_grid_is_no_harder_while_particles_grow() -> None:
    """Sums over the grid are about integrals over log r, whatever the ratio of its radii is."""
    phi, totals = directions(6), []
    place = (math.log(0.6), 50.0, 0.0)
    for ratio in (1.05, 1.02):
        body = replace(body_of(0.6), step_ratio=ratio)
        path = GrowthPath(body, 0.6 * ratio ** np.arange(-round(math.log(30) / math.log(ratio)), 1.0), np.array([]))
        with body.objective.running():
            totals.append(path.log_density(path.look(phi, place), place))
    assert np.allclose(totals[0], totals[1], rtol=0.02)


def test_growth_reads_some_radii_of_a_fine_grid_and_all_of_them_in_the_end() -> None:
    body = replace(body_of(0.6), step_ratio=1.1)
    grid = 0.6 * 1.1 ** np.arange(-20, 1.0)
    path = GrowthPath.of(body, grid)
    assert np.array_equal(np.sort(np.concatenate([path.grid, path.others])), grid)
    assert path.grid[-1] == 0.6
    assert 1.2 < path.grid[1] / path.grid[0] < 1.25
    with body.objective.running():
        soft, hard = (path.look(directions(3), (math.log(0.6), b, 0.0)).values for b in (50.0, 100.0))
    assert np.isnan(soft).any(axis=0).sum() == len(path.others) + 1  # the cap itself is the outer radius
    assert np.isnan(hard).any(axis=0).sum() == 1


def test_the_bridge_of_growth_begins_with_tiny_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first share is one over the dimension, 5, and doubles until a step is as long as all others."""
    monkeypatch.setattr("landscape.volume.annealing.growth_path._BRIDGE", 2)
    body, top = body_of(0.6), math.log(0.2)
    path = GrowthPath(body, np.array([0.2, 0.4, 0.6]), np.array([]), last=top)
    shares = [0.0]
    with body.objective.running():
        inside = path.look(directions(4), (top, 50.0, 0.0))
        while shares[-1] < 1:
            (_, _, share), inside = path.following(inside, (top, 50.0, shares[-1]), 1.5)
            shares.append(share)
    assert shares == pytest.approx([0.0, 0.2, 0.4, 0.8, 1.0])


def test_growth_stops_at_radii_of_the_grid_and_knows_them() -> None:
    body = body_of(0.6)
    path = GrowthPath(body, np.array([0.2, 0.4, 0.6]), np.array([0.3]))
    reached, place = [], (math.log(0.15), 50.0, 0.0)
    with body.objective.running():
        particles = path.look(directions(8), place)
        while place[0] < math.log(0.6):
            place, particles = path.following(particles, place, 1e9)
            reached.append(math.exp(place[0]))
    assert np.allclose([radius for radius in reached if radius > 0.19], [0.4, 0.6])
    assert path.on_grid((math.log(0.3), 50.0, 0.0))
    assert not path.on_grid((math.log(0.35), 50.0, 0.0))
    assert [math.exp(path.goal(math.log(rho))) for rho in (0.1, 0.25, 0.35)] == pytest.approx([0.2, 0.3, 0.4])
    assert math.exp(path.goal(path.start[0])) == pytest.approx(0.2)
    assert math.exp(path.goal(math.log(0.4))) == pytest.approx(0.6)  # at a radius of the grid, the cap is next
