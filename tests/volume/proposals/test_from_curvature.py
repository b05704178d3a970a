"""Proposals from a Krylov space, from squared gradients and from Adam's moments: what they hold, and that they hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from helpers.bodies import ellipsoid_log_volume, rotated_ellipsoid
from helpers.proposals import precision
from helpers.z_scores import z_of_volume
from landscape.volume import importance_volume, log_unit_ball
from landscape.volume.proposals.angular_gaussian import AngularGaussian
from landscape.volume.proposals.from_curvature import PROPOSALS
from landscape.volume.proposals.gradients import squared_gradients


def test_krylov_against_dense_matrices() -> None:
    """On the span it is A compressed, beside it one constant with the trace of what is left, and log |Σ| is its own."""
    h = np.exp(np.random.default_rng(0).normal(size=30))
    op = ls.Hessian(rotated_ellipsoid(h, 3))
    dense = (op @ torch.eye(30, dtype=torch.float64)).numpy()
    curvature = PROPOSALS["krylov"](op, 12, 100, 0)  # 100 probes: the trace is exact
    values, vectors, rest = curvature.values, curvature.vectors, curvature.rest
    gaussian = AngularGaussian(values, vectors, rest)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(vectors.T @ dense @ vectors, np.diag(values), atol=1e-8)
    assert rest == pytest.approx(np.full(30, (np.trace(dense) - values.sum()) / 18), rel=1e-8)
    assert gaussian.log_determinant == pytest.approx(-np.linalg.slogdet(precision(gaussian))[1], abs=1e-10)
    # the span is that of v, A v, A² v, ...: all but one direction of A V stays inside
    outside = dense @ vectors - vectors @ (vectors.T @ dense @ vectors)
    assert np.linalg.svd(outside, compute_uv=False)[1] < 1e-8


@pytest.mark.parametrize("cap", [math.inf, 1.0])
def test_krylov_on_an_ellipsoid(cap: float) -> None:
    h = np.exp(0.7 * np.random.default_rng(1).normal(size=25))
    volume = importance_volume(
        rotated_ellipsoid(h, 4),
        [0.1],
        proposal="krylov",
        rank=10,
        metric="identity",
        directions=3000,
        rtol=1e-8,
        max_radius=cap,
    )
    assert volume.results[0].verdict == "reliable"
    if math.isinf(cap):
        assert abs(z_of_volume(volume, ellipsoid_log_volume(h, 0.1))) < 4


def test_krylov_of_all_steps_is_the_ellipsoid_itself() -> None:
    h = np.arange(1.0, 21.0)
    volume = importance_volume(
        rotated_ellipsoid(h, 2), [0.1], proposal="krylov", rank=20, metric="identity", directions=60
    )
    assert volume.results[0].ess == pytest.approx(60, rel=1e-4)
    assert volume.results[0].log_volume == pytest.approx(ellipsoid_log_volume(h, 0.1), abs=1e-3)


def test_a_krylov_space_that_closes_early_is_begun_anew() -> None:
    """Two eigenvalues: a vector spans two directions, and the next ones need new vectors."""
    h = np.array([9.0] * 4 + [1.0] * 8)
    volume = importance_volume(
        rotated_ellipsoid(h, 5), [0.1], proposal="krylov", rank=8, metric="identity", directions=60
    )
    assert volume.results[0].log_volume == pytest.approx(ellipsoid_log_volume(h, 0.1), abs=1e-3)


def regression(d: int = 6, samples: int = 40) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A linear layer at the least squares solution of noisy data: the mean squared error is a quadratic around it."""
    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.normal(size=(samples, d)) * np.geomspace(0.3, 3, d))
    y = x @ torch.from_numpy(rng.normal(size=(d, 1))) + torch.from_numpy(rng.normal(size=(samples, 1)))
    model = nn.Linear(d, 1, bias=False, dtype=torch.float64)
    model.weight.data = torch.linalg.lstsq(x, y).solution.T.contiguous()
    return model, x, y


def basin_of(x: torch.Tensor, rise: float) -> float:
    """log V of mean (x . u)^2 < rise: an ellipsoid with the matrix X'X / N."""
    matrix = (x.T @ x / len(x)).numpy()
    n = len(matrix)
    return log_unit_ball(n) + 0.5 * (n * math.log(rise) - float(np.linalg.slogdet(matrix)[1]))


