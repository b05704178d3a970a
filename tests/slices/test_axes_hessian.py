"""Slices along eigenvectors of the Hessian: against quadratics of known eigenvectors, and dense matrices."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.curvature import top_eigenpairs
from landscape.errors import CurvatureError, ObjectiveError
from landscape.objective import Layout
from landscape.plots import figures_of
from landscape.rays import METRICS, make_metric
from landscape.slices import axes as axes_module
from landscape.slices.axes import make_axes

VALUES = np.array([7.0, 4.0, 2.5, 1.0, 1.0, 0.3, 0.0, 0.0, -0.5, -1.0, 0.2, 0.1])
SHAPES = {"weight": (3, 3), "bias": (3,)}


def quadratic(scope: str = "all") -> tuple[ls.Objective, np.ndarray, np.ndarray]:
    """A bowl around theta: 1/2 (x - theta)' Q diag(VALUES) Q' (x - theta) + 5, with Q and the whole matrix."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    matrix = torch.from_numpy(q * VALUES @ q.T)
    theta = torch.from_numpy(rng.normal(size=12))

    def bowl(x: Tensor) -> Tensor:
        away = x - theta
        return 5 + 0.5 * ((away @ matrix) * away).sum(-1)

    layout = Layout.from_shapes(SHAPES, torch.float64)
    return ls.Objective.from_function(bowl, theta, layout=layout, scope=scope), q, matrix.numpy()


def net(dtype: torch.dtype = torch.float64) -> ls.Objective:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)).to(dtype)
    inputs = torch.randn(40, 1, 4, 4, dtype=dtype)
    return ls.Objective(model, (inputs, torch.randint(3, (40,))), "cross_entropy", scope="weights")


def test_the_axes_are_the_known_eigenvectors() -> None:
    objective, q, _ = quadratic()
    axes = make_axes(objective, "hessian", 2, metric="identity")
    np.testing.assert_allclose(np.abs(axes.vectors.numpy() @ q[:, :2]), np.eye(2), atol=1e-4)
    np.testing.assert_allclose(axes.lengths, 1)
    assert abs(axes.cosine) < 1e-9
    np.testing.assert_allclose(axes.settings["eigenvalues"], VALUES[:2], rtol=1e-6)
    assert axes.settings["converged"] == [True, True]


def test_the_loss_rises_by_half_the_eigenvalue_times_x_squared() -> None:
    objective, _, _ = quadratic()
    line = ls.slice_1d(objective, direction="hessian", metric="identity", steps=5, span=2.0, curvature=True)
    np.testing.assert_allclose(line.loss, 5 + 0.5 * 7.0 * line.x**2)
    np.testing.assert_allclose(line.curvature, 7.0)
    plane = ls.slice_2d(objective, directions="hessian", metric="identity", steps=5, span=2.0)
    x, y = np.meshgrid(plane.x, plane.y)
    np.testing.assert_allclose(plane.loss, 5 + 0.5 * (7.0 * x**2 + 4.0 * y**2), rtol=1e-6)
    assert (line.direction, plane.directions) == ("hessian", "hessian")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scope", ["all", "weight"])
def test_in_a_metric_they_are_those_of_the_scaled_matrix(metric: str, scope: str) -> None:
    """The step of x = 1 is S v with v a unit vector: the length of every other direction."""
    objective, _, matrix = quadratic(scope)
    axes = make_axes(objective, "hessian", 2, metric=metric)
    made = make_metric(metric, objective.theta, objective.scope)
    n = made.scope.size
    scale = np.ones(n) if made.scale is None else made.scale.numpy()
    values, vectors = np.linalg.eigh(scale[:, None] * matrix[:n, :n] * scale)
    np.testing.assert_allclose(axes.settings["eigenvalues"], values[:-3:-1], rtol=1e-6)
    inside = axes.vectors[:, :n].numpy() / scale
    np.testing.assert_allclose(np.linalg.norm(inside, axis=1), 1)
    np.testing.assert_allclose(np.abs(inside @ vectors[:, :-3:-1]), np.eye(2), atol=1e-4)
    assert not axes.vectors[:, n:].any()
    assert axes.dimension == n


@pytest.mark.parametrize("metric", METRICS)
def test_on_a_net_the_second_derivative_is_the_eigenvalue(metric: str) -> None:
    objective = net()
    line = ls.slice_1d(objective, direction="hessian", metric=metric, steps=3, span=0.1, curvature=True)
    found = ls.top_eigenpairs(ls.Hessian(objective, metric=metric), 1)
    assert line.curvature[1] == pytest.approx(found.values[0], rel=1e-6)
    assert line.config["eigenvalues"] == found.values.tolist()
    assert f"in the metric: {found.values[0]:.5g} (" in line.notes[0]
    assert line.dimension == ls.Hessian(objective, metric=metric).size


def test_what_did_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axes_module, "top_eigenpairs", partial(top_eigenpairs, max_products=3))
    plane = ls.slice_2d(net(), directions="hessian", steps=3)
    assert plane.config["converged"] == [False, False]
    told = str(plane)
    assert "axis 1 did NOT converge" in told
    assert "axis 2 did NOT converge" in told
    assert "stopped at max_products = 3" in told
    drawn = figures_of(plane)["filled"].axes[0]
    assert "eigenvector 1, NOT converged" in drawn.get_xlabel()
    assert "eigenvector 2, NOT converged" in drawn.get_ylabel()
    monkeypatch.undo()
    assert "NOT" not in str(ls.slice_2d(net(), directions="hessian", steps=3))


def test_a_slice_continues_to_the_same_bits_and_only_on_its_own_axes() -> None:
    kept: list[Any] = []
    objective = net(torch.float32)
    whole = ls.slice_2d(
        objective, directions="hessian", steps=21, on_progress=lambda progress: kept.append(progress.snapshot())
    )
    assert not kept[0].done.all()
    again = ls.slice_2d(objective, directions="hessian", steps=21, resume=kept[0])
    assert again.loss.tobytes() == whole.loss.tobytes()
    for other in ({"metric": "layer"}, {"seed": 1}):
        with pytest.raises(ls.LandscapeError, match="other settings"):
            ls.slice_2d(objective, directions="hessian", steps=21, resume=kept[0], **other)


def test_what_has_no_such_axes() -> None:
    one = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.ones(1, dtype=torch.float64))
    with pytest.raises(ObjectiveError, match="only one entry is in scope"):
        make_axes(one, "hessian", 2)
    step = ls.Objective.from_function(lambda x: x.detach().square().sum(-1), torch.ones(3))
    with pytest.raises(CurvatureError, match="no curvature"):
        ls.slice_1d(step, direction="hessian")
