"""Points of large models: the loss of the flat vector to rounding, however a weight is read, and an untouched model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.objective import Objective
from landscape.objective import read_weights as reading
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.moved_weights import PIECE, Point, flat_step, moved_rows
from landscape.rays import metric_of, random_directions

RADII = np.array([0.2, 0.9])


class Tied(nn.Module):
    """Words in and words out share one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 6)
        self.mix = nn.Linear(6, 6)
        self.out = nn.Linear(6, 40, bias=False)
        self.out.weight = self.words.weight

    def forward(self, numbers: Tensor) -> Tensor:
        return self.out(torch.tanh(self.mix(self.words(numbers).mean(1))))


class Functional(nn.Module):
    """Weights are read by functions, by another module, transposed, in part, and as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)
        self.scale_weight = nn.Parameter(torch.rand(2, 8))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(x, self.first.weight, bias=self.first.bias) * self.scale_weight[0]
        hidden = hidden + self.scale_weight.sum(0) + self.first.weight.norm()
        if self.second.weight.shape[0] != 4 or len(self.second.bias) != 4:
            raise AssertionError
        return torch.tanh(hidden) @ self.second.weight.t() + self.second.bias.data


class Crossed(nn.Module):
    """Two weights are in one product, and one is turned before another is read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        turned = self.first.weight.t()
        both = torch.mm(self.second.weight, self.first.weight)
        return torch.addmm(self.third.bias, x, self.third.weight.t()) + x @ both.t() + x @ turned @ turned.t()[:, :4]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.view(len(x), 2, 3))[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.own, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x.view(len(x), 1, 6).repeat(1, 3, 1))
        return self.head(self.own(x, x, x)[0].mean(1))


class Hidden(nn.Module):
    """Holds on to a weight where no module keeps parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)
        self.held = [self.first.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(x @ self.held[0].t()))


class Clamps(nn.Module):
    """Writes to its weights in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.first.weight.data.clamp_(-0.3, 0.3)
        return self.second(torch.tanh(self.first(x)))


class Shortens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(40, 6, max_norm=0.5), nn.Linear(6, 40)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.head(self.words(numbers).mean(1))


def parametrised() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    nn.utils.parametrizations.weight_norm(net[0])
    nn.utils.parametrizations.spectral_norm(net[2])
    return net


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        nn.ConvTranspose1d(2, 4, 2, groups=2),
        nn.BatchNorm1d(4),
        nn.Conv1d(4, 3, 2),
        nn.Flatten(),
        nn.Linear(9, 4),
    )


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def compiled() -> nn.Module:
    return torch.compile(dense(), backend="aot_eager")


def with_compiled_layers() -> nn.Module:
    net = dense()
    net[0].compile(backend="aot_eager")
    net[2].compile(backend="eager")
    return net


class CompilesAMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = dense()
        self.inner = torch.compile(self.eager, backend="eager")

    def eager(self, x: Tensor) -> Tensor:
        return self.net(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tied": Tied,
    "functional": Functional,
    "crossed": Crossed,
    "recurrent": Recurrent,
    "attention": Attending,
    "parametrised": parametrised,
    "convolutions": convolutions,
}
IN_PLACE: dict[str, Callable[[], nn.Module]] = {"held in a list": Hidden, "clamped": Clamps, "max_norm": Shortens}


def pair(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Objective, Objective]:
    """Return a model, the objective with flat vectors, and the one whose weights move where they are used."""
    torch.manual_seed(0)
    model = make().eval()
    if any(isinstance(module, nn.Embedding) for module in model.modules()):
        data = torch.randint(0, 40, (16, 5)), torch.randint(0, 40, (16,))
    else:
        data = torch.randn(16, 6), torch.randint(0, 4, (16,))
    flat = Objective(model, data, scope="all", dtype=dtype, lanes=1)
    return model, flat, Objective(model, data, scope="all", dtype=dtype, flat=False)


