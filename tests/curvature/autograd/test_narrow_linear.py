"""Linear layers in 16 bits: torch's own values, and backward passes that sum in float32 and round once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import landscape as ls
from landscape.curvature.autograd import narrow_linear
from landscape.curvature.autograd.narrow_linear import NarrowLinear, linear, times_back


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of slow processors, whatever this one has."""
    monkeypatch.setattr(narrow_linear, "has_slow_backward", lambda _: True)
    monkeypatch.setattr(narrow_linear, "_WIDENED", 60)  # several pieces of rows


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_product_is_a_sum_in_float32_that_is_rounded_once(dtype: torch.dtype) -> None:
    """Half a unit in the last place of the result, and the rounding of a sum of 64 terms in float32."""
    g, w = numbers(3, 5, 64, dtype=dtype), numbers(64, 24, seed=1, dtype=dtype)
    truth, sizes = g.double() @ w.double(), g.double().abs() @ w.double().abs()
    allowed = torch.finfo(dtype).eps / 2 * truth.abs() + 64 * torch.finfo(torch.float32).eps * sizes
    assert times_back(g, w).dtype == dtype
    assert ((times_back(g, w).double() - truth).abs() <= allowed).all()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("bias", [False, True])
def test_values_are_those_of_torch_to_the_last_bit(bias: bool) -> None:
    x, w = numbers(2, 7, 16, dtype=torch.bfloat16), numbers(9, 16, seed=1, dtype=torch.bfloat16).requires_grad_()
    b = numbers(9, seed=2, dtype=torch.bfloat16) if bias else None
    assert torch.equal(linear(x, w, b), F.linear(x, w, b))


@pytest.mark.usefixtures("slow")
def test_first_and_second_derivatives_against_differences() -> None:
    items = [numbers(2, 3, 4), numbers(5, 4, seed=1), numbers(5, seed=2)]
    for item in items:
        item.requires_grad_()
    assert torch.autograd.gradcheck(lambda *each: linear(*each).tanh(), items)
    assert torch.autograd.gradgradcheck(lambda *each: linear(*each).tanh(), items)


@pytest.mark.usefixtures("slow")
def test_a_derivative_by_a_weight_that_depends_on_others_is_there() -> None:
    v = numbers(5, 4, seed=1).requires_grad_()
    out = linear(numbers(3, 4), v.tanh(), leaves=False).square().sum()
    wanted = F.linear(numbers(3, 4), v.tanh()).square().sum()
    torch.testing.assert_close(torch.autograd.grad(out, v), torch.autograd.grad(wanted, v))


@pytest.mark.usefixtures("slow")
def test_many_points_run_together() -> None:
    x, weights = numbers(3, 4), numbers(6, 5, 4, seed=1)

    def slope(w: Tensor) -> Tensor:
        with NarrowLinear():
            return torch.func.grad(lambda w: F.linear(x, w).square().sum())(w)

    torch.testing.assert_close(torch.func.vmap(slope)(weights), torch.stack([slope(w) for w in weights]))


class SlowKernel(TorchDispatchMode):
    """Counts products of two row-major matrices in 16 bits, which are slow."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.mm.default and args[0].dtype == torch.bfloat16:
            rows, second = args
            self.count += rows.stride(1) == 1 and second.is_contiguous() and min(second.shape) > 1
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_products_of_a_large_model_do_without_the_slow_kernel(kind: type[ls.Hessian]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5)).bfloat16()
    data = torch.randn(9, 6).bfloat16(), torch.randint(0, 5, (9,))
    op = kind(ls.Objective(net, data, scope="all", flat=False))
    flat = kind(ls.Objective(net, data, scope="all", dtype=torch.float64))
    vector = torch.randn(op.size)
    with SlowKernel() as seen:
        product, form = op @ vector, op.forms(vector[:, None])
    assert op.lean
    assert seen.count == 0
    wanted = flat @ vector.double()
    assert float((product.double() - wanted).norm() / wanted.norm()) < 0.1  # 16 bits
    assert abs(float(form[0]) - float(vector.double() @ wanted)) < 0.1 * float(vector.norm() * wanted.norm())
