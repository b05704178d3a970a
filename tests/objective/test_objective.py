"""The objective against a plain forward pass of a copy of the model, for every kind of model and data."""

from __future__ import annotations

import math
from collections import UserDict
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from helpers.models import KINDS, SAMPLES, TinyLM, conv, images, mlp, moved, points_near, table, tokens, wide
from landscape.errors import ObjectiveError, TaskError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_any_model_at_any_point(kind):
    make, data = KINDS[kind]
    model, (x, y) = make().double(), wide(data())
    with torch.no_grad():
        model(x)  # so that what hooks compute from parameters can be copied
    objective = Objective(model, (x, y), batch_size=9, scope="all")
    points = points_near(objective, 7)
    expected = []
    for point in points:
        with torch.no_grad():
            output = moved(model, objective, point)(x)
        expected.append(float(F.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1))))
    assert np.ptp(expected) > 0.01  # the points are apart, so that a model that does not move would be found out
    np.testing.assert_allclose(objective.loss_at(points), expected, rtol=1e-12)
    np.testing.assert_allclose(objective.loss_at(points[:1]), expected[:1], rtol=1e-12)


def test_points_run_together_where_they_can_and_a_note_says_where_not():
    assert Objective(mlp(), table()).plan.lanes > 1
    recurrent = Objective(*(part() for part in KINDS["lstm"]))
    assert recurrent.plan.lanes == 1
    assert "one at a time" in recurrent.notes[0]
    assert "vmap" in recurrent.notes[0]


def test_a_model_that_fails_without_a_word_under_vmap_still_runs():
    class Picky(nn.Linear):
        def forward(self, x):
            if torch._C._functorch.is_batchedtensor(self.weight):
                raise NotImplementedError
            return super().forward(x)

    objective = Objective(Picky(6, 3), table())
    assert objective.plan.lanes == 1
    assert "NotImplementedError" in objective.notes[0]
    points = points_near(objective, 3)
    with objective.running():
        totals = objective.program.totals(points, 0)
    np.testing.assert_allclose(totals / SAMPLES, objective.loss_at(points), rtol=1e-12)


def test_a_model_that_gives_other_numbers_under_vmap_runs_one_point_at_a_time():
    class TwoFaced(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (1.1 if torch._C._functorch.is_batchedtensor(self.weight) else 1.0)

    model, (x, y) = TwoFaced(6, 3).double(), wide(table())
    objective = Objective(model, (x, y))
    assert objective.plan.lanes == 1
    assert "gives other numbers" in objective.notes[0]
    expected = float(F.cross_entropy(model(x).detach(), y))
    assert objective.loss_at(objective.theta.repeat(2, 1)) == pytest.approx([expected] * 2, rel=1e-12)


def test_a_block_holds_a_few_rounds_of_points():
    for kind, rounds in (("mlp", 4), ("lstm", 1)):
        plan = Objective(*(part() for part in KINDS[kind])).plan
        assert plan.block == rounds * plan.lanes


# Batches


LOSSES = {
    "cross_entropy": (3, lambda: torch.randint(0, 3, (SAMPLES,)), F.cross_entropy),
    "bce": (
        1,
        lambda: torch.randint(0, 2, (SAMPLES,)).double(),
        lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y),
    ),
    "mse": (1, lambda: torch.randn(SAMPLES).double(), lambda z, y: F.mse_loss(z[:, 0], y)),
    "mean": (3, lambda: torch.randint(0, 3, (SAMPLES,)), F.cross_entropy),
    "each": (3, lambda: torch.randint(0, 3, (SAMPLES,)), F.cross_entropy),
}
CALLABLES = {"mean": F.cross_entropy, "each": lambda z, y: F.cross_entropy(z, y, reduction="none")}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1, 7, 22, 23, 500])
def test_a_ragged_last_batch_weighs_what_it_holds(name, size):
    width, make, reference = LOSSES[name]
    model, x, y = nn.Linear(6, width).double(), torch.randn(SAMPLES, 6).double(), make()
    expected = float(reference(model(x).detach(), y))
    loss = CALLABLES.get(name, name)
    loader = DataLoader(TensorDataset(x, y), batch_size=size)
    for objective in (
        Objective(model, (x, y), loss),
        Objective(model, (x, y), loss, batch_size=size),
        Objective(model, loader, loss),
        Objective(model, loader, loss, batch_size=5),
    ):
        assert objective.centre == pytest.approx(expected, rel=1e-12)
        assert objective.samples == SAMPLES


