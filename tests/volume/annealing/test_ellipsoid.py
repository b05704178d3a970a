"""The ellipsoid around theta: its rays, its law, and when particles start in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.bodies import build
from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing.ellipsoid import Ellipsoid, hessian_of
from landscape.volume.annealing.ellipsoid_path import EllipsoidPath, from_ellipsoid
from landscape.volume.annealing.find_schedule import find_schedule
from landscape.volume.annealing.islands import Key, second_start
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure


def nothing() -> None:
    """Stop nothing."""


def always(_: float) -> bool:
    """Afford everything."""
    return True


def oval(n: int, condition: float, offset: float) -> Ellipsoid:
    """Return an ellipsoid with curvatures from 1 to a condition, in rotated axes, with theta off its centre."""
    generator = torch.Generator().manual_seed(n)
    vectors, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))
    curvatures = torch.logspace(0, math.log10(condition), n, dtype=torch.float64)
    away = offset * sphere(torch.randn(1, n, dtype=torch.float64, generator=generator))[0]
    centre = away * (2 / curvatures).sqrt()
    # the rise is 1 at the wall and 0 at theta
    size = 1 - away.square().sum()
    return Ellipsoid(vectors, curvatures / size, vectors @ (-centre * curvatures / size))


def body_of(loss: object, n: int, cap: float = math.inf) -> StarBody:
    """Return the body below 1 of a function of points, shape (..., n), within a cap."""
    return star_body(Objective.from_function(loss, torch.zeros(n, dtype=torch.float64)), cap)  # type: ignore[arg-type]


def star_body(objective: Objective, cap: float = math.inf) -> StarBody:
    """Return the body below 1 of an objective, within a cap."""
    rays = basin_radii(objective, [1.0], metric="identity", directions=64, max_radius=cap, rtol=1e-6)
    metric = make_metric("identity", objective.theta, objective.scope)
    return StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))


def quadratic_of(ellipsoid: Ellipsoid) -> object:
    """Return the loss whose basin it is."""

    def loss(x: torch.Tensor) -> torch.Tensor:
        return x @ ellipsoid.slope + ((x @ ellipsoid.vectors).square() * ellipsoid.curvatures).sum(-1) / 2

    return loss


def test_its_law_has_the_density_of_its_rays() -> None:
    """q = r^n / E[r^n]: its mean over uniform directions is 1, and that of 1 / q over its own draws."""
    ellipsoid, rng, count = oval(4, 9.0, 0.6), np.random.default_rng(0), 20_000
    like = torch.empty(count, 4, dtype=torch.float64)
    uniform = sphere(torch.from_numpy(rng.normal(size=(count, 4))))
    for phi, sign in ((uniform, 1), (ellipsoid.draw(like, rng), -1)):
        density = (sign * (4 * ellipsoid.log_radii(phi) - ellipsoid.log_mean)).exp().numpy()
        assert density.std() > 0.3
        assert abs(density.mean() - 1) < 4 * density.std(ddof=1) / math.sqrt(count)


def test_the_least_of_those_that_cover_it_within_a_cap_is_found() -> None:
    """What a cap leaves of a plane of two dimensions in four; and the ellipsoid itself if the cap is far away."""
    plane = Ellipsoid(
        torch.eye(4, dtype=torch.float64),
        torch.tensor([800.0, 800.0, 1e-9, 1e-9], dtype=torch.float64),
        torch.zeros(4, dtype=torch.float64),
    )
    cover = plane.within(1.0)
    # half of it is the quadratic and half is the ball of the cap: (400 + 1) / 2 twice, and 1 / 2 twice
    assert cover.log_mean == pytest.approx(-math.log(200.5 * 0.5), abs=1e-4)
    off, cap = oval(4, 9.0, 0.6), 0.8
    rng = np.random.default_rng(0)
    phi = sphere(torch.from_numpy(rng.normal(size=(2000, 4))))
    ends, covered = off.log_radii(phi).clamp(max=math.log(cap)), off.within(cap).log_radii(phi)
    assert (off.log_radii(phi) > math.log(cap)).double().mean() > 0.1
    assert off.within(cap).log_mean < off.log_mean - 0.1
    assert (covered >= ends - 1e-9).all()
    assert off.within(100.0) is off


def test_its_pull_is_the_gradient_of_its_radius() -> None:
    ellipsoid = oval(6, 30.0, 0.8)
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ellipsoid.log_radii(sphere(x)).sum().backward()
    assert x.grad is not None
    length = torch.linalg.vector_norm(x.detach(), dim=1, keepdim=True)
    assert torch.allclose(ellipsoid.pull(sphere(x.detach())), x.grad * length, rtol=1e-4, atol=1e-5)


def test_gradients_around_theta_describe_it() -> None:
    ellipsoid = oval(70, 100.0, 0.7)
    body = body_of(quadratic_of(ellipsoid), 70)
    with body.objective.running():
        slope, hessian = RadiusPath.of(body).slope, hessian_of(body, nothing, always)
        too_dear = hessian_of(body, nothing, lambda dearer: dearer * body.spent.evaluations < 4 * 420)
    assert hessian is not None
    found = Ellipsoid.of(hessian, slope)
    assert found is not None
    phi = sphere(torch.randn(9, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(found.log_radii(phi), ellipsoid.log_radii(phi), atol=1e-6)
    assert found.log_mean == pytest.approx(ellipsoid.log_mean, abs=1e-6)
    assert too_dear is None


LOWEST = 0.64 / 0.36  #: from theta down to the centre of an oval that is 0.8 of its way to the wall off it
RISES = {
    "multiple": lambda q: 3 * q,
    "squared": lambda q: ((q + LOWEST).square() - LOWEST**2) / (1 + 2 * LOWEST),
    "logarithm": lambda q: (
        torch.log((1 + 9 * (q + LOWEST)) / (1 + 9 * LOWEST)) / math.log((10 + 9 * LOWEST) / (1 + 9 * LOWEST))
    ),
}  #: growing functions of a quadratic


@pytest.mark.parametrize("name", ["squared", "logarithm"])
def test_it_is_the_body_if_the_loss_is_a_function_of_a_quadratic(name: str) -> None:
    """In one direction the loss bends more at theta than the quadratic does, or it bends down."""
    ellipsoid = oval(30, 1000.0, 0.8)
    quadratic = quadratic_of(ellipsoid)
    body = body_of(lambda x: RISES[name](quadratic(x)), 30)  # type: ignore[operator]
    with body.objective.running():
        path = RadiusPath.of(body)
        hessian = hessian_of(body, nothing, always)
        found = from_ellipsoid(path, 0, 1, nothing, always)
    assert hessian is not None
    assert found is not None
    plain = Ellipsoid.of(hessian, path.slope)
    assert plain is not None
    assert abs(plain.log_mean - ellipsoid.log_mean) > 3
    assert found.ellipsoid.log_mean == pytest.approx(ellipsoid.log_mean, abs=1e-3)


def test_the_same_walls_give_the_same_bytes() -> None:
    generator = torch.Generator().manual_seed(0)
    walls = torch.randn(32, 20, dtype=torch.float64, generator=generator) * torch.logspace(-6, 6, 32)[:, None]
    hessian, slope = 1e9 * torch.eye(20, dtype=torch.float64), torch.ones(20, dtype=torch.float64)
    found = set()
    for count in range(200):
        torch.rand(count)  # memory that is used again holds other numbers each time
        ellipsoid = Ellipsoid.through(walls, hessian, slope)
        found.add(None if ellipsoid is None else ellipsoid.curvatures.numpy().tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", sorted(RISES))
def test_the_end_of_a_ray_is_guessed_by_a_reading_at_the_end_of_the_ellipsoid(name: str) -> None:
    """The guess is exact if the ellipsoid is the body, or if the loss is a multiple of its quadratic."""
    ellipsoid = oval(12, 50.0, 0.8)
    quadratic = quadratic_of(ellipsoid)
    body = body_of(lambda x: RISES[name](quadratic(x)), 12)  # type: ignore[operator]
    phi = sphere(torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    with body.objective.running():
        law = EllipsoidPath.around(RadiusPath.of(body), ellipsoid)
        guessed, found = law._guessed(phi, 1.0), body.points_at(phi)
    assert np.allclose(np.log(guessed), found.log_radius, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "cap", "starts"),
    [
        ("quadratic", math.inf, True),
        ("round", math.inf, False),
        ("quartic", math.inf, False),
        ("far side", math.inf, False),
        ("hidden wall", math.inf, True),
        ("many walls", math.inf, False),
        ("box", math.inf, False),
        ("long", 0.5, True),
        ("hidden wall", 0.5, True),
    ],
)
def test_particles_start_in_it_if_it_is_nearly_the_body(name: str, cap: float, starts: bool) -> None:
    loss, long = quadratic_of(oval(20, 100.0, 0.6)), oval(20, 1e4, 0.3)
    widest = long.vectors[:, 0]
    losses = {
        "quadratic": loss,
        "round": lambda x: x.square().sum(-1),
        "quartic": lambda x: (x.square() * torch.logspace(0, 2, 20, dtype=x.dtype)).square().sum(-1),
        # on one side the loss soon stops to rise
        "far side": lambda x: torch.where(x[..., 0] > 0.01, 0.5 * loss(0.1 * x), loss(x)),  # type: ignore[operator]
        # the longest half-axis goes 1.4 from the centre
        "long": quadratic_of(long),
        "many walls": lambda x: torch.where(
            (long.vectors[:, :8].T @ x[..., None] > 0.01).any((-1, -2)), 2.0, quadratic_of(long)(x)
        ),
        # the walls alone bound it, and how long the ellipsoid is says nothing
        "box": lambda x: torch.where((x.abs() > 0.005).any(-1), 2.0, quadratic_of(long)(x)),  # type: ignore[operator]
        # beyond where gradients are read, at a tenth of the longest half-axis; it cuts half of the rays
        "hidden wall": lambda x: torch.where(x @ widest > 0.14, 2.0, quadratic_of(long)(x)),  # type: ignore[operator]
    }
    body = body_of(losses[name], 20, cap)
    with body.objective.running():
        found = from_ellipsoid(RadiusPath.of(body), 0, 1, nothing, always)
    assert (found is not None) == starts


@pytest.mark.parametrize("name", ["off-centre-cut60,1,100,0.7", "off-centre-cut60,10,100,0.7"])
def test_particles_start_in_it_though_walls_cut_it(name: str) -> None:
    """Ten walls leave a thousandth of it. No ray reaches its own wall, but before that the loss is its quadratic."""
    body = star_body(build(name).objective)
    with body.objective.running():
        found = [from_ellipsoid(RadiusPath.of(body), seed, 1, nothing, always) for seed in range(5)]
    assert all(found)


def test_uniform_rays_come_near_from_the_second_start() -> None:
    """The basin is 30 times as long as wide; a uniform ray is 40 nats short of one that counts."""
    ellipsoid = oval(60, 1000.0, 0.6)
    body = body_of(quadratic_of(ellipsoid), 60)
    random = np.random.default_rng(0)
    like = torch.empty(256, 60, dtype=torch.float64)
    with body.objective.running():
        piloted = find_schedule(body, 0, 1, nothing)
        path, levels = piloted.schedule.path, piloted.schedule.at(1.0)
        uniform = path.look(sphere(torch.from_numpy(random.normal(size=(16, 60)))), levels[4].place)
        ends = second_start(path, levels, uniform, 1, Key(0, 5, 0), nothing)
    masses = 60 * ellipsoid.log_radii(ellipsoid.draw(like, random)).numpy()
    assert path.name == "ellipsoid"
    assert np.median(uniform.log_mass) < np.median(masses) - 20
    error = 1.2533 * masses.std() * math.sqrt(1 / 16 + 1 / 256)
    assert abs(np.median(ends) - np.median(masses)) < 4 * error