def test_squared_gradients_against_a_loop_over_samples() -> None:
    model, x, y = regression()
    objective = ls.Objective(model, (x, y), "mse")
    residual = x @ model.weight.detach().T - y
    expected = (2 * residual * x).square()
    mean, errors = squared_gradients(objective, 1000, 0)
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-10)
    np.testing.assert_allclose(errors, expected.std(0) / math.sqrt(len(x)), rtol=1e-10)
    few, _ = squared_gradients(objective, 10, 0)
    assert not np.allclose(few, mean)
    assert np.array_equal(few, squared_gradients(objective, 10, 0)[0])


@pytest.mark.parametrize("metric", ["identity", "layer"])
@pytest.mark.parametrize("source", ["squared-gradients", "moments"])
def test_diagonals_of_gradients_measure_an_ellipsoid(metric: str, source: str) -> None:
    model, x, y = regression()
    objective = ls.Objective(model, (x, y), "mse")
    moments = {"weight": x.square().mean(0, keepdim=True)}
    volume = importance_volume(
        objective,
        [0.5],
        criterion="rise",
        proposal=source if source == "squared-gradients" else moments,
        metric=metric,
        directions=4000,
        max_radius=math.inf,
        rtol=1e-8,
    )
    row = volume.results[0]
    assert row.verdict == "reliable"
    assert abs(z_of_volume(volume, basin_of(x, 0.5) + row.log_volume - row.log_volume_raw)) < 4


def test_their_size_is_fitted_under_a_cap() -> None:
    """Moments of any size give the same rays, cap or none."""
    model, x, y = regression()
    objective = ls.Objective(model, (x, y), "mse")
    options: dict[str, Any] = {"criterion": "rise", "metric": "identity", "directions": 60}
    for cap in (math.inf, 1.5):
        one, other = (
            importance_volume(
                objective,
                [0.5],
                proposal={"weight": size * x.square().mean(0, keepdim=True)},
                max_radius=cap,
                **options,
            )
            for size in (1.0, 1e-9)
        )
        np.testing.assert_allclose(one.log_weights, other.log_weights, rtol=1e-6)


def trained(named: bool, groups: bool = False) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    given: Any = list(model.named_parameters()) if named else list(model.parameters())
    if groups:  # weights and biases apart, as for weight decay
        given = [{"params": given[::2]}, {"params": given[1::2], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(given)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(8, 3)).square().sum().backward()
        optimiser.step()
    return model, optimiser


@pytest.mark.parametrize(("named", "groups"), [(False, False), (True, False), (True, True)])
def test_adam_moments_are_found_by_name_or_order(tmp_path: Path, named: bool, groups: bool) -> None:
    model, optimiser = trained(named, groups)
    torch.save({"model": model.state_dict(), "optimizers": [optimiser.state_dict()]}, tmp_path / "both.pt")
    torch.save(optimiser.state_dict(), tmp_path / "alone.pt")
    for name in ("both.pt", "alone.pt"):
        moments = ls.adam_moments(tmp_path / name, model)
        assert set(moments) == {"0.weight", "0.bias", "2.weight", "2.bias"}
        for key, parameter in model.named_parameters():
            assert torch.equal(moments[key], optimiser.state[parameter]["exp_avg_sq"])


def test_adam_moments_that_are_absent_or_of_another_model(tmp_path: Path) -> None:
    model, optimiser = trained(named=False, groups=True)  # groups without names, in another order than the model's
    torch.save({"optimizer": optimiser.state_dict()}, tmp_path / "groups.pt")
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pt")
    np.save(tmp_path / "array.npy", np.ones(3))
    for name, words in (
        ("groups.pt", ["do not fit this model", "named_parameters"]),
        ("weights.pt", ["exp_avg_sq", "optimizer.state_dict()"]),
        ("array.npy", ["only files written by torch.save"]),
        ("nothing.pt", ["does not exist"]),
    ):
        with pytest.raises(ls.LandscapeError) as caught:
            ls.adam_moments(tmp_path / name, model)
        assert all(word in str(caught.value) for word in words), caught.value


def test_misuse_is_refused_with_what_to_type() -> None:
    model, x, y = regression()
    objective = ls.Objective(model, (x, y), "mse")
    mixed = ls.Objective(model, (x, y), lambda output, target: (output - target).square().mean())
    plain = rotated_ellipsoid(np.ones(4), 0)
    cases: list[tuple[ls.Objective, Any, str]] = [
        (plain, "squared-gradients", "plain function"),
        (mixed, "squared-gradients", "whole batch"),
        (objective, {}, "for weight there is none"),
        (objective, {"weight": torch.ones(3)}, "shape .3,."),
        (objective, {"weight": -torch.ones(1, 6)}, "not negative"),
    ]
    for given, proposal, words in cases:
        with pytest.raises(ls.LandscapeError, match=words):
            importance_volume(given, [0.1], criterion="rise", metric="identity", proposal=proposal, directions=10)
