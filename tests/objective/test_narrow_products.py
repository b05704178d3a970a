"""Products in 16 bits: sums in float32 that are rounded once, on processors without instructions for such numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

import landscape as ls
from landscape.objective import narrow_products, read_weights
from landscape.objective.moved_weights import Point, flat_step, moved_tensor
from landscape.objective.narrow_products import gains, sums_in_float32
from landscape.objective.noise import Noise
from landscape.objective.read_weights import MovedWeight, Rooms
from landscape.rays import metric_of, random_directions

NARROW = [torch.bfloat16, torch.float16]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of slow processors, whatever this one has, for weights and products of any size, in many tiles."""
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: dtype in NARROW)
    monkeypatch.setattr(narrow_products, "_TILE", 60)
    for rule in ("_LITTLE", "_FEW", "_SMALL_WEIGHT"):
        monkeypatch.setattr(narrow_products, rule, 1)
    monkeypatch.setattr(read_weights, "LARGE_LINEAR", 60)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of processors with instructions for 16 bits."""
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: False)


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Narrow(TorchDispatchMode):
    """Counts products, convolutions and attention in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [item for item in args if isinstance(item, Tensor)]
        fake = any(isinstance(item, FakeTensor) for item in tensors)  # without numbers, to measure memory
        if func in narrow_products._RULES and not fake and any(item.dtype in NARROW for item in tensors):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def assert_rounded_once(operation: Callable[..., Tensor], items: list[Tensor], result: Tensor) -> None:
    """Allow half a unit in the last place of the result, and the rounding of a sum of up to 66 terms in float32."""
    truth, sizes = (operation(*map(change, items)) for change in (Tensor.double, lambda item: item.double().abs()))
    allowed = torch.finfo(result.dtype).eps / 2 * truth.abs() + 66 * torch.finfo(torch.float32).eps * sizes
    assert result.dtype == items[0].dtype
    assert ((result.double() - truth).abs() <= allowed).all()


OPERATIONS: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {
    "linear": (F.linear, [numbers(9, 40), numbers(11, 40, seed=1)]),
    "linear with a bias": (F.linear, [numbers(9, 40), numbers(11, 40, seed=1), numbers(11, seed=2)]),
    "linear of sequences": (F.linear, [numbers(3, 5, 40), numbers(11, 40, seed=1)]),
    "linear of sequences with a bias": (F.linear, [numbers(3, 5, 40), numbers(11, 40, seed=1), numbers(11, seed=2)]),
    "one row": (F.linear, [numbers(1, 40), numbers(70, 40, seed=1)]),
    "g w": (torch.matmul, [numbers(3, 5, 64), numbers(64, 24, seed=1)]),
    "g^T x": (lambda x, g: g.t() @ x, [numbers(64, 9), numbers(64, 24, seed=1)]),
    "Conv1D of GPT-2": (torch.addmm, [numbers(11, seed=2), numbers(9, 40), numbers(40, 11, seed=1)]),
    "scaled": (
        lambda b, x, w: torch.addmm(b, x, w, beta=0.5, alpha=2),
        [numbers(9, 11, seed=2), numbers(9, 40), numbers(40, 11, seed=1)],
    ),
    "attention scores": (torch.bmm, [numbers(7, 5, 16), numbers(7, 16, 6, seed=1)]),
    "attention scores with a mask": (torch.baddbmm, [numbers(1, 6), numbers(7, 5, 16), numbers(7, 16, 6, seed=1)]),
    "convolution": (F.conv2d, [numbers(2, 3, 9, 9), numbers(4, 3, 3, 3, seed=1), numbers(4, seed=2)]),
    "transposed convolution": (F.conv_transpose1d, [numbers(2, 3, 9), numbers(3, 4, 3, seed=1)]),
}


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_product_is_a_sum_in_float32_that_is_rounded_once(name: str, dtype: torch.dtype) -> None:
    operation, wide = OPERATIONS[name]
    items = [item.to(dtype) for item in wide]
    with Narrow() as seen, sums_in_float32():
        result = operation(*items)
    assert seen.names == []
    assert_rounded_once(operation, items, result)


@pytest.mark.usefixtures("slow")
def test_a_result_can_be_written_to_a_given_place() -> None:
    a, b, out = numbers(9, 40).half(), numbers(40, 11, seed=1).half(), torch.zeros(9, 20).half()
    with sums_in_float32():
        torch.mm(a, b, out=out[:, 3:14])
        wanted = a @ b
        grown = torch.mm(a, b, out=torch.empty(0).half())
    assert torch.equal(out[:, 3:14], wanted)
    assert not out[:, :3].any()
    torch.testing.assert_close(grown, wanted)


