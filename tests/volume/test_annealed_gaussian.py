"""Annealed chains by the Gaussian measure: known chances, moves that keep their targets, stopping, caps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2, ncx2
from torch import Tensor

import landscape as ls
from helpers.bodies import ellipsoid
from helpers.chains import MOVES, assert_same_chains, body_of, run_move
from helpers.moments import some
from helpers.z_scores import z_of_chains, z_of_weights
from landscape.objective import Layout
from landscape.rays import make_metric
from landscape.results import AnnealedVolume, Chains
from landscape.volume import anneal, annealed_volume, auto_volume, log_unit_ball, volume_from_chains, volumes_at_caps
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.annealing.points import sphere
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.wall import effective_log_radius_gradient
from landscape.volume.ray_weights.measure import make_measure

GAUSSIAN: dict[str, Any] = {"metric": "identity", "measure": "gaussian"}


def log_probability(weights: np.ndarray, offsets: np.ndarray, level: float) -> float:
    """log P(sum of w (z + d)^2 < level), z standard normal, by inverting its transform along a line.

    P = 1/2πi times the integral of M(s) exp(-s level) / -s over s = a + i x, for any a < 0; at the saddle point the
    integrand falls from there without turning, so that nothing cancels and any P has all its digits.
    """

    def log_m(s: np.ndarray) -> np.ndarray:
        bent = 1 - 2 * np.multiply.outer(s, weights)
        return (-0.5 * np.log(bent) + np.multiply.outer(s, weights * offsets**2) / bent).sum(-1)

    grid = -np.geomspace(1e-4, 1e4, 4001) * len(weights) / level
    exponents = log_m(grid) - grid * level - np.log(-grid)
    place = int(exponents.argmin())
    a, h = grid[place], 1e-3 * abs(grid[place])
    bend = np.diff(log_m(a + h * np.array([-1, 0, 1])), 2)[0] / h**2
    x = np.linspace(-40, 40, 40_001) / math.sqrt(bend)
    base = log_m(np.array([a]))[0] - a * level
    terms = np.exp(log_m(a + 1j * x) - (a + 1j * x) * level - base) / -(a + 1j * x)
    return float(base + math.log(terms.real.sum() * (x[1] - x[0]) / (2 * math.pi)))


def test_the_oracle_is_the_chi_square_distribution() -> None:
    rng = np.random.default_rng(0)
    for n, level, error in ((3, 1.0, 1e-4), (40, 20.0, 1e-9), (40, 90.0, 1e-9)):  # few dimensions: a slow fall
        offsets = 0.5 * rng.normal(size=n)
        assert log_probability(np.ones(n), np.zeros(n), level) == pytest.approx(chi2.logcdf(level, n), abs=error)
        truth = math.log(ncx2.cdf(level, n, offsets @ offsets))
        assert log_probability(np.ones(n), offsets, level) == pytest.approx(truth, abs=error)


BODIES = {
    # curvatures, spread of theta, sigma, cutoff, centre, in 150 dimensions
    "ball, centre 0": (np.full(150, 2.0), 0.25, 0.3, 6.0, "zero"),
    "ellipsoid, centre theta": (2 / np.arange(1, 151), 0.3, 0.5, 0.1, "theta"),
    "ellipsoid, centre 0": (2 / np.arange(1, 151), 0.2, 0.3, 0.1, "zero"),
}


@pytest.mark.parametrize("name", BODIES)
def test_where_uniform_rays_collapse_chains_do_not(name: str) -> None:
    """In all three both the wall and the density matter: neither alone is within 10 nats of the truth."""
    curvatures, spread, sigma, cutoff, centre = BODIES[name]
    n = len(curvatures)
    theta = spread * np.random.default_rng(1).normal(size=n)
    offsets = theta / sigma if centre == "zero" else np.zeros(n)
    truth = log_probability(curvatures / 2 * sigma**2, offsets, cutoff)
    plain = log_unit_ball(n) + 0.5 * np.log(2 * cutoff / curvatures).sum()
    at_theta = plain - n / 2 * math.log(2 * math.pi * sigma**2) - offsets @ offsets / 2
    assert abs(at_theta - truth) > 10
    objective = ellipsoid(curvatures, theta)
    options = {**GAUSSIAN, "sigma": sigma, "measure_centre": centre}
    uniform = ls.log_volume(objective, [cutoff], **options).results[0]
    assert uniform.verdict == "lower bound"
    assert uniform.log_volume < truth - 2
    found = annealed_volume(objective, [cutoff], chains=24, temperatures=250, **options)
    row = found.results[0]
    assert abs(z_of_weights(found.log_weights[:, 0], truth - log_unit_ball(n))) < 4
    assert row.verdict == "reliable"
    assert row.interval[0] < truth < row.interval[1]
    assert row.interval[1] - row.interval[0] < 2
    assert row.log_volume_raw == row.log_volume


@pytest.mark.parametrize("path", ["radius", "soft", "growth"])
@pytest.mark.parametrize("precondition", ["none", "slopes"])
def test_weights_are_unbiased_at_any_effort_and_all_along_the_path(path: str, precondition: str) -> None:
    """At every temperature the mean weight of a bare 1 is 1, and that of m is P / ω_n, in any coordinates."""
    curvatures, theta, sigma = np.array([0.1, 1.0, 30.0, 300.0]), np.array([0.3, -0.2, 0.02, 0.01]), 0.4
    truth = log_probability(curvatures / 2 * sigma**2, theta / sigma, 0.1) - log_unit_ball(4)
    options: dict[str, Any] = {"path": path, "precondition": precondition, "seed": 3, **GAUSSIAN, "sigma": sigma}
    chains = anneal(ellipsoid(curvatures, theta), [0.1], chains=1500, temperatures=6, **options)
    assert (chains.config["preconditioners"][0] is None) == (precondition == "none")
    for weights in chains.log_weights[0]:
        assert abs(z_of_weights(weights, truth)) < 4
    following = np.append(chains.column("inverse_temperature")[1:], 1.0)
    paths = (following, chains.path_log_weights[0, 1], chains.path_measure[0, 1])
    for t, weights, along in zip(*paths, strict=True):
        if precondition == "none" and np.ptp(weights) > 0:  # else these have a heavy tail: |A y|^-n
            assert abs(z_of_weights(weights, 0.0)) < 4
        assert np.isfinite(along).all()
        if path == "radius" or t > 0:  # on the smooth part of the way m has a heavy tail in this body too
            assert abs(z_of_weights(weights + 4 * along[:, 0], truth)) < 4
    last = chains.path_log_weights[0, 1, -1] + 4 * chains.path_measure[0, 1, -1, :, 0]
    assert last == pytest.approx(chains.log_weights[0, 1])


SIGMA, CENTRE, CURVATURES, CUTOFF = 0.4, np.array([0.5, -0.3]), np.array([0.5, 4.0]), 0.3


def gaussian_body(objective: ls.Objective, sigma: float, *, metric: str = "identity", turned: bool = False) -> StarBody:
    """A body that the Gaussian measure around 0 measures, in the metric's coordinates or in others."""
    made = make_metric(metric, objective.theta, objective.scope)
    preconditioner = None
    if turned:
        axis = torch.linspace(1, 2, made.scope.size, dtype=torch.float64)
        stretch = torch.tensor([0.4], dtype=torch.float64)
        preconditioner = LinearMap.identity(axis).compose((axis / axis.norm())[:, None], stretch)
    body = body_of(objective, CUTOFF, preconditioner=preconditioner)
    return replace(body, metric=made, measure=make_measure(objective, made, "gaussian", sigma))


