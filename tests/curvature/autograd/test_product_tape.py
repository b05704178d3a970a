"""A tape of steps: products and forms equal those of torch's graph, and inner results are not kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.curvature.autograd.product_tape import ProductTape, Run
from landscape.errors import CurvatureError


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def by_graph(program: Callable[[], Tensor], leaves: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
    """Return H v from torch's double backward pass."""
    gradient = torch.autograd.grad(program(), leaves, create_graph=True)
    return list(torch.autograd.grad(gradient, leaves, vectors, materialize_grads=True))


def require_same(program: Callable[[], Tensor], leaves: list[Tensor]) -> ProductTape:
    """Compare a product and a form with torch's graph, and return the tape."""
    vectors = [torch.randn_like(each) for each in leaves]
    expected = by_graph(program, leaves, vectors)
    tape, out = ProductTape(program, leaves), [torch.zeros_like(each) for each in leaves]
    tape.add_product(vectors, out)
    for one, other in zip(out, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
    form = sum(float((v * product).sum()) for v, product in zip(vectors, expected, strict=True))
    assert float(tape.form(vectors)) == pytest.approx(form, rel=1e-10)
    return tape


def test_operations_between_layers_are_one_step_that_keeps_what_others_read() -> None:
    torch.manual_seed(0)
    x, first, second = torch.randn(5, 4, dtype=torch.float64), leaf(6, 4), leaf(3, 6)

    def program() -> Tensor:
        inner = F.linear(x, first)
        inner = 0.5 * inner * (1 + torch.tanh(inner + 0.1 * inner.pow(3)))  # 6 inner results of 5 x 6
        return F.linear(inner, second).square().sum()

    tape = require_same(program, [first, second])
    assert [type(step).__name__ for step in tape.steps] == ["Linear", "Run", "Linear", "Run"]
    doubles = 5 * 4 + 2 * (5 * 6) + 2 * (5 * 6) + 2 * (5 * 3) + 2  # the input; then a value and a slope each
    assert tape.bytes == 8 * doubles


def test_a_result_that_is_read_twice_and_one_that_is_returned_in_parts() -> None:
    torch.manual_seed(1)
    x, w, scale = torch.randn(5, 4, dtype=torch.float64), leaf(6, 4), leaf(2)

    def program() -> Tensor:
        left, middle, right = torch.tanh(F.linear(x, w)).split(2, dim=1)
        return (F.linear(left * middle * scale, w[:2, :2]) + right).exp().sum() + left.square().sum()

    require_same(program, [w, scale])


def test_a_run_is_cut_where_it_and_others_read_a_result() -> None:
    torch.manual_seed(4)
    x, w = torch.randn(5, 4, dtype=torch.float64), leaf(4, 4)

    def program() -> Tensor:
        stream = x + F.linear(x, w).sin()
        return (stream + F.linear(stream.tanh(), w)).square().sum()

    tape = require_same(program, [w])
    assert [type(step).__name__ for step in tape.steps] == ["Linear", "Run", "Run", "Linear", "Run"]


def test_a_long_run_is_cut() -> None:
    w = leaf(3)

    def program() -> Tensor:
        value = w
        for _ in range(40):
            value = value.sin()
        return value.sum()

    tape = require_same(program, [w])
    assert all(isinstance(step, Run) for step in tape.steps)
    assert len(tape.steps) == 2


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_in_rows(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.curvature.autograd.cross_entropy_rule._ENTRIES", 14)
    torch.manual_seed(2)
    x, w = torch.randn(5, 4, dtype=torch.float64), leaf(7, 4)
    target, weights = torch.tensor([3, -100, 0, 6, 2]), torch.rand(5, dtype=torch.float64)

    def program() -> Tensor:
        loss = F.cross_entropy(F.linear(x, w), target, reduction=reduction)
        return (weights * loss.square()).sum()

    tape = require_same(program, [w])
    assert [type(step).__name__ for step in tape.steps] == ["Linear", "CrossEntropy", "Run"]


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"weight": torch.arange(1.0, 8.0).double()}])
def test_cross_entropy_of_another_kind_goes_through_torch(options: dict[str, object]) -> None:
    torch.manual_seed(3)
    x, w, target = torch.randn(5, 4, dtype=torch.float64), leaf(7, 4), torch.tensor([3, 1, 0, 6, 2])
    tape = require_same(lambda: F.cross_entropy(F.linear(x, w), target, **options), [w])  # type: ignore[arg-type]
    assert [type(step).__name__ for step in tape.steps] == ["Linear", "Run"]


def test_a_total_without_the_leaves_is_refused() -> None:
    with pytest.raises(CurvatureError, match="no curvature"):
        ProductTape(lambda: torch.ones(()), [leaf(2)])