def losses(flat: Objective, moved: Objective) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses along two random directions, from flat vectors and without."""
    steps = random_directions(moved, metric_of(moved, "filter"), 3).steps([0, 1])
    vectors = torch.stack([flat_step(step, moved.layout.entries, moved.device) for step in steps])
    with flat.running():
        by_vector = flat.along(vectors, RADII).values
    with moved.running():
        return by_vector, moved.along(steps, RADII).values


@pytest.mark.parametrize("name", [*MODELS, *IN_PLACE])
def test_a_moved_point_has_the_loss_of_the_flat_vector(name: str) -> None:
    _, flat, moved = pair({**MODELS, **IN_PLACE}[name])
    assert isinstance(moved.program, ModelProgram)
    assert moved.program.in_place == (name in IN_PLACE)
    assert (moved.centre, moved.theta_hash) == (pytest.approx(flat.centre, rel=1e-6), flat.theta_hash)
    by_vector, values = losses(flat, moved)
    assert abs(by_vector - flat.centre).min() > 1e-4
    if name != "held in a list":  # a flat vector never reaches that weight
        assert values == pytest.approx(by_vector, rel=1e-5)


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-13), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_every_dtype_rounds_as_the_flat_vector_does(dtype: torch.dtype, rel: float) -> None:
    _, flat, moved = pair(Tied, dtype)
    by_vector, values = losses(flat, moved)
    assert values == pytest.approx(by_vector, rel=rel)


def test_a_weight_held_in_a_list_moves_too() -> None:
    _, _, moved = pair(Hidden)
    step = random_directions(moved, metric_of(moved, "filter"), 3).steps([0])
    vector = flat_step(step[0], moved.layout.entries, moved.device)
    truth, _, _ = pair(Hidden)
    with torch.no_grad():
        for parameter, own in zip(truth.parameters(), moved.layout.split(moved.theta + 0.9 * vector), strict=True):
            parameter.copy_(own)
    assert isinstance(moved.program, ModelProgram)
    batch = moved.program.batches[0]
    with moved.running():
        value = moved.along(step, RADII[1:]).values[0]
    assert value == pytest.approx(float(F.cross_entropy(truth(*batch.inputs), batch.target)), rel=1e-5)


@pytest.mark.parametrize("make", [compiled, with_compiled_layers, CompilesAMethod])
def test_a_compiled_model_has_the_loss_of_the_plain_one(make: Callable[[], nn.Module]) -> None:
    data = torch.randn(16, 6), torch.randint(0, 4, (16,))
    torch.manual_seed(0)
    flat = Objective(dense(), data, scope="all", lanes=1)
    torch.manual_seed(0)
    model = make()
    model(data[0])  # so it is compiled already
    moved = Objective(model, data, scope="all", flat=False)
    assert isinstance(moved.program, ModelProgram)
    assert not moved.program.in_place
    by_vector, by_entry = losses(flat, moved)
    assert by_entry == pytest.approx(by_vector, rel=1e-5)


def test_parameters_that_a_loss_holds_move_too() -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(6, 4), (torch.randn(16, 6), torch.randint(0, 4, (16,)))
    held = list(model.parameters())

    def decayed(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) + 0.1 * sum(each.square().sum() for each in held)

    moved = Objective(model, data, decayed, scope="all", flat=False)
    step = random_directions(moved, metric_of(moved, "filter"), 3).steps([0])
    with moved.running():
        value = moved.along(step, RADII[1:]).values[0]
    nn.utils.vector_to_parameters(moved.theta + 0.9 * flat_step(step[0], moved.layout.entries, moved.device), held)
    assert value == pytest.approx(decayed(model(data[0]), data[1]).item(), rel=1e-5)


def state(model: nn.Module) -> Iterator[tuple[str, int, int, bytes]]:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        yield name, id(tensor), tensor._version, tensor.detach().numpy().tobytes()


@pytest.mark.parametrize("name", [*MODELS, *IN_PLACE])
def test_the_model_stays_bit_identical_even_if_an_evaluation_is_interrupted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = {**MODELS, **IN_PLACE}[name]().eval()
    words = any(isinstance(module, nn.Embedding) for module in model.modules())
    inputs = torch.randint(0, 40, (16, 5)) if words else torch.randn(16, 6)
    before = list(state(model))
    objective = Objective(model, (inputs, torch.randint(0, 4, (16,))), flat=False)
    steps = random_directions(objective, metric_of(objective, "filter"), 0).steps([0])
    with objective.running():
        objective.along(steps, RADII[:1])
    assert list(state(model)) == before

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "forward", interrupted)
    with pytest.raises(KeyboardInterrupt), objective.running():
        objective.along(steps, RADII[:1])
    assert list(state(model)) == before


def test_large_layers_are_made_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE_LINEAR", 50)
    monkeypatch.setattr("landscape.objective.moved_weights.PIECE", 16)
    _, flat, moved = pair(Tied)
    largest = 0
    rows_of = reading.moved_rows

    def watched(*args: object) -> Tensor:
        nonlocal largest
        out = rows_of(*args)  # type: ignore[arg-type]
        largest = max(largest, out.numel())
        return out

    monkeypatch.setattr(reading, "moved_rows", watched)
    by_vector, values = losses(flat, moved)
    assert values == pytest.approx(by_vector, rel=1e-5)
    assert 0 < largest <= 50


def test_weights_are_made_in_one_room_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = nn.Unflatten(1, (6, 1)), nn.Conv1d(6, 6, 1), nn.Flatten()
    _, _, moved = pair(lambda: nn.Sequential(*(nn.Linear(6, 6) for _ in range(3)), *convolution))
    tensor, places = reading.moved_tensor, set()

    def watched(*args: Any) -> Tensor:
        out = tensor(*args)
        if out.dim() > 1:
            places.add(out.data_ptr())
        return out

    monkeypatch.setattr(reading, "moved_tensor", watched)
    steps = random_directions(moved, metric_of(moved, "filter"), 3).steps([0])
    with moved.running():
        moved.along(steps, RADII[:1])
    assert len(places) == 1


def test_outputs_at_points_stay_as_they_are_at_later_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE_LINEAR", 50)
    monkeypatch.setattr(reading, "_LARGE_RESULT", 0)
    _, flat, moved = pair(Tied)
    by_vector, values = losses(flat, moved)
    assert values == pytest.approx(by_vector, rel=1e-5)
    steps = random_directions(moved, metric_of(moved, "filter"), 3).steps([0])
    program = moved.program
    assert isinstance(program, ModelProgram)
    with moved.running():
        outputs = [program.output(steps.on_rays(np.zeros(1, dtype=int), np.array([r]))[0], 0) for r in (0.1, 1.0)]
        again = program.output(steps.on_rays(np.zeros(1, dtype=int), np.array([0.1]))[0], 0)
    assert torch.equal(outputs[0], again)
    assert not torch.equal(outputs[1], again)


def test_the_plan_holds_the_largest_weight_that_is_made_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.objective.point_batches.LARGE_LINEAR", 50)
    plans = {}
    for kind, module in {"cut": nn.Linear(30, 40), "whole": nn.Conv1d(30, 40, 1)}.items():
        data = torch.randn(4, 30, *((1,) if kind == "whole" else ())), torch.randint(0, 40, (4,))
        net = nn.Sequential(module, nn.Flatten())
        plans[kind] = Objective(net, data, flat=False).plan.lane_bytes
    assert plans["whole"] - plans["cut"] == 4 * (1200 - 50)


class Counting(TorchDispatchMode):
    """Counts the operations that it sees."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mode_does_not_look_at_each_of_the_many_operations_that_move_a_weight(dtype: torch.dtype) -> None:
    layer, data = nn.Linear(400, 6 * PIECE // 400).to(dtype), (torch.randn(2, 400).to(dtype), torch.tensor([0, 1]))
    moved = Objective(layer, data, flat=False)
    step = random_directions(moved, metric_of(moved, "filter"), 0).steps([0])[0]
    own, entry = layer.weight.detach(), moved.layout.entries[0]
    with Counting() as mode:
        moved_rows(own, entry, Point(((0.5, step),)), slice(0, len(own)))
    assert mode.count < 12
