"""Autograd against differences: nets whose autograd is not the derivative are refused, ordinary nets are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import landscape as ls
from landscape.curvature import Hessian
from landscape.curvature.checks.derivatives import SATURATED
from landscape.errors import CurvatureError


class Two(nn.Module):
    """Two layers with something between them, or instead of them."""

    def __init__(self, forward: Callable[[nn.Module, nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self._between = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._between(self.first, self.second, x)


def no_grad(first: nn.Module, second: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = first(x).tanh()
    return second(hidden)


class HalfSquare(torch.autograd.Function):
    """x^2 / 2 with the right gradient; the second derivative is half of what it should be."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x / 2

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x + x.detach()) / 2


GRADIENT_WRONG = {
    "detach": (lambda a, b, x: b(a(x).tanh() + a(x).detach()), r"detach\(\) in test_derivatives.py, line"),
    "no_grad": (no_grad, r"torch.no_grad\(\) in test_derivatives.py, line"),
    "straight-through": (lambda a, b, x: b(a(x) + (torch.tanh(2 * a(x)) - a(x)).detach()), "detach"),
    "rounding": (lambda a, b, x: b(a(x) + ((a(x) * 8).round() / 8 - a(x)).detach()), r"round\(\)|detach"),
}


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.randn(20, 4, dtype=dtype), torch.randint(0, 3, (20,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GRADIENT_WRONG)
def test_a_wrong_gradient_is_refused_with_its_likely_cause(name: str, dtype: torch.dtype) -> None:
    forward, cause = GRADIENT_WRONG[name]
    torch.manual_seed(0)
    objective = ls.Objective(Two(forward).to(dtype), data(dtype), scope="all")
    for operator in (ls.Hessian, ls.GaussNewton):
        with pytest.raises(CurvatureError, match="autograd's gradient is not the derivative") as error:
            operator(objective) @ torch.ones(objective.dimension, dtype=dtype)
        assert error.match(cause)
    with pytest.raises(CurvatureError, match="autograd's gradient"):
        ls.slice_1d(objective, steps=3, curvature=True)
    unchecked = ls.Hessian(objective, check=False) @ torch.ones(objective.dimension, dtype=dtype)
    assert torch.isfinite(unchecked).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_wrong_second_derivative_is_refused(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    objective = ls.Objective(Two(lambda a, b, x: b(HalfSquare.apply(a(x)))).to(dtype), data(dtype), scope="all")
    with pytest.raises(CurvatureError, match=r"product H v is not .* for first\.weight") as error:
        ls.trace(ls.Hessian(objective), probes=3)
    assert "Likely cause: the backward of HalfSquare.\n" in str(error.value)


def test_a_derivative_that_is_wrong_at_the_trained_point_alone_is_refused() -> None:
    """x^2, as a constant at exactly 0: there autograd gives 0 for H v, and not 2 v."""
    bowl = ls.Objective.from_function(
        lambda x: torch.where(x != 0, x.square(), torch.zeros_like(x)).sum(-1), torch.zeros(5, dtype=torch.float64)
    )
    with pytest.raises(CurvatureError, match="At the trained point"):
        ls.Hessian(bowl) @ torch.ones(5, dtype=torch.float64)


KINKS = {
    "absolute values": lambda x: x.abs().sum(-1),
    "hinges": lambda x: (1 - x).relu().sum(-1) + x.relu().sum(-1),
    "square of a ramp": lambda x: x.relu().square().sum(-1),
    "a maximum": lambda x: x.amax(-1) + x.square().sum(-1),
}


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINKS)
def test_kinks_at_the_trained_point_are_no_disagreement(name: str, dtype: torch.dtype, start: float) -> None:
    objective = ls.Objective.from_function(KINKS[name], torch.full((9,), start, dtype=dtype))
    assert torch.isfinite(ls.Hessian(objective) @ torch.ones(9, dtype=dtype)).all()


class GroupNormNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 8, 3), nn.GroupNorm(4, 8), nn.Flatten(), nn.Linear(128, 3))


def test_vectors_run_one_at_a_time_if_an_operation_has_no_batched_second_derivative() -> None:
    torch.manual_seed(0)
    net, x, y = GroupNormNet().double(), torch.randn(12, 1, 6, 6, dtype=torch.float64), torch.randint(0, 3, (12,))
    objective = ls.Objective(net, (x, y), scope="all")
    assert objective.program.together, "the forward passes do run together"
    operator = ls.Hessian(objective)
    vectors = torch.randn(objective.dimension, 3, dtype=torch.float64)
    gradients = torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()), create_graph=True)
    pieces = objective.layout.split(vectors.T)
    for column in range(3):
        along = [piece[column] for piece in pieces]
        wanted = torch.autograd.grad(gradients, list(net.parameters()), along, retain_graph=True)
        torch.testing.assert_close(
            (operator @ vectors)[:, column], torch.cat([item.flatten() for item in wanted]), rtol=1e-9, atol=1e-12
        )
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14):  # later torch has the rule
        assert any("one vector at a time" in note for note in objective.notes)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_blocks_run_as_if_they_were_not(reentrant: bool) -> None:
    torch.manual_seed(0)
    pair, vector = data(torch.float64), torch.randn(67, dtype=torch.float64)
    plain = Two(lambda a, b, x: b(a(x).tanh())).double()
    checkpointed = Two(lambda a, b, x: b(checkpoint(lambda z: a(z).tanh(), x, use_reentrant=reentrant))).double()
    checkpointed.load_state_dict(plain.state_dict())
    wanted, got = (ls.Hessian(ls.Objective(net, pair, scope="all")) @ vector for net in (plain, checkpointed))
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


