"""The axes of slices: known faults of other tools, and directions through several checkpoints."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from helpers.bodies import steps_of
from helpers.nets import ConvNet, mlp
from landscape.errors import ObjectiveError
from landscape.rays import make_metric
from landscape.slices.axes import Axes, make_axes


def conv_objective(scope: str = "all") -> ls.Objective:
    torch.manual_seed(0)
    return ls.Objective(ConvNet(), (torch.randn(8, 3, 4, 4), torch.randint(10, (8,))), scope=scope)


def net_objective(model: nn.Module, scope: str = "all") -> ls.Objective:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, 2, generator=generator)
    return ls.Objective(model, (inputs, (inputs.sum(1) > 0).long()), scope=scope)


def nets(count: int) -> list[nn.Module]:
    torch.manual_seed(3)
    return [mlp(hidden=5) for _ in range(count)]


@pytest.mark.parametrize("name", ["random", "li2018"])
def test_directions_are_not_all_positive(name: str) -> None:
    axes = make_axes(conv_objective(), name, 2)
    moving = axes.vectors[axes.vectors != 0]
    positive = int((moving > 0).sum())
    z = (positive - len(moving) / 2) / math.sqrt(len(moving) / 4)
    assert abs(z) < 4
    assert len(moving) == 2 * axes.dimension


def test_random_directions_are_those_of_the_radii() -> None:
    objective = conv_objective("weights")
    for metric in ("filter", "layer", "identity"):
        assert torch.equal(
            make_axes(objective, "random", 2, metric=metric, seed=7).vectors, steps_of(objective, metric, 7, 2)
        )


def test_li2018_moves_each_filter_by_its_norm_and_nothing_else() -> None:
    objective = conv_objective()
    axes = make_axes(objective, "li2018", 2, seed=4)
    for step in axes.vectors:
        views, weights = objective.layout.views(step), objective.layout.views(objective.theta)
        for name, view in views.items():
            if view.dim() < 2:  # biases and normalisation: other tools scale them as if each entry were a filter
                assert not view.any(), name
            else:
                torch.testing.assert_close(view.flatten(1).norm(dim=1), weights[name].flatten(1).norm(dim=1))
    assert axes.dimension == sum(e.size for e in objective.layout.entries if len(e.shape) > 1)
    assert not torch.equal(axes.vectors, make_axes(objective, "li2018", 2, seed=5).vectors)
    assert torch.equal(axes.vectors[:1], make_axes(objective, "li2018", 1, seed=4).vectors)


def test_li2018_leaves_dead_filters_and_the_scope_alone() -> None:
    torch.manual_seed(0)
    model = ConvNet()
    nn.init.zeros_(model.conv.weight[1])
    objective = ls.Objective(model, (torch.randn(8, 3, 4, 4), torch.randint(10, (8,))), scope="conv")
    axes = make_axes(objective, "li2018", 1)
    views = objective.layout.views(axes.vectors[0])
    assert not views["conv.weight"][1].any()
    assert not views["fc.weight"].any()
    assert bool(views["conv.weight"][0].any())
    assert axes.dimension == model.conv.weight[0].numel() * 3


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_orthogonal_random_directions_are_so_in_the_metric(metric: str) -> None:
    objective = conv_objective("weights")
    scale = make_metric(metric, objective.theta, objective.scope).scale
    scale = torch.ones(1) if scale is None else scale
    phi = objective.scope.gather(make_axes(objective, "random", 2, metric=metric, orthogonal=True).vectors) / scale
    torch.testing.assert_close((phi @ phi.T).double(), torch.eye(2).double(), atol=1e-6, rtol=0)
    free = objective.scope.gather(make_axes(objective, "random", 2, metric=metric).vectors) / scale
    torch.testing.assert_close(free[0], phi[0])
    assert abs(float(free[0] @ free[1])) > 1e-4


def test_orthogonal_li2018_directions_are_so_within_each_filter() -> None:
    objective = conv_objective()
    first, second = make_axes(objective, "li2018", 2, orthogonal=True).vectors
    for name in ("conv.weight", "fc.weight"):
        u, v, w = (objective.layout.views(x)[name].flatten(1) for x in (first, second, objective.theta))
        torch.testing.assert_close((u * v).sum(1) / w.square().sum(1), torch.zeros(len(u)), atol=1e-6, rtol=0)
        torch.testing.assert_close(v.norm(dim=1), w.norm(dim=1))


def test_toward_runs_from_this_net_to_the_other() -> None:
    one, other = nets(2)
    objective, there = net_objective(one), net_objective(other)
    for given in (other, there.theta):
        line = ls.slice_1d(objective, direction="toward", other=given, steps=10)
        assert (line.x[0], line.x[-1]) == (0.0, 1.0)
        assert line.loss[0] == objective.centre
        assert line.loss[-1] == pytest.approx(there.centre, rel=1e-5)
        assert line.accuracy[-1] == there.accuracy()
        assert line.points.tolist() == [0.0, 1.0]
    assert line.length == pytest.approx(float((there.theta - objective.theta).norm()), rel=1e-6)


@pytest.mark.parametrize("steps", [4, 7, 50, 51])
@pytest.mark.parametrize("span", [1.0, 1.01, 1.3, 2.0, 50.0])
def test_overshooting_keeps_both_nets_on_the_grid(steps: int, span: float) -> None:
    one, other = nets(2)
    line = ls.slice_1d(net_objective(one), direction="toward", other=other, steps=steps, span=span)
    assert len(line.x) == steps
    assert {0.0, 1.0} <= set(line.x)
    assert (np.diff(line.x) > 0).all()
    assert line.x[0] == pytest.approx(1 - line.x[-1], abs=1e-12)
    if span <= 2:
        step = line.x[1] - line.x[0]
        assert abs(line.x[-1] - span) <= step


@pytest.mark.parametrize("orthogonal", [False, True])
def test_the_plane_through_three_nets(orthogonal: bool) -> None:
    models = nets(3)
    objectives = [net_objective(model) for model in models]
    axes = make_axes(objectives[0], "toward", 2, others=models[1:], orthogonal=orthogonal)
    for objective, point in zip(objectives, axes.points, strict=True):
        moved = objectives[0].theta + torch.from_numpy(point).float() @ axes.vectors
        torch.testing.assert_close(moved, objective.theta, atol=1e-5, rtol=0)
    assert (abs(axes.cosine) < 1e-6) == orthogonal
    plane = ls.slice_2d(objectives[0], directions="toward", others=models[1:], orthogonal=orthogonal, steps=8)
    covers(plane.x, axes.points[:, 0])
    covers(plane.y, axes.points[:, 1])
    i, j = int(np.flatnonzero(plane.y == 0)[0]), int(np.flatnonzero(plane.x == 0)[0])
    assert plane.loss[i, j] == objectives[0].centre
    assert plane.off_plane.tolist() == [0, 0, 0]


def covers(grid: np.ndarray, points: np.ndarray) -> None:
    """The grid covers the points with room on either side, and 0 is one of its points."""
    step = grid[1] - grid[0]
    assert 0.0 in grid
    assert grid[0] < points.min() - step / 2
    assert grid[-1] > points.max() + step / 2
    assert grid[-1] - grid[0] == pytest.approx(1.4 * np.ptp(points))


def trajectory(objective: ls.Objective, count: int, noise: float) -> tuple[list[torch.Tensor], np.ndarray]:
    """Checkpoints on a bent path that ends at the trained point, and the two directions that it lies in."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(objective.layout.size, 2)))
    t = np.linspace(1, 0, count)[:, None]
    path = np.hstack([3 * t, 0.7 * t * (1 - t) * 4]) @ basis.T + noise * t * rng.normal(size=(count, len(basis)))
    return [objective.theta + torch.from_numpy(row).to(objective.theta) for row in path], basis


