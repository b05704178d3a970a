"""Slices against closed forms and plain loops, and what a slice promises: its centre, chunks, resume, errors."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn import functional as F

import landscape as ls
from helpers.bodies import ellipsoid
from helpers.moments import some
from helpers.nets import ConvNet, mlp
from helpers.stores import assert_same_arrays
from landscape.errors import ObjectiveError
from landscape.objective import Layout
from landscape.results import Progress
from landscape.slices.axes import make_axes

DIRECTIONS = ("random", "li2018")


def trained(hidden: int = 8, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    model = mlp(hidden=hidden).to(dtype)
    inputs = torch.randn(37, 2, dtype=dtype)
    targets = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0.5).long()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(30):
        optimiser.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return model, (inputs, targets)


def plain_values(model: nn.Module, data: tuple[torch.Tensor, ...], theta: torch.Tensor) -> tuple[float, float]:
    """Loss and accuracy with the weights of one flat vector, without any of the library's evaluation."""
    parameters, start = {}, 0
    for name, parameter in model.named_parameters():
        parameters[name] = theta[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    with torch.no_grad():
        output = functional_call(model, parameters, (data[0],))
    return float(F.cross_entropy(output, data[1])), float((output.argmax(1) == data[1]).double().mean())


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_a_quadratic(metric: str) -> None:
    rng = np.random.default_rng(0)
    layout = Layout.from_shapes({"first": (4, 3), "bias": (4,), "second": (2, 4)})
    h, m = np.exp(rng.normal(size=24)), rng.normal(size=24)
    objective = ellipsoid(h, m, layout)
    u, v = make_axes(objective, "random", 2, metric=metric, seed=5).vectors.numpy()
    line = ls.slice_1d(objective, metric=metric, seed=5, steps=9, span=2.0, curvature=True)
    np.testing.assert_allclose(line.x, np.linspace(-2, 2, 9), atol=1e-15)
    np.testing.assert_allclose(line.loss, 0.5 * line.x**2 * ((u * h) @ u), rtol=1e-12, atol=1e-30)
    np.testing.assert_allclose(line.curvature, (u * h) @ u, rtol=1e-12)
    assert line.length == pytest.approx(np.linalg.norm(u))
    plane = ls.slice_2d(objective, metric=metric, seed=5, steps=5, span=1.5)
    steps = plane.x[None, :, None] * u + plane.y[:, None, None] * v
    np.testing.assert_allclose(plane.loss, 0.5 * (steps**2) @ h, rtol=1e-12, atol=1e-30)
    np.testing.assert_allclose(plane.lengths, [np.linalg.norm(u), np.linalg.norm(v)])
    assert plane.cosine == pytest.approx(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    assert np.isnan(plane.accuracy).all()
    assert np.isnan(line.accuracy).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_against_a_plain_loop(direction: str) -> None:
    """Neither inverted nor transposed, every point where it says it is, and the accuracy too."""
    model, data = trained()
    objective = ls.Objective(model, data, batch_size=10)
    u, v = make_axes(objective, direction, 2, seed=1).vectors
    line = ls.slice_1d(objective, direction=direction, seed=1, steps=7, span=3.0)
    found = [plain_values(model, data, objective.theta + x * u) for x in line.x]
    np.testing.assert_allclose(line.loss, [loss for loss, _ in found], rtol=1e-5)
    np.testing.assert_allclose(line.accuracy, [accuracy for _, accuracy in found], rtol=1e-12)
    assert abs(line.loss[0] - line.loss[-1]) > 0.01, "a loss that is even in x would not show an inverted span"
    plane = ls.slice_2d(objective, directions=direction, seed=1, steps=5, span=3.0)
    for i, y in enumerate(plane.y):
        for j, x in enumerate(plane.x):
            loss, accuracy = plain_values(model, data, objective.theta + x * u + y * v)
            assert plane.loss[i, j] == pytest.approx(loss, rel=1e-5)
            assert plane.accuracy[i, j] == pytest.approx(accuracy, rel=1e-12)
    assert np.abs(plane.loss - plane.loss.T).max() > 0.01, "a symmetric plane would not show swapped axes"
    np.testing.assert_allclose(
        plane.loss[2], ls.slice_1d(objective, direction=direction, seed=1, steps=5, span=3.0).loss
    )


@pytest.mark.parametrize("span", [1.0, 0.3, 7.0, 1 / 3])
@pytest.mark.parametrize("steps", [3, 11, 51])
def test_the_centre_is_a_point_of_every_grid(span: float, steps: int) -> None:
    model, data = trained()
    objective = ls.Objective(model, data, batch_size=10)
    line = ls.slice_1d(objective, steps=steps, span=span)
    assert line.x[steps // 2] == 0
    assert (line.x[0], line.x[-1]) == (-span, span)
    assert (np.diff(line.x) > 0).all()
    assert line.loss[steps // 2] == objective.centre == line.centre
    assert line.accuracy[steps // 2] == objective.accuracy()
    plane = ls.slice_2d(objective, steps=3, span=span)
    assert plane.x[1] == plane.y[1] == 0
    assert plane.loss[1, 1] == objective.centre


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_any_chunk_size_gives_the_same_numbers(lanes: int) -> None:
    model, data = trained()
    whole, small = ls.Objective(model, data), ls.Objective(model, data)
    small.plan = dataclasses.replace(small.plan, lanes=lanes)
    assert whole.plan.lanes > 5
    for measure in (ls.slice_1d, ls.slice_2d):
        one, two = measure(whole, steps=7, span=2.0), measure(small, steps=7, span=2.0)
        np.testing.assert_allclose(one.loss, two.loss, rtol=1e-6)
        np.testing.assert_array_equal(one.accuracy, two.accuracy)


def test_curvature_against_a_dense_hessian() -> None:
    model, (inputs, targets) = trained(hidden=4, dtype=torch.float64)
    objective = ls.Objective(model, (inputs, targets), batch_size=11, scope="all")
    step = make_axes(objective, "random", 1, seed=2).vectors[0]

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(functional_call(model, objective.layout.views(theta), (inputs,)), targets)

    line = ls.slice_1d(objective, seed=2, steps=5, span=1.0, curvature=True)
    dense = [float(step @ hessian(loss)(objective.theta + x * step) @ step) for x in line.x]
    np.testing.assert_allclose(line.curvature, dense, rtol=1e-10)
    without = ls.slice_1d(objective, seed=2, steps=5, span=1.0)
    np.testing.assert_array_equal(line.loss, without.loss)
    assert np.isnan(without.curvature).all()


def test_curvature_of_a_straight_loss_is_zero() -> None:
    slope = ls.Objective.from_function(lambda x: x.sum(-1), torch.zeros(3, dtype=torch.float64))
    assert (ls.slice_1d(slope, metric="identity", steps=3, curvature=True).curvature == 0).all()


def test_nan_and_infinity_stay_what_they_are(tmp_path: Any) -> None:
    def walled(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        return torch.where(r > 2, torch.nan, torch.where(r > 1, torch.inf, r))

    objective = ls.Objective.from_function(walled, torch.zeros(4, dtype=torch.float64))
    line = ls.slice_1d(objective, metric="identity", steps=7, span=3.0)
    assert np.isnan(line.loss[[0, 6]]).all()
    assert np.isinf(line.loss[[1, 5]]).all()
    assert line.done.all()
    plane = ls.slice_2d(objective, metric="identity", steps=7, span=3.0)
    assert np.isnan(plane.loss[0, 0])
    with ls.Store(tmp_path / "run.h5", write=True) as store:
        store["line"], store["plane"] = line, plane
    for name, before in (("line", line), ("plane", plane)):
        after = ls.Store(tmp_path / "run.h5")[name]
        for key, array in before.arrays().items():
            np.testing.assert_array_equal(after.arrays()[key], array)
        assert repr(after.attributes()) == repr(before.attributes())
        assert after.notes == before.notes


def test_a_net_that_computes_nan_has_no_accuracy() -> None:
    model, (inputs, targets) = trained()
    objective = ls.Objective(model, (inputs, targets))
    line = ls.slice_1d(objective, direction=torch.full_like(objective.theta, 1e38) * _weights(objective), steps=3)
    assert np.isnan(line.loss[[0, 2]]).all()
    assert np.isnan(line.accuracy[[0, 2]]).all()
    assert line.accuracy[1] == objective.accuracy()


def _weights(objective: ls.Objective) -> torch.Tensor:
    """1 in scope, 0 outside."""
    inside = torch.zeros_like(objective.theta)
    return objective.scope.scatter(torch.ones(objective.dimension), inside)


MEASURES: dict[str, Callable[..., Any]] = {
    "line": lambda objective, **more: ls.slice_1d(objective, steps=11, curvature=True, **more),
    "plane": lambda objective, **more: ls.slice_2d(objective, steps=7, directions="li2018", **more),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("lanes", [1, 4, 20])
def test_an_interrupted_slice_continues_to_the_same_bits(name: str, lanes: int) -> None:
    model, data = trained()
    objective = ls.Objective(model, data, batch_size=10)
    objective.plan = dataclasses.replace(objective.plan, lanes=lanes)
    measure = MEASURES[name]
    partial: list[Any] = []
    whole = measure(objective, on_progress=lambda progress: partial.append(progress.snapshot()))
    assert partial[-1].done.all()
    assert [part.done.sum() for part in partial] == sorted({part.done.sum() for part in partial})
    for part in partial:
        assert np.isnan(part.loss[~part.done]).all()
    for part in (partial[at] for at in some(len(partial))):
        again = measure(objective, resume=part)
        assert_same_arrays(again, whole)
        assert again.cost.evaluations == whole.cost.evaluations
    finished = measure(objective, resume=whole, on_progress=lambda _: pytest.fail("there was nothing to measure"))
    assert finished.loss.tobytes() == whole.loss.tobytes()


def test_progress_counts_points() -> None:
    model, data = trained()
    seen: list[Progress[Any]] = []
    ls.slice_2d(ls.Objective(model, data), steps=5, on_progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (25, 25)


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", 1), ("span", 2.0), ("steps", 9), ("metric", "layer"), ("direction", "li2018"), ("curvature", True)],
)
def test_a_slice_of_other_settings_is_not_continued(option: str, value: Any) -> None:
    model, data = trained()
    objective = ls.Objective(model, data)
    past = ls.slice_1d(objective, steps=7)
    with pytest.raises(ls.LandscapeError, match=f"{option if option != 'direction' else 'directions'}: stored"):
        ls.slice_1d(objective, **{"steps": 7, option: value, "resume": past})
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    with pytest.raises(ls.LandscapeError, match="theta_hash"):
        ls.slice_1d(ls.Objective(model, data), steps=7, resume=past)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recalibrate_bn", [True, False])
def test_the_callers_model_is_untouched(training: bool, recalibrate_bn: bool) -> None:
    torch.manual_seed(1)
    model = ConvNet().train(training)
    data = (torch.randn(12, 3, 4, 4), torch.randint(10, (12,)))
    model(data[0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    identities = [id(tensor) for tensor in model.state_dict(keep_vars=True).values()]
    flags = [(m.training, getattr(m, "track_running_stats", None)) for m in model.modules()]
    hooks = [len(m._forward_pre_hooks) for m in model.modules()]
    state = torch.get_rng_state()
    objective = ls.Objective(model, data, batch_size=5)
    ls.slice_1d(objective, steps=5, curvature=not recalibrate_bn, recalibrate_bn=recalibrate_bn)
    ls.slice_2d(objective, steps=3, recalibrate_bn=recalibrate_bn)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert [id(tensor) for tensor in model.state_dict(keep_vars=True).values()] == identities
    assert [(m.training, getattr(m, "track_running_stats", None)) for m in model.modules()] == flags
    assert [len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_batchnorm_is_frozen_or_recalibrated() -> None:
    torch.manual_seed(2)
    model = ConvNet()
    data = (2 * torch.randn(24, 3, 4, 4) + 1, torch.randint(10, (24,)))
    objective = ls.Objective(model, data, batch_size=6)
    (step,) = make_axes(objective, "random", 1).vectors
    frozen = ls.slice_1d(objective, steps=3, span=1.0)
    anew = ls.slice_1d(objective, steps=3, span=1.0, recalibrate_bn=True)
    for i, x in enumerate(frozen.x):
        moved = copy.deepcopy(model).eval()
        with torch.no_grad():
            for name, view in objective.layout.views(objective.theta + x * step).items():
                moved.get_parameter(name).copy_(view)
            assert frozen.loss[i] == pytest.approx(float(F.cross_entropy(moved(data[0]), data[1])), rel=1e-5)
            torch.optim.swa_utils.update_bn(data[0].split(6), moved)
            moved.eval()
            expected = float(F.cross_entropy(moved(data[0]), data[1]))
        assert anew.loss[i] == pytest.approx(expected, rel=1e-5)
        assert anew.loss[i] != pytest.approx(frozen.loss[i], rel=1e-3)
    assert anew.cost.evaluations == 2 * frozen.cost.evaluations


def test_recalibration_leaves_the_objective_as_it_was() -> None:
    torch.manual_seed(2)
    objective = ls.Objective(ConvNet(), (torch.randn(24, 3, 4, 4) + 1, torch.randint(10, (24,))), batch_size=6)
    first = ls.slice_1d(objective, steps=3).loss
    ls.slice_1d(objective, steps=3, recalibrate_bn=True)
    np.testing.assert_array_equal(ls.slice_1d(objective, steps=3).loss, first)


def test_recalibration_weighs_a_ragged_batch_by_its_size() -> None:
    from landscape.objective.batchnorm import Recalibration

    torch.manual_seed(3)
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    inputs = torch.randn(7, 2) + torch.arange(7.0)[:, None]
    objective = ls.Objective(model, (inputs, torch.zeros(7, dtype=torch.long)), batch_size=5)
    sizes = [batch.samples for batch in objective.program.batches]
    assert sizes == [5, 2]
    with objective.running():
        mean, variance, _ = Recalibration(objective.program).at(objective.theta).constants
    parts = inputs.split(sizes)
    expected = sum(len(part) * part.var(0) for part in parts) / 7
    torch.testing.assert_close(mean, inputs.mean(0))
    torch.testing.assert_close(variance, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": 0.0}, "span = 0"),
        ({"span": -1.0}, "span = -1"),
        ({"span": math.nan}, "span = nan"),
        ({"steps": 50}, "Pass `steps=51`"),
        ({"steps": 1}, "at least 3"),
        ({"direction": "sideways"}, "'sideways' is not known. Pass one of random, li2018, hessian, toward, pca"),
        ({"metric": "hull"}, "metric 'hull' is not known"),
        ({"seed": -1}, "seed"),
        ({"recalibrate_bn": True}, "no BatchNorm layer"),
        ({"curvature": True, "recalibrate_bn": True}, "do not go together"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    model, data = trained()
    with pytest.raises(ObjectiveError, match=message):
        ls.slice_1d(ls.Objective(model, data), **options)


def test_curvature_of_a_loss_without_derivatives_is_refused() -> None:
    model, data = trained()
    objective = ls.Objective(model, data, lambda output, target: (output.argmax(1) != target).float())
    with pytest.raises(ObjectiveError, match="not differentiable"):
        ls.slice_1d(objective, steps=3, curvature=True)


def test_recalibration_refuses_a_batch_of_one_and_training_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    data = (torch.randn(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ObjectiveError, match=r"`batch_size=\.\.\.`"):
        ls.slice_1d(ls.Objective(model, data, batch_size=1), steps=3, recalibrate_bn=True)
    with pytest.raises(ObjectiveError, match="training mode"):
        ls.slice_1d(ls.Objective(model, data, training=True), steps=3, recalibrate_bn=True)


def test_a_slice_prints_itself() -> None:
    model, data = trained()
    objective = ls.Objective(model, data)
    line, plane = ls.slice_1d(objective, steps=51), ls.slice_2d(objective, steps=5)
    assert f"{objective.centre:.6g}" in str(line)
    assert len(str(line).splitlines()) < 15
    assert "5 x 5: 5 rows" in str(plane)
    assert line.to_dict()["curvature"] == [None] * 51