def test_attention_and_checkpoints_along_a_slice() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
            self.head = nn.Linear(40, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.block, x, use_reentrant=False).flatten(1))

    torch.manual_seed(0)
    objective = ls.Objective(Net().double(), (torch.randn(12, 5, 8).double(), torch.randint(0, 3, (12,))))
    line = ls.slice_1d(objective, steps=21, span=0.002, curvature=True)
    second = np.diff(line.loss, 2) / np.diff(line.x)[0] ** 2
    np.testing.assert_allclose(line.curvature[1:-1], second, rtol=1e-3, atol=1e-3 * np.abs(second).max())


@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks:UserWarning")
def test_compiled_modules_run_as_they_were_before_compilation() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    pair = data(torch.float64)
    vector = torch.randn(51, dtype=torch.float64)
    wanted = ls.Hessian(ls.Objective(plain, pair, scope="all")) @ vector
    compiled = ls.Objective(torch.compile(plain, backend="eager"), pair, scope="all")
    torch.testing.assert_close(ls.Hessian(compiled) @ vector, wanted, rtol=1e-10, atol=1e-12)


def sure(forward: Callable[[nn.Module, nn.Module, Tensor], Tensor], gap: float, seed: int) -> ls.Objective:
    """A net whose logit of the right class lies ``gap`` above the next on average: its loss is about exp(-gap)."""
    torch.manual_seed(seed)
    model, x = Two(forward), torch.randn(6, 4)
    with torch.no_grad():
        top = model(x).topk(2, 1).values
        model.second.weight *= gap / (top[:, 0] - top[:, 1]).mean()
        model.second.bias.zero_()
    return ls.Objective(model, (x, model(x).argmax(1)))


@pytest.mark.parametrize("gap", [20.0, 36.0, 50.0, 80.0])
def test_a_net_that_is_sure_of_every_sample_is_no_fault(gap: float) -> None:
    """Differences of its gradient, and the products of autograd, are the rounding of numbers near 1."""
    noted = 0
    for seed in range(6):
        objective = sure(lambda a, b, x: b(a(x).relu()), gap, seed)
        Hessian(objective) @ torch.randn(objective.dimension)
        noted += SATURATED in objective.notes
    assert noted <= 3 if gap > 20 else noted == 0


def test_a_wrong_second_rule_of_a_sure_net_is_found() -> None:
    objective = sure(lambda a, b, x: b(HalfSquare.apply(a(x))), 50.0, 0)
    with pytest.raises(CurvatureError, match="product H v is not the derivative"):
        Hessian(objective) @ torch.randn(objective.dimension)


@pytest.mark.filterwarnings("ignore")  # torch calls its quantisation deprecated
def test_curvature_through_fake_quantisation_is_refused() -> None:
    qat = torch.ao.quantization
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).train()
    model.qconfig = qat.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
    model, data = qat.prepare_qat(model), (torch.randn(20, 4), torch.arange(20) % 3)
    model(data[0])  # observes once
    objective = ls.Objective(model.apply(qat.disable_observer), data)
    with pytest.raises(CurvatureError, match=r"staircase(.|\n)*torch.ao.quantization.disable_fake_quant"):
        ls.trace(Hessian(objective), 2)
    plain = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    plain.load_state_dict(model.state_dict(), strict=False)
    off = ls.Objective(model.apply(qat.disable_fake_quant), data)
    traces = [ls.trace(Hessian(each), 2, seed=1).samples for each in (off, ls.Objective(plain, data))]
    np.testing.assert_allclose(*traces, rtol=1e-4)


def test_a_net_in_float64_that_jumps_by_a_rounding_of_float32_is_measured_as_it_is() -> None:
    """Boxes are chosen by scores in float32, for instance: in float64 throughout the loss is another one."""

    def forward(first: nn.Module, second: nn.Module, x: Tensor) -> Tensor:
        h = first(x).tanh()
        score = (1 + 1e-9 * x[:, :1].abs()).to(torch.float32)
        return second(torch.where(score > 1, 3 * h, h))

    net, (x, y) = Two(forward).double(), data(torch.float64)
    objective = ls.Objective(net, (x, y), scope="all")
    vector = torch.randn(objective.dimension, dtype=torch.float64)
    plain = Two(lambda a, b, x: b(a(x).tanh())).double()
    plain.load_state_dict(net.state_dict())
    want = Hessian(ls.Objective(plain, (x, y), scope="all")) @ vector
    assert torch.allclose(Hessian(objective) @ vector, want, atol=1e-9)


def test_rows_that_are_scaled_to_a_largest_norm_are_named_as_the_cause() -> None:
    net = nn.Sequential(nn.Embedding(9, 4, max_norm=0.5), nn.Flatten(), nn.Linear(8, 3)).double()
    x, y = torch.arange(18).reshape(9, 2) % 9, torch.arange(9) % 3
    with pytest.raises(CurvatureError, match="Likely cause: max_norm of an embedding, which is scaled without gradi"):
        ls.trace(Hessian(ls.Objective(net, (x, y), scope="all")), probes=2)