def test_pca_finds_the_plane_of_a_trajectory() -> None:
    (model,) = nets(1)
    objective = net_objective(model.double())
    thetas, basis = trajectory(objective, 9, noise=0.0)
    axes = make_axes(objective, "pca", 2, others=thetas[:-1])
    vectors = axes.vectors.numpy()
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(2), atol=1e-10)
    np.testing.assert_allclose(vectors @ basis @ basis.T, vectors, atol=1e-7)
    assert axes.explained.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(axes.off_plane, 0, atol=1e-7)
    assert axes.points.shape == (9, 2)
    np.testing.assert_array_equal(axes.points[-1], 0)
    assert (axes.points[0] > 0).all()
    with_last = make_axes(objective, "pca", 2, others=thetas)
    np.testing.assert_allclose(with_last.points, axes.points, atol=1e-12)


def test_pca_against_a_singular_value_decomposition() -> None:
    (model,) = nets(1)
    objective = net_objective(model)
    thetas, _ = trajectory(objective, 7, noise=0.2)
    axes = make_axes(objective, "pca", 2, others=thetas)
    rows = torch.stack(thetas).double().numpy()
    moved = rows - rows[-1]
    _, singular, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(axes.explained, singular[:2] ** 2 / (singular**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(np.abs(axes.vectors.double().numpy() @ right[:2].T), np.eye(2), atol=1e-4)
    np.testing.assert_allclose(np.abs(axes.points), np.abs(moved @ right[:2].T), atol=1e-4)
    rest = moved - moved @ right[:2].T @ right[:2]
    np.testing.assert_allclose(axes.off_plane, np.linalg.norm(rest, axis=1), atol=1e-4)
    plane = ls.slice_2d(objective, directions="pca", others=thetas, steps=11)
    covers(plane.x, plane.points[:, 0])
    covers(plane.y, plane.points[:, 1])
    assert plane.explained.tolist() == axes.explained.tolist()


def test_vectors_of_your_own() -> None:
    objective = conv_objective()
    u, v = torch.randn(2, objective.layout.size)
    axes = make_axes(objective, (u, v), 2)
    assert torch.equal(axes.vectors, torch.stack([u, v]))
    orthogonal = make_axes(objective, torch.stack([u, v]), 2, orthogonal=True)
    assert abs(orthogonal.cosine) < 1e-6
    line = ls.slice_1d(objective, direction=u, steps=3)
    assert line.direction == "given"
    with pytest.raises(ls.LandscapeError, match="given: stored"):
        ls.slice_1d(objective, direction=v, steps=3, resume=line)


def other_architecture() -> list[Any]:
    return [mlp(hidden=6)]


@pytest.mark.parametrize(
    ("choice", "count", "others", "message"),
    [
        ("toward", 1, lambda: [], "joins this checkpoint and one other; 0 others given. Pass 1"),
        ("toward", 2, lambda: nets(1), "two others; 1 others given. Pass 2"),
        ("toward", 1, other_architecture, r"0.weight has shape \(6, 2\), and this one has \(5, 2\)"),
        ("toward", 1, lambda: [nn.Linear(2, 3)], "0.weight does not exist, and this one has"),
        ("toward", 1, lambda: [torch.zeros(4)], r"it has shape \(4,\)"),
        ("toward", 1, lambda: nets(1), "holds the same weights as this one"),
        ("toward", 2, lambda: [nets(2)[1], nets(2)[1]], "lie on one line"),
        ("toward", 1, lambda: [broken()], "NaN or infinite"),
        ("pca", 2, lambda: nets(2)[1:], "at least 3 checkpoints of one training run, this one included, not 2"),
        ("pca", 1, lambda: nets(3), "Use `slice_2d`"),
        ("pca", 2, lambda: [nets(2)[1]] * 3, "lie on one line"),
        ("random", 1, lambda: nets(1), "uses none"),
    ],
)
def test_checkpoints_that_do_not_fit(choice: str, count: int, others: Any, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        make_axes(net_objective(nets(1)[0]), choice, count, others=others())


def broken() -> nn.Module:
    model = copy.deepcopy(nets(1)[0])
    nn.init.constant_(model[0].weight, math.nan)
    return model


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.zeros(1, 33), "is zero"),
        (torch.full((1, 33), math.inf), "NaN or infinite"),
        (torch.ones(1, 5), "must have shape"),
        (torch.ones(2, 33), "must have shape"),
    ],
)
def test_vectors_that_do_not_fit(vectors: torch.Tensor, message: str) -> None:
    objective = net_objective(nets(1)[0])
    assert objective.layout.size == 33
    with pytest.raises(ObjectiveError, match=message):
        make_axes(objective, vectors, 1)