def assert_kept(body: StarBody, name: str, power: float, radius: Callable[[np.ndarray], np.ndarray]) -> None:
    """On the circle, from exact draws of exp(power · effective log radius) by sums over the plane.

    Compares E of the effective log radius, E cos and E sin cos.

    ``radius``: in units of each vector of shape (k, 2), which need not be of length 1.
    """
    angle = (np.arange(4000) + 0.5) * 2 * math.pi / 4000
    y = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = body.coordinates.apply(torch.from_numpy(y)).numpy()
    s = (np.arange(1000) + 0.5)[:, None] / 1000 * radius(x)
    points = CENTRE + s[:, :, None] * x
    mass = (s * np.exp(-(points**2).sum(2) / (2 * SIGMA**2))).mean(0) * radius(x)
    effective_log_radius = np.log(mass / (2 * math.pi * SIGMA**2) * 2) / 2
    weight = np.exp(power * (effective_log_radius - effective_log_radius.max()))
    weight /= weight.sum()
    drawn = np.interp(np.random.default_rng(2).random(200), np.cumsum(weight), angle)
    kept = run_move(body, MOVES[name], power, 25, np.stack([np.cos(drawn), np.sin(drawn)], axis=1))
    phi = np.stack([p.phi.numpy() for p in kept])
    assert (
        abs(z_of_chains(np.stack([p.effective_log_radius for p in kept]), float((weight * effective_log_radius).sum())))
        < 4
    )
    assert abs(z_of_chains(phi[:, :, 0], float((weight * np.cos(angle)).sum()))) < 4
    assert abs(z_of_chains(phi.prod(axis=2), float((weight * np.cos(angle) * np.sin(angle)).sum()))) < 4
    assert np.abs(phi[-1] - phi[0]).max(axis=1).mean() > 0.05


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("name", "power"), [*((name, power) for name in MOVES for power in (0.5, 2.0)), ("slice, whole circle", 25.0)]
)
def test_moves_leave_their_target_as_it_is(name: str, power: float, turned: bool) -> None:
    body = gaussian_body(ellipsoid(CURVATURES, CENTRE), SIGMA, turned=turned)
    assert_kept(body, name, power, lambda x: np.sqrt(2 * CUTOFF / (x**2 @ CURVATURES)))


