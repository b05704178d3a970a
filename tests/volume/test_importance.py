"""The importance estimator: the Gaussian it draws from, bodies of known volume, resuming, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.bodies import (
    ellipsoid,
    ellipsoid_log_volume,
    hartley,
    lp_ball,
    lp_log_volume,
    rotated_ellipsoid,
    two_level,
)
from helpers.nets import Logits
from helpers.proposals import precision
from helpers.z_scores import z_of_volume
from landscape.objective import Layout
from landscape.rays import make_metric
from landscape.volume import importance_volume, log_unit_ball
from landscape.volume.proposals.angular_gaussian import AngularGaussian, ProposedDirections
from landscape.volume.proposals.from_curvature import floored
from landscape.volume.ray_weights import statistics as w


def some_gaussian(n: int, k: int, seed: int) -> AngularGaussian:
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(n, k)))[0]
    return AngularGaussian(np.exp(1 + rng.normal(size=k)), vectors, np.exp(rng.normal(size=n)))


@pytest.mark.parametrize("k", [0, 1, 3, 5, 6])
def test_density_of_the_proposal_against_dense_matrices(k: int) -> None:
    gaussian = some_gaussian(6, k, seed=k)
    dense = precision(gaussian)
    assert gaussian.log_determinant == pytest.approx(-np.linalg.slogdet(dense)[1], abs=1e-10)
    for z in np.random.default_rng(9).normal(size=(5, 6)):
        phi = z / np.linalg.norm(z)
        truth = -0.5 * np.linalg.slogdet(dense)[1] + 3 * np.log(phi @ dense @ phi)
        assert gaussian.log_tilt(z) == pytest.approx(truth, abs=1e-10)
        assert gaussian.log_tilt(7 * z) == pytest.approx(truth, abs=1e-10)


@pytest.mark.parametrize("k", [0, 2, 6])
def test_draws_have_the_covariance_of_the_proposal(k: int) -> None:
    gaussian, count = some_gaussian(6, k, seed=k), 20_000
    draws = np.array([gaussian.draw(3, index) for index in range(count)])
    truth = np.linalg.inv(precision(gaussian))
    # the variance of a product of two normals is c_ii c_jj + c_ij²
    error = np.sqrt((np.outer(np.diag(truth), np.diag(truth)) + truth**2) / count)
    assert (np.abs(draws.T @ draws / count - truth) < 4.5 * error).all()
    tilts = np.exp([gaussian.log_tilt(z) for z in draws])
    assert abs(tilts.mean() - 1) < 4 * tilts.std() / math.sqrt(count)


def test_directions_depend_on_their_index_alone() -> None:
    objective = ellipsoid(np.ones(6), np.arange(1.0, 7.0), Layout.from_shapes({"a": (2, 2), "b": (2,)}))
    metric = make_metric("filter", objective.theta, objective.scope)
    n = metric.scope.size
    rays = ProposedDirections(some_gaussian(n, 2, 0), metric, 5, objective.theta)
    together = rays.steps([4, 0, 7])
    assert torch.equal(together, torch.cat([rays.steps([index]) for index in (4, 0, 7)]))
    assert metric.scale is not None
    lengths = (metric.scope.gather(together) / metric.scale).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(3, dtype=torch.float64))
    assert not torch.equal(together, ProposedDirections(rays.gaussian, metric, 6, objective.theta).steps([4, 0, 7]))


def low_rank(rest: np.ndarray, strength: np.ndarray, seed: int) -> tuple[ls.Objective, float]:
    """Curvature diag(rest) + V V', V a few random columns with these squared lengths; and log V at the cutoff 0.1."""
    n, k = len(rest), len(strength)
    normal = np.random.default_rng(seed).normal(size=(n, k))
    columns = torch.as_tensor(normal * np.sqrt(strength / n))
    h = torch.as_tensor(rest)
    objective = ls.Objective.from_function(
        lambda x: 0.5 * ((h * x**2).sum(-1) + (x @ columns).square().sum(-1)), torch.zeros(n, dtype=torch.float64)
    )
    inner = torch.eye(k, dtype=torch.float64) + columns.T @ (columns / h[:, None])
    log_det = float(h.log().sum() + torch.linalg.slogdet(inner)[1])
    return objective, log_unit_ball(n) + 0.5 * n * math.log(0.2) - 0.5 * log_det


@pytest.mark.parametrize("proposal", ["diagonal", "low-rank", "low-rank-diagonal"])
@pytest.mark.parametrize("seed", [0, 1])
def test_ten_thousand_dimensions_within_a_nat(proposal: str, seed: int) -> None:
    """Each proposal on the curvature that it is made for; the mean over uniform rays is hundreds of nats off."""
    n, rng = 10_000, np.random.default_rng(seed)
    rest = np.ones(n) if proposal == "low-rank" else np.exp(0.5 * rng.normal(size=n))
    strength = np.zeros(0) if proposal == "diagonal" else np.geomspace(100, 5000, 8)
    objective, truth = low_rank(rest, strength, seed)
    options: dict[str, Any] = {"metric": "identity", "directions": 200, "seed": seed}
    row = importance_volume(objective, [0.1], proposal=proposal, rank=8, **options).results[0]
    assert abs(row.log_volume - truth) < 1
    assert row.verdict == "reliable"
    assert row.interval[0] < truth < row.interval[1]
    plain = ls.log_volume(objective, [0.1], estimator="uniform", **options | {"directions": 50})
    assert plain.results[0].log_volume < truth - 100