def test_batch_size_is_kept_to():
    assert Objective(mlp(), table(), batch_size=4).batches == 6
    assert Objective(mlp(), table(), batch_size=999).batches == 1
    # a callable sees whole batches: those of the data, or of the size asked for
    x, y = table()
    sizes: list[int] = []

    def loss(output, target):
        sizes.append(len(target))
        return F.cross_entropy(output, target)

    Objective(mlp(), DataLoader(TensorDataset(x, y), batch_size=9), loss)
    assert set(sizes) == {9, 5}
    sizes.clear()
    Objective(mlp(), DataLoader(TensorDataset(x, y), batch_size=9), loss, batch_size=12)
    assert set(sizes) == {12, 11, 9 + 9 + 5 - 12}


def test_max_samples():
    x, y = table()
    objective = Objective(mlp(), (x, y), max_samples=10)
    assert objective.samples == 10
    assert objective.describe()["samples"] == 10


class Encoding(UserDict):
    """A mapping that is not a dict, as tokenizers return."""


class Named(nn.Module):
    """Called by name, returns an object; computes its own loss when given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, values, labels=None):
        logits = self.net(values)
        return SimpleNamespace(logits=logits, loss=None if labels is None else F.cross_entropy(logits, labels))


def test_batches_and_outputs_of_transformers():
    x, y = table()
    model = Named()
    expected = F.cross_entropy(model.net(x), y).item()
    for make in (dict, Encoding):
        batches = [make(values=a, labels=b) for a, b in zip(x.split(10), y.split(10), strict=True)]
        assert Objective(model, batches).centre == pytest.approx(expected, rel=1e-6)
        assert Objective(model, batches, "model").centre == pytest.approx(expected, rel=1e-6)
        assert Objective(model, make(values=x, labels=y), "model").centre == pytest.approx(expected, rel=1e-6)
        assert Objective(model, batches, batch_size=7).batches == 4
    # a tuple's target reaches a model that is asked for its own loss
    assert Objective(model, (x, y), "model").centre == pytest.approx(expected, rel=1e-6)


def test_forward_and_loss_take_any_batch():
    class Graph:
        def __init__(self, x, y):
            self.nodes, self.truth = x, y

    x, y = table()
    model = mlp()
    objective = Objective(
        model,
        [Graph(a, b) for a, b in zip(x.split(10), y.split(10), strict=True)],
        lambda output, batch: F.cross_entropy(output, batch.truth),
        forward=lambda net, batch: net(batch.nodes),
    )
    assert objective.centre == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-6)
    assert objective.samples == SAMPLES
    point = points_near(objective, 1)
    expected = float(F.cross_entropy(moved(model, objective, point[0])(x), y))
    assert objective.loss_at(point)[0] == pytest.approx(expected, rel=1e-6)


# What depends on the mode


def test_batch_norm_uses_running_statistics_unless_training():
    model, (x, y) = conv().double(), wide(images())
    model(x)  # the running statistics are not the initial ones
    model.eval()
    with torch.no_grad():
        quiet = float(F.cross_entropy(model(x), y))
        model[1].train()
        statistics = deepcopy(model[1].state_dict())
        loud = float(F.cross_entropy(model(x), y))
        model[1].load_state_dict(statistics)
    model[3].p = 0.0
    assert abs(loud - quiet) > 1e-3
    for mode in (True, False):
        model.train(mode)
        assert Objective(model, (x, y), batch_size=5).centre == pytest.approx(quiet, rel=1e-12)
        training = Objective(model, (x, y), training=True)
        assert training.centre == pytest.approx(loud, rel=1e-12)
        assert training.batches == 1  # never cut: a sample's loss depends on its neighbours
        assert training.loss_at(training.theta.repeat(3, 1)) == pytest.approx([loud] * 3, rel=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_batches_whose_samples_act_on_each_other_stay_as_they_came(training):
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=training), nn.Linear(4, 3)).double()
    x, y = wide(table())
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    with torch.no_grad():
        sums = [float(F.cross_entropy(deepcopy(model).train()(a), b, reduction="sum")) for a, b in loader]
    objective = Objective(model, loader, training=training)
    assert objective.batches == 3
    assert objective.centre == pytest.approx(sum(sums) / SAMPLES, rel=1e-12)
    assert objective.data_hash != Objective(model, (x, y), training=training).data_hash


def test_dropout_is_off_and_noise_that_is_always_on_is_refused():
    model, data = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)), table()
    model.train()
    assert Objective(model, data).centre == Objective(model.eval(), data).centre

    class Always(nn.Linear):
        def forward(self, x):
            return F.dropout(super().forward(x))

    for noisy, options in ((Always(6, 3), {}), (model, {"training": True})):
        with pytest.raises(ObjectiveError, match=r"not deterministic.*\n.*dropout.*\n?.*Leave training mode off"):
            Objective(noisy, data, **options)


def test_a_model_that_counts_its_calls_in_a_buffer_stays_the_same():
    class Ageing(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.net(x) * self.calls

    model, data = Ageing(), table()
    objective = Objective(model, data, batch_size=5)
    expected = float(F.cross_entropy(model.net(data[0]), data[1]))
    assert objective.loss_at(objective.theta.repeat(5, 1)) == pytest.approx([expected] * 5, rel=1e-6)
    assert model.calls == 0


def test_a_model_that_writes_to_its_inputs_is_refused_before_it_does_harm():
    class Clipping(nn.Linear):
        def forward(self, x):
            return super().forward(x.relu_())

    x, y = table()
    kept = x.clone()
    for data in ((x, y), {"x": x, "labels": y}, [(x, y)]):
        with pytest.raises(TaskError, match=r"writes to its inputs in place.*\n.*clone"):
            Objective(Clipping(6, 3), data)
        assert torch.equal(x, kept)
    forward = Objective(Clipping(6, 3), (x, y), forward=lambda model, batch: model(batch[0].clone()))
    assert math.isfinite(forward.centre)


def test_shuffled_data_are_noted_and_kept():
    loader = DataLoader(TensorDataset(*table()), batch_size=4, shuffle=True)
    objective = Objective(mlp(), loader)
    assert "shuffling" in objective.notes[0]
    assert objective.loss_at(objective.theta[None])[0] == pytest.approx(objective.centre, rel=1e-7)


# Precision and devices


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(dtype):
    model, (x, y) = mlp().to(dtype), table()
    objective = Objective(model, (x, y))
    assert objective.theta.dtype == torch.float32
    with torch.no_grad():
        assert objective.centre == pytest.approx(float(F.cross_entropy(model(x.to(dtype)).float(), y)), rel=1e-6)
    # every point is rounded to the model's dtype, and the loss is summed in full
    point = points_near(objective, 2)
    with torch.no_grad():
        expected = [float(F.cross_entropy(moved(model, objective, p)(x.to(dtype)).float(), y)) for p in point]
    np.testing.assert_allclose(objective.loss_at(point), expected, rtol=2e-2 if dtype == torch.bfloat16 else 3e-3)
    assert ls.basin_radii(objective, [objective.centre + 0.3], directions=4).done.all()


def test_mixed_dtypes_in_one_model():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3).to(torch.bfloat16)

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)).to(torch.bfloat16))

    model, (x, y) = Mixed(), table()
    objective = Objective(model, (x, y))
    with torch.no_grad():
        assert objective.centre == pytest.approx(float(F.cross_entropy(model(x).float(), y)), rel=1e-6)


def test_data_and_options_of_other_dtypes():
    model, (x, y) = mlp(), table()
    single = Objective(model, (x.double(), y.int()))
    double = Objective(model, (x, y), dtype=torch.float64)
    assert (single.theta.dtype, double.theta.dtype) == (torch.float32, torch.float64)
    assert single.centre == pytest.approx(double.centre, rel=1e-6)
    exact = float(F.cross_entropy(deepcopy(model).double()(x.double()), y))
    assert double.centre == pytest.approx(exact, rel=1e-14)
    assert model[0].weight.dtype == torch.float32
    assert Objective(model, (x, y), device="cpu").centre == single.centre
    lm, (ids, target) = TinyLM(), tokens()
    assert Objective(lm, (ids, target), dtype=torch.float64).theta.dtype == torch.float64  # token ids stay whole


def test_default_device_and_dtype_of_torch_do_not_leak_in():
    model, data = mlp(), table()
    expected = Objective(model, data).centre
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            objective = Objective(model, data)
    finally:
        torch.set_default_dtype(torch.float32)
    assert objective.centre == expected
    assert objective.theta.dtype == torch.float32


def test_gradient_modes_of_the_caller_do_not_matter():
    model, data = conv(), images()
    expected = Objective(model, data).loss_at
    points = points_near(Objective(model, data), 3)
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with context():
            assert Objective(model, data).loss_at(points).tolist() == expected(points).tolist()
            assert torch.is_grad_enabled() == (context is torch.enable_grad)


def test_a_tied_tensor_moves_under_all_its_names():
    model, (x, y) = TinyLM().double(), tokens()
    objective = Objective(model, (x, y))
    assert isinstance(objective.program, ModelProgram)
    assert objective.dimension == 11 * 8 + 4 * 8 * 8 + 2 * 8 * 16
    point = objective.theta.clone()
    objective.layout.views(point)["table.weight"].mul_(1.5)
    other = moved(model, objective, point)
    assert other.head.weight is other.table.weight
    with torch.no_grad():
        expected = float(F.cross_entropy(other(x).reshape(-1, 11), y.reshape(-1)))
    assert objective.loss_at(point[None])[0] == pytest.approx(expected, rel=1e-12)


def test_an_objective_says_what_it_is() -> None:
    bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.ones(3, dtype=torch.float64))
    assert repr(bowl) == (
        "<Objective: <lambda> of 1 samples, 3 at the trained point, n = 3 of 3 parameters in scope 'weights'>"
    )
