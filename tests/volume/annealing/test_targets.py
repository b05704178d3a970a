"""The soft stand-in for r^n: its formula, its gradient, moves that leave it as it is, and the volumes it leads to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume, ellipsoid_radii, lp_ball
from helpers.chains import body_of
from helpers.moments import some
from helpers.nets import mlp
from helpers.z_scores import z_of_chains
from landscape.results import Chains
from landscape.volume import anneal, log_unit_ball, volume_from_chains, volumes_at_caps
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.annealing.moves import hmc_move
from landscape.volume.annealing.points import sphere
from landscape.volume.annealing.rises import rises_at
from landscape.volume.annealing.streams import stream
from landscape.volume.annealing.targets import POINTS, Ray, SoftTarget, growing_ray
from landscape.volume.ray_weights.statistics import resample


def directions(seed: int, count: int, n: int) -> Tensor:
    return sphere(torch.from_numpy(np.random.default_rng(seed).normal(size=(count, n))))


def test_unhardened_it_is_the_whole_ball() -> None:
    ray = Ray.between(0.1, 2.0, 30)
    assert ray.log_soft(np.random.default_rng(0).random((4, POINTS)), 0.0) == pytest.approx(30 * math.log(2.0))


@pytest.mark.parametrize("n", [2, 9])
def test_it_is_the_volume_that_outlives_the_hazard(n: int) -> None:
    """F_b = integral of n s^(n-1) exp(-b H(s)), H by integrating u(s) / s over the lines between the points."""
    rises, penalty = np.array([0.1, 0.4, 0.2, 0.3, 1.5, 2.0, 7.0, 9.0]), 3.0
    ray = Ray.between(0.1, 2.0, n)
    knots, heights = np.concatenate([[0], ray.radii]), np.concatenate([[0], rises])
    places = np.linspace(0, 2, 200_001)[1:]
    hazard = np.cumsum(np.interp(places, knots, heights) / places) * 1e-5
    truth = (n * places ** (n - 1) * np.exp(-penalty * hazard)).sum() * 1e-5
    # sums over shells, each at its outer end
    assert ray.log_soft(rises[None], penalty)[0] == pytest.approx(math.log(truth), abs=0.02)


def test_of_a_power_it_is_the_radius_already() -> None:
    """u = (s / r)^8 in 400 dimensions: log F_b - n log r is the same for all r, up to how the lines bend it."""
    ray = Ray.between(0.1, 10.0, 400)
    radii = np.geomspace(0.3, 3.0, 9)
    soft = ray.log_soft((ray.radii / radii[:, None]) ** 8, 500.0)
    slope = np.polyfit(np.log(radii), soft, 1)[0]
    assert slope == pytest.approx(400, rel=0.05)


def test_its_derivatives_by_each_rise() -> None:
    ray, rises = Ray.between(0.1, 1.5, 12), np.random.default_rng(1).random((3, POINTS)) * 3
    found = ray.log_soft_gradient(rises, 4.0)
    for i in range(POINTS):
        step = np.zeros(POINTS)
        step[i] = 1e-6
        slope = (ray.log_soft(rises + step, 4.0) - ray.log_soft(rises - step, 4.0)) / 2e-6
        assert found[:, i] == pytest.approx(slope, rel=1e-5)


def test_inside_looks_no_further_than_the_heaviest_shell() -> None:
    ray, low = Ray.between(0.1, 1.0, 50), [0.0] * 5
    rises = np.array([[*low, 0.1, 0.1, 0.1], [*low, 0.1, 1e4, 1e4], [0.0, 0.9, *low, 0.0]])
    assert ray.inside(rises, 100.0, 0.8).tolist() == [True, True, False]
    # half way between points the criterion is where b u = n, which is above the cutoff while b is small
    assert ray.inside(rises, 40.0, 0.8).tolist() == [True, False, False]


@pytest.mark.parametrize("inverse_temperature", [0.0, 0.4])
def test_the_force_is_the_gradient_of_the_soft_part(inverse_temperature: float) -> None:
    body, ray = body_of(lp_ball(5, 4), 0.3), Ray.between(0.1, 1.2, 5)
    target = SoftTarget(body, ray, 6.0, inverse_temperature)
    phi = directions(2, 7, 5)
    aside = tangent(directions(3, 7, 5), phi)
    with body.objective.running():
        slope = (target.force(phi) * aside).sum(1).numpy()
        ends = [rises_at(body, sphere(phi + sign * 1e-4 * aside), ray.radii) for sign in (1, -1)]
    values = [ray.log_soft(rises, 6.0) for rises in ends]
    assert slope == pytest.approx((1 - inverse_temperature) * (values[0] - values[1]) / 2e-4, rel=1e-5)


def test_on_a_net_too_with_chunks_and_batches() -> None:
    torch.manual_seed(1)
    inputs = torch.randn(30, 2)
    settings: dict[str, Any] = {"scope": "all", "dtype": torch.float64}
    objective = ls.Objective(mlp(), (inputs, torch.arange(30) % 3), "cross_entropy", batch_size=7, **settings)
    body, ray = body_of(objective, objective.centre + 0.5), Ray.between(0.2, 3.0, objective.dimension)
    target, phi = SoftTarget(body, ray, 2.0, 0.0), directions(4, 40, objective.dimension)
    aside = tangent(directions(5, 40, objective.dimension), phi)
    with objective.running():
        slope = (target.force(phi) * aside).sum(1).numpy()
        ends = [target.log_density(target.points_at(sphere(phi + sign * 1e-4 * aside))) for sign in (1, -1)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4, abs=1e-6)


def test_what_has_no_value_counts_as_far_outside() -> None:
    def f(x: Tensor) -> Tensor:
        return torch.where(x[..., 0] > 0.5, torch.nan, torch.where(x[..., 0] < -0.5, 1e30, 1.0) * x.square().sum(-1))

    body = body_of(ls.Objective.from_function(f, torch.zeros(2, dtype=torch.float64)), 0.3)
    ray, phi = Ray.between(0.3, 1.2, 2), torch.tensor([[1, 0], [0.6, 0.8], [-0.6, 0.8]], dtype=torch.float64)
    target = SoftTarget(body, ray, 2.0, 0.0)
    with body.objective.running():
        points, force = target.points_at(phi), target.force(phi)
    assert (points.rises[:, -1] == 1e9).all()
    assert force.abs().max() < 100
    assert np.isfinite(target.log_density(points)).all()


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize("inverse_temperature", [0.0, 0.5, 1.0])
def test_trajectories_leave_it_as_it_is(inverse_temperature: float, share: float) -> None:
    """On the circle, from exact draws by quadrature; E cos^2 after every step. With velocities kept too."""
    body, ray = body_of(ellipsoid(np.array([0.5, 4.0])), 0.3), Ray.between(0.1, 1.5, 2)
    target = SoftTarget(body, ray, 5.0, inverse_temperature)
    angle = (np.arange(4000) + 0.5) * 2 * math.pi / 4000
    circle = torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    with body.objective.running():
        density = np.exp(target.log_density(target.points_at(circle)))
        density /= density.sum()
        drawn = np.interp(np.random.default_rng(6).random(200), np.cumsum(density), angle)
        points, kept = target.points_at(torch.from_numpy(np.stack([np.cos(drawn), np.sin(drawn)], axis=1))), []
        for step in range(25):
            streams = [stream(7, chain, 0, step) for chain in range(200)]
            points = hmc_move(target, points, 0.5, 2, streams, kept=share).points
            kept.append(points.phi[:, 0].numpy() ** 2)
    assert abs(z_of_chains(np.stack(kept), float((density * np.cos(angle) ** 2).sum()))) < 4


@pytest.mark.parametrize("path", ["soft", "growth"])
@pytest.mark.parametrize("precondition", ["none", "slopes"])
@pytest.mark.parametrize("cap", [math.inf, 0.6])
def test_the_soft_paths_are_unbiased(cap: float, precondition: str, path: str) -> None:
    """Under a cap against plain rays, whose radii are known."""
    curvatures, count = np.array([0.5, 1.0, 3.0]), 160
    options: dict[str, Any] = {"metric": "identity", "path": path, "max_radius": cap, "precondition": precondition}
    chains = anneal(ellipsoid(curvatures), [0.3], chains=count, temperatures=24, **options)
    radii = np.minimum(ellipsoid_radii(curvatures, directions(8, 1_000_000, 3).numpy(), 0.3), cap)
    mean, spread = (radii**3).mean(), (radii**3).std() / 1000
    if cap == math.inf:
        mean, spread = math.exp(ellipsoid_log_volume(curvatures, 0.3) - log_unit_ball(3)), 0.0
    for weights in np.exp(chains.log_weights[0]):
        error = math.hypot(weights.std(ddof=1) / math.sqrt(count), spread)
        assert abs(weights.mean() - mean) < 4 * error


@pytest.mark.parametrize("path", ["soft", "growth"])
def test_a_box_by_the_soft_paths(path: str) -> None:
    box = ls.Objective.from_function(lambda x: x.abs().amax(-1), torch.zeros(20, dtype=torch.float64))
    chains = anneal(box, [1.0], metric="identity", path=path, chains=32, temperatures=30)
    assert abs(volume_from_chains(chains).results[0].log_volume - 20 * math.log(2)) < 2
    penalty, outer_radius = chains.column("penalty"), chains.column("outer_radius")
    assert chains.column("inverse_temperature")[0] == 0
    if path == "soft":
        assert penalty[0] == 0
        assert np.isnan(outer_radius).all()
    else:  # from where all rays are inside to where the walls stop them
        assert (penalty == 20).all()
        assert outer_radius[0] < 1 < outer_radius[-1]
        assert (np.diff(outer_radius) >= 0).all()


@pytest.mark.parametrize("outer_radius", [0.2, 0.5, 2.0])
def test_the_force_of_growth_in_learnt_coordinates(outer_radius: float) -> None:
    """Some rays end at the cap, nearer in than the outer radius: they get shorter as |A y| grows."""
    axis = torch.tensor([0.6, 0.8, 0, 0, 0], dtype=torch.float64)[:, None]
    preconditioner = LinearMap.identity(axis[:, 0]).compose(axis, torch.tensor([0.4], dtype=torch.float64))
    body = body_of(lp_ball(5, 4), 0.3, max_radius=0.4, preconditioner=preconditioner)
    phi = directions(2, 30, 5)
    aside, target = tangent(directions(3, 30, 5), phi), SoftTarget(body, growing_ray(5), 6.0, 0.0, outer_radius)
    capped = body.cap_along(phi) < outer_radius
    assert 0 < capped.sum() < 30 or (capped.all() if outer_radius > 1 else not capped.any())
    with body.objective.running():
        slope = (target.force(phi) * aside).sum(1).numpy()
        ends = [target.log_density(target.points_at(sphere(phi + sign * 1e-5 * aside))) for sign in (1, -1)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_growth_sees_its_points_anew_at_every_outer_radius() -> None:
    body, phi = body_of(lp_ball(5, 4), 0.3), directions(2, 3, 5)
    near, far = (SoftTarget(body, growing_ray(5), 5.0, 0.0, outer_radius) for outer_radius in (0.1, 0.7))
    with body.objective.running():
        assert (far.complete(near.points_at(phi)).rises == far.points_at(phi).rises).all()


@pytest.mark.parametrize("precondition", ["none", "slopes"])
@pytest.mark.parametrize("hopeless", [False, True])
def test_the_pilot_turns_to_a_soft_path_where_trajectories_by_radius_get_nowhere(
    hopeless: bool, precondition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 3 if precondition == "none" else 1  # in coordinates in which the body is a ball one pilot step is enough
    monkeypatch.setattr(
        "landscape.volume.annealing.run.hopeless", lambda pilot_steps: hopeless and len(pilot_steps) >= tried
    )
    options: dict[str, Any] = {"metric": "identity", "chains": 4, "temperatures": 4, "precondition": precondition}
    chains = anneal(ellipsoid(np.array([0.1, 1.0, 9.0 if precondition == "none" else 1e4])), [0.1], **options)
    penalty = chains.column("penalty", stage="pilot")
    assert np.isnan(penalty[:tried]).all()
    assert np.isnan(penalty[tried:]).all() != hopeless
    assert np.isnan(chains.column("penalty")).all() != hopeless
    assert np.isfinite(chains.column("outer_radius")).all() == (precondition == "slopes" and hopeless)


def test_the_soft_path_without_gradients_is_refused() -> None:
    flat = ls.Objective.from_function(lambda x: x.detach().square().sum(-1), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(ls.LandscapeError, match="Take another path or estimator"):
        anneal(flat, [0.1], metric="identity", path="soft")


def test_resampling_is_unbiased_and_leaves_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampled at every target; each run's mean is one draw of V."""
    monkeypatch.setattr("landscape.volume.annealing.run.uneven", lambda log_weights: True)
    curvatures, draws = np.array([0.1, 1.0, 10.0]), []
    options: dict[str, Any] = {"metric": "identity", "path": "growth", "precondition": "none"}
    for seed in range(10):
        chains = anneal(ellipsoid(curvatures), [0.3], chains=32, temperatures=6, seed=seed, **options)
        row = volume_from_chains(chains).results[0]
        draws.append(row.log_volume)
        assert chains.resamplings(0) == (2, 5)
        assert (row.verdict, row.ess, row.largest_weight) == ("lower bound", 1.0, 1.0)
        assert volumes_at_caps(chains, [0.5]).rows[0].verdict == "lower bound"
    shares = np.exp(np.array(draws) - ellipsoid_log_volume(curvatures, 0.3))
    assert abs(shares.mean() - 1) < 4 * shares.std(ddof=1) / math.sqrt(len(shares))
    assert shares.std(ddof=1) < 0.5