@pytest.mark.parametrize("seed", [0, 1])
def test_a_proposal_that_does_not_fit_is_unbiased_all_the_same(seed: int) -> None:
    """Rotated ellipsoids under a diagonal, and under three of twelve eigenpairs."""
    curvatures = np.exp(0.4 * np.random.default_rng(seed).normal(size=12))
    truth = ellipsoid_log_volume(curvatures, 0.1)
    for proposal in ("diagonal", "low-rank", "low-rank-diagonal"):
        volume = importance_volume(
            rotated_ellipsoid(curvatures, seed),
            [0.1],
            proposal=proposal,
            rank=3,
            metric="identity",
            directions=2000,
            rtol=1e-6,
        )
        row = volume.results[0]
        assert 200 < row.ess < 1999
        assert abs(z_of_volume(volume, truth)) < 4
        assert (row.verdict == "reliable") == (row.pareto_k <= 0.5)


@pytest.mark.parametrize("p", [1, 4, 8])
def test_lp_balls_under_a_diagonal_of_ones_own(p: float) -> None:
    """The sum of |x_i / a_i|^p: its volume is that of the Lp ball times the product of the a_i."""
    n = 10
    axes = np.exp(np.random.default_rng(1).normal(size=n))
    a = torch.as_tensor(axes)
    body = ls.Objective.from_function(lambda x: (x / a).abs().pow(p).sum(-1), torch.zeros(n, dtype=torch.float64))
    volume = importance_volume(body, [0.3], proposal=1 / axes**2, metric="identity", directions=4000, rtol=1e-8)
    assert volume.results[0].verdict == "reliable"
    assert abs(z_of_volume(volume, lp_log_volume(n, p, 0.3) + float(np.log(axes).sum()))) < 4
    assert volume.config["proposal"]["name"] == "array"


@pytest.mark.parametrize("proposal", ["diagonal", "low-rank"])
@pytest.mark.parametrize("cap", [0.05, 0.1, 1.0, 10.0])
def test_an_ellipsoid_cut_by_the_cap(proposal: str, cap: float) -> None:
    """20 of 200 axes bend, the others are flat: V = ω_n R^n · I_x(10, 91), x = 2c / (h R²) at most 1."""
    from scipy.special import betainc

    n, k, h, cutoff = 200, 20, 50.0, 0.1
    x = min(1.0, 2 * cutoff / (h * cap**2))
    truth = log_unit_ball(n) + n * math.log(cap) + math.log(betainc(k / 2, (n - k) / 2 + 1, x))
    volume = importance_volume(
        two_level(n, k, h, 0.0),
        [cutoff],
        proposal=proposal,
        metric="identity",
        max_radius=cap,
        directions=1000,
        rtol=1e-6,
    )
    row = volume.results[0]
    assert row.verdict == "reliable"
    assert abs(row.log_volume - truth) < 4 * w.relative_error(volume.log_weights[:, 0]) + 1e-5
    assert 0 < row.censored <= 1


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_parameter_coordinates_are_the_same_for_every_metric(metric: str) -> None:
    rng = np.random.default_rng(5)
    layout = Layout.from_shapes({"first": (3, 4), "second": (2, 3)})
    curvatures, centre = np.exp(0.3 * rng.normal(size=18)), rng.normal(size=18)
    volume = importance_volume(
        ellipsoid(curvatures, centre, layout),
        [0.01],
        proposal="diagonal",
        metric=metric,
        max_radius=math.inf,
        directions=60,
    )
    assert volume.results[0].log_volume_raw == pytest.approx(ellipsoid_log_volume(curvatures, 0.01), abs=0.01)
    assert volume.results[0].ess == pytest.approx(60, abs=1e-3)