@pytest.mark.parametrize("name", MOVES)
def test_behind_a_wall_and_under_a_cap(name: str) -> None:
    """f = 1 in a wall on the side of 0, 0.1 < |x| < 0.25, and below the cutoff behind it: r is 0.1 there, and the cap,
    1.5, elsewhere. What rays of the other side hold, rays of this side would hold beyond the wall.
    """
    centre = torch.from_numpy(CENTRE)

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x - centre, dim=-1)
        wall = (x[..., 0] < centre[0]) & (size > 0.1) & (size < 0.25)
        return torch.where(wall, 1.0, 0.01 * size)

    body = replace(gaussian_body(ls.Objective.from_function(f, centre), SIGMA), max_radius=1.5, first_step=0.08)
    assert_kept(body, name, 1.0, lambda x: np.where(x[:, 0] < 0, 0.1, 1.5))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("metric", ["identity", "filter"])
def test_the_force_is_the_gradient_of_the_effective_log_radius(metric: str, turned: bool) -> None:
    """At the radius of the ray itself, where it is exact, against differences over measured rays."""
    rng = np.random.default_rng(8)
    layout = Layout.from_shapes({"first": (2, 2), "second": (1, 2)})
    objective = ellipsoid(np.exp(rng.normal(size=6)), 0.3 * rng.normal(size=6), layout)
    body = replace(gaussian_body(objective, 0.4, metric=metric, turned=turned), rtol=1e-10)
    phi = sphere(torch.from_numpy(rng.normal(size=(5, 6))))
    aside = tangent(torch.from_numpy(rng.normal(size=(5, 6))), phi)
    with body.objective.running():
        ends = [body.points_at(sphere(phi + sign * 1e-3 * aside)).effective_log_radius for sign in (1, -1)]
        for row, log_radius in enumerate(body.points_at(phi).log_radius):
            one = slice(row, row + 1)
            force = effective_log_radius_gradient(body, phi[one], math.exp(log_radius))
            assert float((force * phi[one]).sum()) == pytest.approx(0, abs=1e-12)
            slope = (ends[0][row] - ends[1][row]) / 2e-3
            assert float((force * aside[one]).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_a_candidate_that_the_cap_keeps_short_is_refused_without_an_evaluation() -> None:
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), torch.tensor([0.5, 0.0], dtype=torch.float64))
    body = replace(gaussian_body(flat, 0.4), max_radius=1.5)
    phi = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    with flat.running():
        towards, away = body.points_at(phi).effective_log_radius
        before = body.spent.evaluations
        assert body.is_inside(phi, np.array([towards - 0.01, away + 0.01])).tolist() == [True, False]
        assert body.spent.evaluations == before + 1
        assert not body.is_inside(phi, np.array([0.0, 0.0]) + towards + 0.01).any()
    assert body.spent.evaluations == before + 1


def test_a_wide_gaussian_is_the_volume_times_its_density() -> None:
    """The chains walk where they walk for the volume."""
    options: dict[str, Any] = {"metric": "identity", "chains": 16, "temperatures": 12, "rtol": 1e-6}
    body, sigma = ellipsoid(np.array([1.0, 3.0, 0.5])), 1e4
    plain = annealed_volume(body, [0.1], **options).results[0].log_volume
    wide = annealed_volume(body, [0.1], measure="gaussian", sigma=sigma, **options).results[0].log_volume
    assert wide == pytest.approx(plain - 1.5 * math.log(2 * math.pi * sigma**2), abs=1e-5)


def test_all_of_space_has_probability_one_and_no_bound_lies_above() -> None:
    theta = torch.tensor([0.4, -0.2, 0.3], dtype=torch.float64)
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), theta)
    options: dict[str, Any] = {**GAUSSIAN, "sigma": 0.5, "max_radius": 1e3}
    found = annealed_volume(flat, [1.0], chains=200, temperatures=10, **options)
    assert abs(z_of_weights(found.log_weights[:, 0], -log_unit_ball(3))) < 4
    assert found.results[0].verdict == "reliable"
    assert found.results[0].censored_weight == pytest.approx(1.0)
    assert found.results[0].interval[1] == 0
    few = annealed_volume(flat, [1.0], chains=4, temperatures=2, **options).results[0]
    assert (few.verdict, few.interval[1]) == ("lower bound", 0.0)
    assert few.interval[0] == pytest.approx(few.log_volume + math.log(0.05), abs=0.2)


