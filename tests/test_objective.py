"""The objective against a plain forward pass of a copy of the model, for every kind of model and data."""

from __future__ import annotations

import gc
import math
from collections import UserDict
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.errors import ObjectiveError, TaskError
from landscape.objective import Objective
from landscape.program import ModelProgram

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]
SAMPLES = 23
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def table(inputs: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, inputs), torch.randint(0, classes, (SAMPLES,))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(4 * 4, 3)
    )


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, 2, 4, 4), torch.randint(0, 3, (SAMPLES,))


class Sequence(nn.Module):
    """A layer over time, and a head on its last step."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x):
        y = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.head((y[0] if isinstance(y, tuple) else y)[:, -1])


class TinyLM(nn.Module):
    """Embedding tied to the head, a causal transformer layer, dropout, and a mask kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(5))

    def forward(self, tokens):
        return self.head(self.layer(self.table(tokens), src_mask=self.mask))


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(0, 11, (SAMPLES, 5))
    target[::3, 3:] = -100
    return torch.randint(0, 11, (SAMPLES, 5)), target


def times() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, 5, 4), torch.randint(0, 3, (SAMPLES,))


def hooked() -> nn.Module:
    model = mlp()
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    model[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    return model


def pruned() -> nn.Module:
    model = mlp()
    prune.random_unstructured(model[0], "weight", 0.5)
    return model


def exported() -> nn.Module:
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(conv().eval().double(), (images()[0].double(),), dynamic_shapes=shapes).module()


KINDS = {
    "mlp": (mlp, table),
    "conv": (conv, images),
    "grouped and transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 3)
        ),
        images,
    ),
    "lstm": (lambda: Sequence(nn.LSTM(4, 6, batch_first=True, bidirectional=True), 12), times),
    "gru": (lambda: Sequence(nn.GRU(4, 6, batch_first=True), 6), times),
    "attention": (lambda: Sequence(nn.MultiheadAttention(4, 2, batch_first=True), 4), times),
    "transformer": (
        lambda: Sequence(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2), 4),
        times,
    ),
    "language model": (TinyLM, tokens),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 8)), *mlp()[1:]), table),
    "old weight norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 8)), *mlp()[1:]), table),
    "spectral norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 8)), *mlp()[1:]), table),
    "pruned": (pruned, table),
    "hooks": (hooked, table),
    "scripted": (lambda: torch.jit.script(conv()), images),
    "traced": (lambda: torch.jit.trace(mlp(), table()[0]), table),
    "script inside": (lambda: nn.Sequential(torch.jit.script(nn.Linear(6, 8)), *mlp()[1:]), table),
    "exported": (exported, images),
}


def wide(data):
    return tuple(item.double() if item.is_floating_point() else item for item in data)


def moved(model: nn.Module, objective: Objective, point: torch.Tensor) -> nn.Module:
    """Return a copy of the model standing at a point, made with torch's own means."""
    other = deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(objective.layout.views(point)[name])
    for module in other.modules():
        module.training = False
    return other


def points_near(objective: Objective, count: int, size: float = 0.3) -> torch.Tensor:
    noise = torch.randn(count, objective.layout.size, dtype=torch.float64)
    return (objective.theta + size * noise).to(objective.theta.dtype)


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


def test_the_batched_program_compiles_as_one_graph():
    objective = Objective(conv(), images())
    points = points_near(objective, 4)
    with objective.running():
        whole = torch.compile(objective._program._many[0], backend="eager", fullgraph=True)(points)
        assert torch.equal(whole, objective._program.totals(points, 0))


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
    expected = float(F.cross_entropy(model.net(x), y))
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
    assert objective.centre == pytest.approx(float(F.cross_entropy(model(x), y)), rel=1e-6)
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


# Criteria, early stopping, accuracy


def along(objective, radii, **options):
    steps = points_near(objective, len(radii), 1.0) - objective.theta
    with objective.running():
        return steps, objective.along(steps, np.asarray(radii), **options)


def test_rise_is_the_loss_above_the_centre():
    objective = Objective(mlp(), table())
    steps, rise = along(objective, [0.0, 0.1, 1.0], criterion="rise")
    with objective.running():
        loss = objective.along(steps, np.array([0.0, 0.1, 1.0]))
    np.testing.assert_allclose(rise.values, loss.values - objective.centre, atol=1e-12)
    assert abs(rise.values[0]) < 1e-6
    assert objective.centre_of("rise") == objective.centre_of("kl") == 0.0
    assert objective.centre_of("loss") == objective.centre
    with pytest.raises(ObjectiveError, match="loss, rise, kl"):
        objective.centre_of("entropy")


