"""Rays along what slopes at the wall have taught: their density and unbiased weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import chi2

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume, rotated_ellipsoid
from helpers.maps import STIFF, skew
from landscape.objective import Layout
from landscape.rays import make_metric
from landscape.volume import importance_volume, log_unit_ball
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.proposals.from_slopes import SlopeDirections
from landscape.volume.ray_weights import statistics as w


def directions(metric: str = "identity", seed: int = 5) -> SlopeDirections:
    made = ellipsoid(np.ones(6), np.arange(1.0, 7.0), Layout.from_shapes({"a": (2, 2), "b": (2,)}))
    scale = make_metric(metric, made.theta, made.scope)
    return SlopeDirections(skew(scale.scope.size), scale, seed, made.theta)


def test_the_density_is_that_of_an_angular_gaussian() -> None:
    rays, count = directions(), 4000
    matrix = torch.eye(6, dtype=torch.float64) + rays.preconditioner.left @ rays.preconditioner.right.T
    sigma = (matrix @ matrix.T).numpy()
    phi, tilts = rays.steps(range(count)).numpy(), rays.log_tilts(range(count))
    form = (phi @ np.linalg.inv(sigma) * phi).sum(1)
    assert tilts == pytest.approx(0.5 * np.linalg.slogdet(sigma)[1] + 3 * np.log(form), abs=1e-9)
    # and they are drawn from it: weighted, they have the moments of uniform ones
    for entries, truth in ((np.ones(count), 1.0), (phi[:, 0] ** 2, 1 / 6), (phi[:, 0] * phi[:, 1], 0.0)):
        values = np.exp(tilts) * entries
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(count)


@pytest.mark.parametrize("metric", ["identity", "filter"])
def test_a_direction_depends_on_its_index_alone(metric: str) -> None:
    rays, indices = directions(metric), [70, 4, 0, 199]
    together = rays.steps(indices)
    assert torch.equal(together, torch.cat([rays.steps([index]) for index in indices]))
    assert rays.log_tilts(indices).tolist() == [rays.log_tilts([index])[0] for index in indices]
    assert not torch.equal(together, directions(metric, seed=6).steps(indices))
    scope, scale = rays.metric.scope, rays.metric.scale
    phi = scope.gather(together) if scale is None else scope.gather(together) / scale
    assert torch.allclose(phi.norm(dim=1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_stiff_ellipsoid_is_measured(seed: int) -> None:
    options: dict[str, Any] = {"metric": "identity", "directions": 2000, "seed": seed}
    rays: list[ls.Radii] = []
    volume = importance_volume(
        rotated_ellipsoid(STIFF, seed),
        [0.3, 0.6],
        proposal="slopes",
        rtol=1e-6,
        on_progress=lambda progress: rays.append(progress.snapshot()),
        **options,
    )
    for column, cutoff in enumerate((0.3, 0.6)):
        error = w.relative_error(volume.log_weights[:, column])
        assert abs(volume.results[column].log_volume - ellipsoid_log_volume(STIFF, cutoff)) < 4 * error
        assert volume.results[column].verdict == "reliable"
    options["directions"] = 200
    plain = ls.log_volume(rotated_ellipsoid(STIFF, seed), [0.3], estimator="uniform", **options).results[0]
    assert plain.verdict == "lower bound"
    assert volume.config["proposal"].keys() == {"name", "digest"}
    assert volume.cost.evaluations > rays[-1].cost.evaluations + 250  # what learning took is counted


def test_a_slab_cut_by_the_cap() -> None:
    """x_1^2 + x_2^2 < 0.0025 in the unit ball of five dimensions; most rays end at the cap once A is learnt."""
    slab = ls.Objective.from_function(lambda x: x[..., :2].square().sum(-1), torch.zeros(5, dtype=torch.float64))
    options: dict[str, Any] = {"metric": "identity", "max_radius": 1.0, "directions": 3000, "rtol": 1e-6}
    volume = importance_volume(slab, [0.0025], proposal="slopes", **options)
    s = np.linspace(0, 0.05, 20_001)
    truth = math.log(float(trapezoid(2 * math.pi * s * 4 / 3 * math.pi * (1 - s**2) ** 1.5, s)))
    assert abs(volume.results[0].log_volume - truth) < 4 * w.relative_error(volume.log_weights[:, 0])
    assert volume.results[0].ess > 2 * ls.log_volume(slab, [0.0025], estimator="uniform", **options).results[0].ess


def test_the_chance_to_draw_a_stiff_slab() -> None:
    """Eight of twelve normal numbers with a sum of squares below 0.01: a chi-square of eight degrees of freedom."""
    slab = ls.Objective.from_function(lambda x: x[..., :8].square().sum(-1), torch.zeros(12, dtype=torch.float64))
    options: dict[str, Any] = {"metric": "identity", "max_radius": 30.0, "rtol": 1e-6}
    options |= {"measure": "gaussian", "sigma": 1.0, "directions": 3000}
    volume = importance_volume(slab, [0.01], proposal="slopes", **options)
    error = w.relative_error(volume.log_weights[:, 0])
    assert abs(volume.results[0].log_volume - float(chi2.logcdf(0.01, 8))) < 4 * error
    assert volume.results[0].ess > 10 * ls.log_volume(slab, [0.01], estimator="uniform", **options).results[0].ess


def test_a_round_basin_keeps_uniform_rays() -> None:
    row = importance_volume(ellipsoid(np.ones(4)), [0.5], proposal="slopes", metric="identity", directions=60)
    assert row.results[0].log_volume == pytest.approx(log_unit_ball(4), abs=1e-3)
    assert np.ptp(row.log_weights) < 1e-3


def test_an_interrupted_run_learns_the_same_and_continues_to_the_same_bits() -> None:
    body = ls.Objective.from_function(
        lambda x: 0.5 * (torch.as_tensor(STIFF) * x**2).sum(-1) + (x**4).sum(-1),
        torch.zeros(12, dtype=torch.float64),
        memory=12 * 8 * 40,
    )
    options: dict[str, Any] = {"metric": "identity", "proposal": "slopes", "directions": 60}
    snapshots: list[ls.Radii] = []
    whole = importance_volume(body, [0.1, 0.5], on_progress=lambda p: snapshots.append(p.snapshot()), **options)
    assert len(snapshots) > 2
    for partial in (snapshots[0], snapshots[-2]):
        again = importance_volume(body, [0.1, 0.5], resume=partial, **options)
        assert again.log_weights.tobytes() == whole.log_weights.tobytes()
        assert again.results == whole.results
        assert again.config == whole.config
    assert importance_volume(body, [0.1], **options).config["proposal"] == whole.config["proposal"]
    other = LinearMap.identity(body.theta)
    for changes, words in (({"seed": 1}, "seed"), ({"proposal": other}, "proposal"), ({"rtol": 1e-5}, "rtol")):
        with pytest.raises(ls.LandscapeError, match=words):
            importance_volume(body, [0.1, 0.5], resume=snapshots[0], **{**options, **changes})


def test_a_function_without_gradients_is_refused() -> None:
    closed = ls.Objective.from_function(lambda x: x.detach().square().sum(-1), torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ls.LandscapeError, match="needs gradients"):
        importance_volume(closed, [0.1], proposal="slopes", metric="identity")