@pytest.mark.usefixtures("slow")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_sparse_and_nested_tensors_are_left_to_torch() -> None:
    matrix, stack = numbers(9, 9).half(), [numbers(rows, 8).half() for rows in (3, 5)]

    def products() -> list[Tensor]:
        nested = torch.nested.nested_tensor(stack)
        return [matrix.to_sparse() @ matrix, *torch.bmm(nested, nested.transpose(1, 2)).unbind()]

    with sums_in_float32():
        inside = products()
    for got, wanted in zip(inside, products(), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("name", OPERATIONS)
def test_first_and_second_derivatives(name: str) -> None:
    """Those in 16 bits are those in float64 to rounding, and no derivative takes a kernel in 16 bits."""
    operation, wide = OPERATIONS[name]

    def derivatives(dtype: torch.dtype) -> list[Tensor]:
        items = [item.bfloat16().to(dtype).requires_grad_() for item in wide]
        first = torch.autograd.grad((operation(*items) * 0.02).tanh().square().sum(), items, create_graph=True)
        total = sum(((each * each.detach()).sum() for each in first), torch.zeros((), dtype=dtype))
        return [*first, *torch.autograd.grad(total, items)]

    with Narrow() as seen, sums_in_float32():
        narrow = derivatives(torch.bfloat16)
    assert seen.names == []
    for got, wanted in zip(narrow, derivatives(torch.float64), strict=True):
        assert float((got.double() - wanted).norm() / wanted.norm()) < 8 * torch.finfo(torch.bfloat16).eps


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("mask", [False, True])
def test_attention_and_its_gradients(mask: bool) -> None:
    def outputs(dtype: torch.dtype) -> list[Tensor]:
        items = [numbers(2, 3, 10, 8, seed=seed).bfloat16().to(dtype).requires_grad_() for seed in range(3)]
        added = numbers(10, 10, seed=3).bfloat16().to(dtype) if mask else None
        out = F.scaled_dot_product_attention(*items, attn_mask=added)
        return [out, *torch.autograd.grad(out.square().sum(), items)]

    with Narrow() as seen, sums_in_float32():
        narrow = outputs(torch.bfloat16)
    assert seen.names == []
    assert {item.dtype for item in narrow} == {torch.bfloat16}
    for got, wanted in zip(narrow, outputs(torch.float64), strict=True):
        assert float((got.double() - wanted).norm() / wanted.norm()) < 4 * torch.finfo(torch.bfloat16).eps


@pytest.mark.usefixtures("slow")
def test_many_points_run_together() -> None:
    x, weights = numbers(3, 4, dtype=torch.float16), numbers(6, 5, 4, seed=1, dtype=torch.float16)

    def slope(w: Tensor) -> Tensor:
        return torch.func.grad(lambda w: F.linear(x, w).square().sum())(w)

    with Narrow() as seen, sums_in_float32():
        together, each = torch.func.vmap(slope)(weights), torch.stack([slope(w) for w in weights])
    assert seen.names == []
    torch.testing.assert_close(together, each)


class Layers(nn.Module):
    """Layers of the usual kinds; the output layer is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.memory = nn.GRU(8, 8, batch_first=True)
        self.filters = nn.Conv1d(8, 8, 3, padding=1)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.memory(self.attention(self.words(ids)))[0]
        return self.out(self.filters(x.transpose(1, 2)).transpose(1, 2).mean(1))


def layers(dtype: torch.dtype) -> tuple[Layers, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return Layers().to(dtype), (torch.randint(0, 11, (6, 5)), torch.randint(0, 11, (6,)))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("flat", [True, False])
def test_an_objective_takes_no_kernel_in_16_bits(dtype: torch.dtype, flat: bool) -> None:
    """Centre, moved points, products; the model stays as it is, and losses are those in float64 to rounding."""
    model, data = layers(dtype)
    before = copy.deepcopy(model.state_dict())
    with Narrow() as seen:
        objective = ls.Objective(model, data, scope="all", flat=flat)
        line = ls.slice_1d(objective, steps=3, span=0.5)
        op = ls.Hessian(objective, check=False)
        product = op @ torch.ones(op.size)
    assert seen.names == []
    exact = ls.Objective(model, data, scope="all", dtype=torch.float64)
    assert objective.centre == pytest.approx(exact.centre, rel=4 * torch.finfo(dtype).eps)
    assert line.loss[1] == objective.centre
    wanted = ls.Hessian(exact, check=False) @ torch.ones(op.size, dtype=torch.float64)
    assert float((product.double() - wanted).norm() / wanted.norm()) < 16 * torch.finfo(dtype).eps
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("dtype", NARROW)
def test_flat_points_and_moved_weights_agree(dtype: torch.dtype) -> None:
    model, data = layers(dtype)
    flat, moved = (ls.Objective(model, data, scope="all", flat=flat, lanes=1) for flat in (True, False))
    steps = random_directions(moved, metric_of(moved, "layer"), 0).steps([0, 1])
    vectors = torch.stack([flat_step(step, moved.layout.entries, moved.device) for step in steps])
    radii = np.array([0.1, 0.5])
    with flat.running():
        by_vector = flat.along(vectors, radii).values
    with moved.running():
        values = moved.along(steps, radii).values
    assert values == pytest.approx(by_vector, rel=4 * torch.finfo(dtype).eps)
    assert abs(values - moved.centre).min() > 0.01


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("bias", [False, True])
def test_a_moved_weight_that_is_made_in_pieces_rounds_once(bias: bool, dtype: torch.dtype) -> None:
    net, x = nn.Linear(40, 11, bias=bias).to(dtype), numbers(3, 5, 40, dtype=dtype)
    program = ls.Objective(net, (x, torch.zeros(3, 5, 11)), "mse", scope="all", flat=False).program
    point = Point(((0.5, Noise(program.pairs)),))
    with program.running():
        result = program.output(point, 0)
    items = [x, *(moved_tensor(own, entry, point) for own, entry in program.pairs)]
    assert not torch.equal(items[1], net.weight)
    assert_rounded_once(F.linear, items, result)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("flat", [True, False])
def test_with_instructions_for_16_bits_values_are_those_of_torch(flat: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(32, 80), nn.Tanh(), nn.Linear(80, 5)).bfloat16()
    x = torch.randn(6, 3, 10).bfloat16()
    objective = ls.Objective(model, (x, torch.randint(0, 5, (6,))), flat=flat)
    with Narrow() as seen, objective.running():
        output = objective.program.output(objective.theta if flat else Point(), 0)
    assert len(seen.names) == 3
    assert torch.equal(output, model(x))


class Attending(nn.Module):
    """Attention that torch compiles, and a branch that it calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = flex_attention(*self.inside(x)[:, None].chunk(3, -1))[:, 0]
        y = torch.cond(y.sum() > 0, lambda y: y.sin(), lambda y: y.cos(), (y,))
        return self.out(y.mean(1))


@pytest.mark.usefixtures("slow")
@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
def test_operations_that_call_functions_still_run() -> None:
    torch.manual_seed(0)
    model, data = Attending().bfloat16(), (torch.randn(6, 4, 8).bfloat16(), torch.randint(0, 5, (6,)))
    with torch.no_grad():
        wanted = float(F.cross_entropy(model(data[0]).float(), data[1]))
    assert ls.Objective(model, data).centre == pytest.approx(wanted, rel=0.01)


def test_small_models_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: dtype in NARROW)
    small, large, wide = nn.Linear(63, 65), nn.Linear(64, 64), nn.Linear(64, 64)
    assert [gains(net) for net in (small.bfloat16(), large.half(), wide, nn.Conv1d(1, 1, 1).half())] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_products_of_a_large_model_do_without_the_slow_kernels(kind: type[ls.Hessian]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5)).bfloat16()
    data = torch.randn(9, 6).bfloat16(), torch.randint(0, 5, (9,))
    op = kind(ls.Objective(net, data, scope="all", flat=False))
    flat = kind(ls.Objective(net, data, scope="all", dtype=torch.float64))
    vector = torch.randn(op.size)
    with Narrow() as seen:
        product, form = op @ vector, op.forms(vector[:, None])
    assert op.lean
    assert seen.names == []
    wanted = flat @ vector.double()
    assert float((product.double() - wanted).norm() / wanted.norm()) < 0.1  # 16 bits
    assert abs(float(form[0]) - float(vector.double() @ wanted)) < 0.1 * float(vector.norm() * wanted.norm())