@pytest.mark.parametrize("kind", ["mlp", "lstm", "language model"])
@pytest.mark.parametrize("size", [4, None])
def test_kl_against_a_direct_computation(kind, size):
    make, data = KINDS[kind]
    model, (x, y) = make().double(), wide(data())
    objective = Objective(model, (x, y), batch_size=size)
    steps, found = along(objective, [0.0, 0.1, 0.3], criterion="kl")
    with torch.no_grad():
        log_p0 = F.log_softmax(moved(model, objective, objective.theta)(x), -1)
        for step, radius, value in zip(steps, (0.0, 0.1, 0.3), found.values, strict=True):
            log_p = F.log_softmax(moved(model, objective, objective.theta + radius * step)(x), -1)
            kl = (log_p0.exp() * (log_p0 - log_p)).sum(-1)[y != -100].mean()
            assert value == pytest.approx(float(kl), rel=1e-10, abs=1e-15)
    assert found.complete.all()


def test_kl_of_a_callable_counts_predictions_not_samples():
    model, (x, y) = TinyLM().double(), tokens()
    y = y.clamp_min(0)
    named = Objective(model, (x, y))
    called = Objective(model, (x, y), lambda z, t: F.cross_entropy(z.reshape(-1, 11), t.reshape(-1)))
    steps, expected = along(named, [0.1], criterion="kl")
    with called.running():
        assert called.along(steps, np.array([0.1]), criterion="kl").values == pytest.approx(expected.values, rel=1e-12)


def test_kl_of_one_logit():
    model, (x, _) = nn.Linear(6, 1).double(), wide(table())
    labels = torch.randint(0, 2, (SAMPLES,)).double()
    for loss in ("bce", lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y)):
        objective = Objective(model, (x, labels), loss)
        steps, found = along(objective, [0.0, 0.5], criterion="kl")
        with torch.no_grad():
            p = torch.sigmoid(model(x))
            q = torch.sigmoid(moved(model, objective, objective.theta + 0.5 * steps[1])(x))
        expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
        assert found.values == pytest.approx([0.0, float(expected)], rel=1e-10)


def test_kl_needs_predictions_of_classes():
    regression = Objective(nn.Linear(6, 1), (table()[0], torch.zeros(SAMPLES)), "mse")
    with pytest.raises(ObjectiveError, match="--criterion rise"):
        regression.centre_of("kl")
    with pytest.raises(ObjectiveError, match="plain function"):
        Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3)).centre_of("kl")


@pytest.mark.parametrize("criterion", ["loss", "rise", "kl"])
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_early_stopping_is_exact_and_counts_what_it_read(criterion, kind):
    make, data = KINDS[kind]
    objective = Objective(make(), data(), batch_size=4)
    radii = np.linspace(0.0, 2.0, 12)
    steps, full = along(objective, radii, criterion=criterion)
    assert full.complete.all()
    assert (full.read == 1).all()
    ceiling = np.full(12, np.median(full.values))
    with objective.running():
        early = objective.along(steps, radii, ceiling=ceiling, criterion=criterion)
    inside = full.values < ceiling
    assert early.complete[inside].all()
    np.testing.assert_allclose(early.values[inside], full.values[inside], rtol=1e-6, atol=1e-9)
    assert (early.values[~inside] >= ceiling[~inside]).all()
    assert (early.read[~inside] < 1).any()
    # batches of 4, 4, 4, 4, 4 and 3 samples
    shares = np.array([4, 8, 12, 16, 20, 23]) / 23
    assert np.isin(early.read.round(12), shares.round(12)).all()
    assert (early.complete == (early.read == 1)).all()