def test_growth_begins_where_rays_hardly_differ() -> None:
    """So that the first weights are those of all chains: each differs from the mean by the spread of log F."""
    chains = anneal(
        ellipsoid(1 / np.arange(1, 201)), [0.1], metric="identity", path="growth", precondition="none", chains=16,
        temperatures=20,
    )  # fmt: skip
    first = chains.path_log_weights[0, 1, 0]
    assert chains.column("outer_radius")[0] < 0.3 * chains.reference_radii.min()
    assert chains.column("weight_spread")[0] < 2
    assert np.isfinite(first).all()


def test_resampled_chains_go_on_as_often_as_their_weights_say() -> None:
    weights = np.array([0.05, 0.45, 0.1, 0.4])
    counts = np.array([np.bincount(resample(np.log(weights), (i + 0.5) / 1000), minlength=4) for i in range(1000)])
    assert counts.mean(axis=0) == pytest.approx(4 * weights, abs=2e-3)
    assert (np.abs(counts - 4 * weights) < 1).all()


def test_a_run_that_resamples_goes_on_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.volume.annealing.run.uneven", lambda log_weights: True)
    monkeypatch.setattr("landscape.volume.annealing.pilot.uneven", lambda log_weights: True)
    options: dict[str, Any] = {"metric": "identity", "path": "growth", "chains": 4, "temperatures": 6}
    blocks: list[Chains] = []
    whole = anneal(lp_ball(4, 4), [0.3], on_progress=lambda progress: blocks.append(progress.snapshot()), **options)
    assert whole.resamplings(0) == (2, 5)
    for at in some(len(blocks) - 1):
        again = anneal(lp_ball(4, 4), [0.3], resume=blocks[at], **options)
        for name, array in whole.arrays().items():
            assert array.tobytes() == getattr(again, name).tobytes(), name