@pytest.mark.usefixtures("slow")
def test_memory_of_products_is_still_measured_without_numbers() -> None:
    """A pass of a large model takes seconds, and ``doctor`` asks for the memory."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)).bfloat16()
    data = torch.randn(1, 6).bfloat16(), torch.randint(0, 5, (1,))
    op = ls.Hessian(ls.Objective(net, data, scope="all", flat=False))
    outputs: list[Tensor] = []
    net[0].register_forward_hook(lambda module, args, output: outputs.append(output))
    op.memory()
    assert outputs
    assert all(isinstance(output, FakeTensor) for output in outputs)


@pytest.mark.usefixtures("slow")
def test_what_a_tensor_of_another_kind_is_made_of_is_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """So are the parts of sharded weights, which are such tensors."""
    product, rule = torch.ops.aten.mm.default, narrow_products._RULES[torch.ops.aten.mm.default]
    calls: list[list[type]] = []

    def seen(func: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        calls.append([type(item) for item in args])
        return rule(func, args, kwargs)

    monkeypatch.setitem(narrow_products._RULES, product, seen)
    net, x = nn.Linear(11, 40, bias=False).bfloat16(), numbers(9, 40, dtype=torch.bfloat16)
    program = ls.Objective(net, (x[:, :11], torch.zeros(9, 40)), "mse", flat=False).program
    calls.clear()
    with sums_in_float32(), torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        result = product(x, MovedWeight(*program.pairs[0], Point(), Rooms()))
    assert calls == [[Tensor, Tensor]]
    assert_rounded_once(torch.mm, [x, net.weight.detach()], result)