def test_the_value_of_a_stopped_pass_is_the_mean_of_what_was_read():
    objective = Objective(mlp(), table(), batch_size=4)
    steps, full = along(objective, [0.0, 1.0])
    with objective.running():
        early = objective.along(steps, np.array([0.0, 1.0]), ceiling=np.full(2, full.values.min() / 2))
        for row in range(2):
            point = (objective.theta + row * steps[row])[None]
            seen = round(early.read[row] * SAMPLES)
            assert 0 < seen < SAMPLES
            total = sum(float(objective.program.totals(point, i)) for i in range(seen // 4))
            assert early.values[row] == pytest.approx(total / seen, rel=1e-6)


def test_a_loss_that_may_be_negative_is_never_stopped():
    objective = Objective(mlp(), table(), lambda z, y: F.cross_entropy(z, y) - 3.0, batch_size=4)
    steps, full = along(objective, [0.5, 3.0])
    with objective.running():
        ceiling = objective.along(steps, np.array([0.5, 3.0]), ceiling=np.full(2, -5.0))
    assert ceiling.complete.all()
    np.testing.assert_allclose(ceiling.values, full.values, rtol=1e-7)


def test_nan_and_infinity_along_a_ray_are_outside_and_reported():
    class Root(nn.Module):
        """Undefined where the weight is negative, infinite where it exceeds 4."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 1))

        def forward(self, x):
            return torch.where(self.weight > 4, math.inf, self.weight.sqrt()) * x

    objective = Objective(Root(), (torch.ones(8, 1), torch.ones(8)), "mse", batch_size=3, scope="all")
    found = ls.basin_radii(objective, [50.0], directions=40, max_radius=10.0)
    ends = sorted({round(float(r), 2) for r in found.radii[:, 0]})
    assert ends == [1.0, 3.0]
    assert (found.nonfinite > 0).all()


@pytest.mark.parametrize("kind", ["mlp", "conv", "language model", "scripted"])
def test_accuracy(kind):
    make, data = KINDS[kind]
    model, (x, y) = make(), data()
    right = (deepcopy(model).eval()(x).argmax(-1) == y)[y != -100].double().mean()
    assert Objective(model, (x, y), batch_size=4).accuracy() == pytest.approx(float(right), rel=1e-12)
    assert Objective(nn.Linear(6, 1), (table()[0], torch.zeros(SAMPLES)), "mse").accuracy() is None
    assert Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3)).accuracy() is None


# Memory and chunks


@pytest.mark.parametrize("kind", ["mlp", "conv", "language model"])
def test_radii_do_not_depend_on_chunks(kind):
    make, data = KINDS[kind]
    model, xy = make(), data()
    settings = {"cutoffs": [0.2, 0.5], "criterion": "rise", "directions": 40}
    plain = Objective(model, xy)
    whole = ls.basin_radii(plain, **settings)
    for factor in (1, 3, 20):
        objective = Objective(model, xy, memory=factor * plain.plan.lane_bytes)
        assert objective.plan.lanes <= factor
        assert objective.plan.bytes <= factor * plain.plan.lane_bytes
        np.testing.assert_allclose(ls.basin_radii(objective, **settings).radii, whole.radii, rtol=1e-6)


def live_bytes() -> int:
    """Bytes of all storages that Python can reach, each counted once."""
    gc.collect()
    seen = {}
    for thing in gc.get_objects():
        plain = type(thing) in (torch.Tensor, nn.Parameter) and not thing.is_meta
        if plain and not torch._C._functorch.is_batchedtensor(thing):  # the compiler keeps some of its own
            storage = thing.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def test_memory_does_not_grow_with_the_number_of_directions():
    model = nn.Sequential(nn.Linear(6, 300), nn.Tanh(), nn.Linear(300, 3))
    objective = Objective(model, table(), memory=2_000_000)
    before = live_bytes()
    peaks = []
    for directions in (100, 600):
        seen: list[int] = []

        def look(progress, directions=directions, seen=seen):
            if progress.done in (16, directions):  # after the first block and the last
                seen.append(live_bytes())

        ls.basin_radii(objective, [2.0], directions=directions, on_block=look)
        peaks.append(max(seen))
        assert len(seen) == 2
    # a stored direction would be 10 kB
    assert peaks[1] - peaks[0] < 20_000
    parameters = 4 * objective.layout.size
    assert peaks[1] - before < 2_000_000 + 2 * parameters


def test_a_memory_budget_below_one_point_is_refused():
    with pytest.raises(ObjectiveError, match=r"100 bytes was given, and one point needs [\d,]+ .*--memory"):
        Objective(mlp(), table(), memory=100)


# Refusals


def with_nan(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model[0].bias[3] = math.nan
    return model


def frozen_script() -> nn.Module:
    return torch.jit.freeze(torch.jit.script(mlp().eval()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp().to("meta"), r"0\.weight has no values yet.*\n?.*load_checkpoint"),
        (lambda: nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 3)), r"0\.weight has no values yet"),
        (lambda: with_nan(mlp()), r"0\.bias holds NaN"),
        (lambda: nn.ReLU(), r"\(ReLU\) has no parameters"),
        (frozen_script, "holds its weights as constants"),
        (lambda: lambda x: x, r"torch module, not function.*\n?.*from_function"),
        (lambda: {"0.weight": torch.ones(2)}, "torch module, not dict"),
    ],
)
def test_models_that_cannot_be_measured(make, words):
    with pytest.raises(ObjectiveError, match=words):
        Objective(make(), table())


def test_integer_parameters_are_refused():
    model = mlp()
    model.register_parameter("codes", nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False))
    with pytest.raises(ObjectiveError, match=r"codes is torch\.int8.*before quantisation"):
        Objective(model, table())


def test_a_loss_that_is_not_finite_at_the_centre_is_refused():
    x, y = table()
    for bad in (math.nan, math.inf):
        spoilt = x.clone()
        spoilt[20, 2] = bad
        with pytest.raises(ObjectiveError, match=r"loss at the trained point is (nan|inf).*\n.*float32"):
            Objective(nn.Linear(6, 3), (spoilt, y), batch_size=4)


def test_targets_out_of_range_are_refused_whichever_batch_holds_them():
    x, y = table()
    y[-1] = 3
    with pytest.raises(TaskError, match="from 0 to 2 for this model, and the targets run from 0 to 3"):
        Objective(mlp(), (x, y), batch_size=4)
    with pytest.raises(TaskError, match="binary_cross_entropy"):
        Objective(nn.Linear(6, 1), (x, torch.ones(SAMPLES, dtype=torch.long)))


def test_every_target_left_out_is_refused():
    with pytest.raises(ObjectiveError, match="every target is left out"):
        Objective(mlp(), (table()[0], torch.full((SAMPLES,), -100)))


def test_data_that_do_not_fit_the_model_are_named():
    with pytest.raises(TaskError, match=r"float32 \(8, 5\).*failed: RuntimeError(.|\n)*forward=lambda"):
        Objective(mlp(), table(5))
    with pytest.raises(TaskError, match=r"ids: int64 \(8,\).*unexpected keyword"):
        Objective(mlp(), {"ids": table()[1], "labels": table()[1]})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_samples": -3}, "max_samples must be at least 1"),
        ({"device": "cuda:77"}, "cannot be moved to device cuda:77"),
        ({"device": "abacus"}, "cannot be moved to device abacus"),
        ({"dtype": torch.int8}, "floating-point dtype"),
        ({"scope": "nothing"}, "matches no parameter"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(ObjectiveError, match=words):
        Objective(mlp(), table(), **options)


# Functions and hashes


def test_functions_that_are_no_objective_are_refused():
    with pytest.raises(ObjectiveError, match=r"f\(x\)\.sum\(-1\)"):
        Objective.from_function(lambda x: x.square().sum(), torch.zeros(3))
    with pytest.raises(ObjectiveError, match="one flat floating-point vector"):
        Objective.from_function(lambda x: x.sum(-1), torch.zeros(3, 3))
    with pytest.raises(ObjectiveError, match="not deterministic"):
        Objective.from_function(lambda x: x.square().sum(-1) + torch.rand(()), torch.ones(3))
    with pytest.raises(ObjectiveError, match="trained point is nan"):
        Objective.from_function(lambda x: x.sum(-1).log(), -torch.ones(3))


def test_points_of_another_shape_are_refused():
    objective = Objective(mlp(), table())
    for points in (objective.theta, objective.theta[None, 1:], objective.theta[None, None]):
        with pytest.raises(ObjectiveError, match=rf"shape \(k, {objective.layout.size}\)"):
            objective.loss_at(points)


def test_hashes_see_parameters_buffers_and_data():
    model, (x, y) = conv(), images()
    first = Objective(model, (x, y))
    assert first.theta_hash == Objective(model, (x, y), scope="all", batch_size=3).theta_hash
    assert first.data_hash == Objective(model, DataLoader(TensorDataset(x, y), batch_size=4)).data_hash
    assert first.data_hash != Objective(model, (x, y), max_samples=SAMPLES - 1).data_hash
    assert first.data_hash != Objective(model, (x, y.flip(0))).data_hash
    model[1].running_var.mul_(2)
    assert first.theta_hash != Objective(model, (x, y)).theta_hash
    model[1].running_var.div_(2)
    model[1].weight.data[0] += 1e-3
    assert first.theta_hash != Objective(model, (x, y)).theta_hash


def test_a_tied_tensor_moves_under_all_its_names():
    model, (x, y) = TinyLM().double(), tokens()
    objective = Objective(model, (x, y))
    assert isinstance(objective._program, ModelProgram)
    assert objective.dimension == 11 * 8 + 4 * 8 * 8 + 2 * 8 * 16
    point = objective.theta.clone()
    objective.layout.views(point)["table.weight"].mul_(1.5)
    other = moved(model, objective, point)
    assert other.head.weight is other.table.weight
    with torch.no_grad():
        expected = float(F.cross_entropy(other(x).reshape(-1, 11), y.reshape(-1)))
    assert objective.loss_at(point[None])[0] == pytest.approx(expected, rel=1e-12)