def test_smaller_caps_against_counted_draws() -> None:
    """P(the basin inside each cap) and the chance of a ray that reaches it, from one run in learnt coordinates."""
    curvatures, theta, sigma = np.array([0.1, 1.0, 30.0, 300.0]), np.array([0.3, -0.2, 0.02, 0.01]), 0.4
    options: dict[str, Any] = {**GAUSSIAN, "sigma": sigma, "max_radius": 1.0, "precondition": "slopes"}
    chains = anneal(ellipsoid(curvatures, theta), [0.1], chains=400, temperatures=20, **options)
    assert chains.config["preconditioners"][0] is not None
    steps = sigma * np.random.default_rng(4).normal(size=(2_000_000, 4)) - theta
    inside, size = 0.5 * steps**2 @ curvatures < 0.1, np.linalg.norm(steps, axis=1)
    rows = volumes_at_caps(chains, [0.25, 0.5, 1.0]).rows
    for row in rows:
        share = float((inside & (size < row.cap)).mean())
        error = math.hypot(row.ess**-0.5, math.sqrt((1 - share) / share / len(steps)))
        assert abs(row.log_volume - math.log(share)) < 4 * error
        assert row.interval[1] <= 0
    assert rows[0].log_volume < rows[1].log_volume - 0.5
    assert rows[-1].log_volume == volume_from_chains(chains).results[0].log_volume
    few = anneal(ellipsoid(curvatures, theta), [0.1], chains=4, temperatures=2, **options)
    assert volumes_at_caps(few, [0.25]).rows[0].interval[1] == pytest.approx(0, abs=1e-12)


def test_uniform_rays_that_show_more_than_the_chains_do() -> None:
    """The weights of these chains cut to a share of what they are: then the reference rays show as much more."""
    chains = anneal(ellipsoid(np.array([1.0, 3.0, 0.5])), [0.1], chains=64, temperatures=20, sigma=0.3, **GAUSSIAN)
    assert volume_from_chains(chains).unseen[0] < 0.4
    cut = chains.path_measure.copy()
    cut[..., 0] -= 10
    short = Chains(**{**{f: getattr(chains, f) for f in (*chains.arrays(), *chains.attributes())}, "path_measure": cut})
    assert volume_from_chains(short).unseen[0] > 0.5


@pytest.mark.parametrize("path", ["radius", "soft"])
def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(path: str, tmp_path: Path) -> None:
    objective = ellipsoid(np.array([0.3, 1.0, 2.0, 9.0]), np.array([0.1, 0.2, -0.3, 0.0]))
    options: dict[str, Any] = {**GAUSSIAN, "sigma": 0.3, "chains": 4, "temperatures": 4, "seed": 8, "path": path}
    whole = anneal(objective, [0.1, 0.4], **options)
    blocks: list[Chains] = []
    anneal(objective, [0.1, 0.4], on_progress=lambda progress: blocks.append(progress.snapshot()), **options)
    for at in some(len(blocks) - 1):
        ls.Store(tmp_path / "run.h5")["chains"] = blocks[at]
        kept = ls.Store(tmp_path / "run.h5")["chains"]
        assert isinstance(kept, Chains)
        assert_same_chains(anneal(objective, [0.1, 0.4], resume=kept, **options), whole)


def test_a_run_by_another_measure_is_not_continued() -> None:
    objective, options = ellipsoid(np.ones(2)), {"metric": "identity", "chains": 4, "temperatures": 2}
    given: dict[str, Any] = {**options, **GAUSSIAN, "sigma": 0.5}
    chance, plain = anneal(objective, [0.1], **given), anneal(objective, [0.1], **options)
    for resume, other, words in (
        (chance, {"sigma": 0.6}, r"sigma: stored 0\.5, asked 0\.6"),
        (chance, {"measure_centre": "theta"}, "measure_centre: stored 'zero', asked 'theta'"),
        (plain, {}, "measure: stored None, asked 'gaussian'"),
    ):
        with pytest.raises(ls.LandscapeError, match=words):
            anneal(objective, [0.1], resume=resume, **{**given, **other})
    with pytest.raises(ls.LandscapeError, match="measure: stored 'gaussian', asked None"):
        anneal(objective, [0.1], resume=chance, **options)  # type: ignore[arg-type]


def test_auto_anneals_where_rays_collapse() -> None:
    curvatures, theta = 2 / np.arange(1, 61), 0.2 * np.random.default_rng(2).normal(size=60)
    truth = log_probability(curvatures / 2 * 0.3**2, theta / 0.3, 0.1)
    found = auto_volume(ellipsoid(curvatures, theta), [0.1], budget=60_000, sigma=0.3, **GAUSSIAN)
    assert isinstance(found, AnnealedVolume)
    assert found.results[0].interval[0] < truth < found.results[0].interval[1]
    assert "under N(0, 0.3²)" in str(found)