def test_a_path_out_of_the_scope_is_refused() -> None:
    one, other = nets(2)
    objective = net_objective(one, scope="weights")
    with pytest.raises(ObjectiveError, match=r"also moves 0.bias, outside the scope 'weights'.*\n.*`scope='all'`"):
        ls.slice_1d(objective, direction="toward", other=other)


def test_a_span_that_does_not_reach() -> None:
    one, *others = nets(3)
    with pytest.raises(ObjectiveError, match="would not reach"):
        ls.slice_1d(net_objective(one), direction="toward", other=others[0], span=0.5)
    with pytest.raises(ObjectiveError, match="out of the picture"):
        ls.slice_2d(net_objective(one), directions="toward", others=others, span=0.1)


def test_li2018_without_filters() -> None:
    with pytest.raises(ObjectiveError, match="li2018 moves the filters"):
        make_axes(conv_objective("bias"), "li2018", 1)


def test_a_plane_needs_two_entries() -> None:
    objective = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.ones(1, dtype=torch.float64))
    with pytest.raises(ObjectiveError, match="only one entry"):
        make_axes(objective, "random", 2, orthogonal=True)


def test_batchnorm_of_two_nets_is_noted() -> None:
    torch.manual_seed(1)
    other = ConvNet()
    line = ls.slice_1d(conv_objective(), direction="toward", other=other, steps=3)
    assert "BatchNorm uses" in line.notes[0]
    assert "note: BatchNorm" in str(line)
    assert ls.slice_1d(conv_objective(), direction="toward", other=other, steps=3, recalibrate_bn=True).notes == ()


def test_lengths_and_cosine() -> None:
    vectors = torch.tensor([[3.0, 0.0], [4.0, 4.0]])
    axes = Axes("given", vectors, 2, {}, np.zeros((0, 2)))
    np.testing.assert_allclose(axes.lengths, [3, math.sqrt(32)])
    assert axes.cosine == pytest.approx(math.sqrt(0.5))