def test_a_bent_basin_is_measured_as_by_uniform_rays() -> None:
    """Logistic regression at a rise of 0.3, far beyond its quadratic, for two criteria and both curvatures."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=rng, dtype=torch.float64)
    y = (torch.rand(50, generator=rng) > 0.4).double()
    objective = ls.Objective(Logits(False), (x, y), "binary_cross_entropy", scope="all")
    for criterion, curvature in (("rise", "hessian"), ("rise", "ggn"), ("kl", None)):
        settings: dict[str, Any] = {"criterion": criterion, "metric": "identity", "directions": 1000, "rtol": 1e-4}
        uniform = ls.log_volume(objective, [0.3], estimator="uniform", **settings)
        other = ls.log_volume(
            objective, [0.3], estimator="importance", curvature=curvature, proposal="low-rank", rank=2, **settings
        )
        error = math.hypot(*(w.relative_error(volume.log_weights[:, 0]) for volume in (uniform, other)))
        assert other.results[0].verdict == "reliable"
        assert abs(uniform.results[0].log_volume - other.results[0].log_volume) < 4 * error
        assert other.results[0].ess > uniform.results[0].ess


def test_a_collapsed_mean_is_a_lower_bound_and_holds() -> None:
    """Curvatures 1/i, rotated, n = 500: five eigenpairs are not enough."""
    truth = ellipsoid_log_volume(1 / np.arange(1, 501), 0.1)
    for seed in range(6):
        row = importance_volume(
            rotated_ellipsoid(1 / np.arange(1, 501), seed),
            [0.1],
            rank=5,
            probes=20,
            metric="identity",
            directions=40,
            seed=seed,
        ).results[0]
        assert row.verdict == "lower bound"
        assert row.interval[0] < truth
        assert row.interval[1] == math.inf


def test_an_interrupted_run_continues_to_the_same_bits() -> None:
    n = 30
    objective = ls.Objective.from_function(
        lambda x: 0.5 * (torch.arange(1, n + 1) * hartley(x) ** 2).sum(-1) + (x**4).sum(-1),
        torch.zeros(n, dtype=torch.float64),
        memory=n * 8 * 40,
    )
    options: dict[str, Any] = {"metric": "identity", "proposal": "low-rank-diagonal", "rank": 4, "directions": 60}
    snapshots: list[ls.Radii] = []
    whole = importance_volume(objective, [0.1, 0.5], on_progress=lambda p: snapshots.append(p.snapshot()), **options)
    assert len(snapshots) > 2
    for partial in snapshots[:-1]:
        again = importance_volume(objective, [0.1, 0.5], resume=partial, **options)
        assert again.log_weights.tobytes() == whole.log_weights.tobytes()
        assert again.results == whole.results
        assert again.config == whole.config
    for changes, words in (({"rank": 3}, "proposal"), ({"seed": 1}, "seed"), ({"proposal": np.ones(n)}, "proposal")):
        with pytest.raises(ls.LandscapeError, match=words):
            importance_volume(objective, [0.1, 0.5], resume=snapshots[0], **{**options, **changes})
    rtol = whole.config["rtol"]
    with pytest.raises(ls.LandscapeError, match="proposal"):
        ls.basin_radii(objective, [0.1, 0.5], metric="identity", directions=60, rtol=rtol, resume=snapshots[0])
    with pytest.raises(ls.LandscapeError, match="not drawn uniformly"):
        ls.volume_from_radii(snapshots[-1])


def test_a_noisy_diagonal_is_lifted_to_its_error() -> None:
    rest = floored(np.array([1.0, -0.5, 0.01, 0.0]), np.array([0.1, 0.2, 0.3, 0.0]))
    assert rest.tolist() == [1.0, 0.2, 0.3, 1e-6 * 1.01 / 4]


def test_weights_that_span_all_of_float64_have_an_infinite_tail_index() -> None:
    log_weights = np.concatenate([np.zeros(2), np.full(98, -720.0) - np.arange(98)])
    assert w.pareto_k(log_weights) == math.inf


BOWL = ellipsoid(np.ones(4))


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        (BOWL, {"proposal": "krylow"}, ["low-rank", "diagonal", "array"]),
        (BOWL, {"proposal": np.ones(3)}, ["n = 4", "(3,)"]),
        (BOWL, {"proposal": np.array([1.0, 0.0, 1.0, math.nan])}, ["2 entries", "not positive"]),
        (BOWL, {"rank": 0}, ["rank", "at least 1"]),
        (BOWL, {"probes": 1}, ["probe"]),
        (BOWL, {"directions": 0}, ["directions", "whole number"]),
        (BOWL, {"curvature": "ggn"}, ["predictions"]),
        (BOWL, {"cutoffs": [0.0]}, ["no basin"]),
        (lp_ball(5, 4), {}, ["zero or negative", "max_radius", "annealed"]),
        (np.ones(3), {}, ["not to ndarray"]),
    ],
)
def test_misuse_is_refused_with_what_to_type(objective: Any, options: dict[str, Any], words: list[str]) -> None:
    given: dict[str, Any] = {"cutoffs": [0.1], "metric": "identity", "directions": 10, **options}
    with pytest.raises(ls.LandscapeError) as caught:
        importance_volume(objective, **given)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_flat_curvature_under_a_cap_gives_uniform_rays() -> None:
    """x^4 has no curvature at 0: nothing is known of its shape, and the cap stands in for it."""
    volume = importance_volume(lp_ball(5, 4), [0.3], metric="identity", max_radius=2.0, directions=2000, rtol=1e-8)
    assert abs(z_of_volume(volume, lp_log_volume(5, 4, 0.3))) < 4
    assert replace(volume.cost, seconds=0.0).calls > 2000
