"""Products of large models: the same numbers as from flat vectors, without the copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import landscape as ls
from landscape.curvature.autograd.product_tape import ProductTape
from landscape.curvature.large import LargeProducts
from landscape.errors import CurvatureError


class Words(nn.Module):
    """A small language model with what large ones have: a tied embedding, attention, norms, a layer of rank one."""

    def __init__(self, words: int = 11, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, numbers: Tensor) -> Tensor:
        x = self.embed(numbers)
        q, k, v = self.mix(self.norm(x)).split(x.shape[-1], dim=-1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v)) * self.scale
        return F.linear(torch.tanh(x), self.embed.weight).mean(1)


@pytest.fixture
def problem() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    torch.manual_seed(3)
    return Words().double(), (torch.randint(1, 11, (6, 5)), torch.randint(0, 11, (6,)))


def both(problem: tuple[nn.Module, tuple[Tensor, Tensor]], **options: object) -> list[ls.Hessian]:
    model, data = problem
    return [ls.Hessian(ls.Objective(model, data, scope="all", flat=flat, **options)) for flat in (False, True)]  # type: ignore[arg-type]


def test_products_and_forms_equal_those_of_flat_vectors(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    large, flat = both(problem, batch_size=4)
    vectors = torch.randn(flat.size, 2, dtype=torch.float64)
    assert (large.lean, flat.lean) == (True, False)
    assert torch.allclose(large @ vectors, flat @ vectors, rtol=1e-10, atol=1e-12)
    assert torch.allclose(large.forms(vectors), flat.forms(vectors), rtol=1e-10, atol=1e-12)
    out = vectors[:, 1].clone()
    large.add_product(vectors[:, 0], out)
    assert torch.allclose(out, vectors[:, 1] + (flat @ vectors)[:, 0], rtol=1e-10, atol=1e-12)


def test_only_tensors_in_scope_move(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    model, data = problem
    pair = [ls.Hessian(ls.Objective(model, data, scope="mix|norm", flat=flat)) for flat in (False, True)]
    vector = torch.randn(pair[0].size, dtype=torch.float64)
    assert torch.allclose(pair[0] @ vector, pair[1] @ vector, rtol=1e-10, atol=1e-12)


def test_traces_have_the_same_samples(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    large, flat = both(problem)
    one, other = (ls.trace(op, 3, seed=5) for op in (large, flat))
    assert one.samples == pytest.approx(other.samples, rel=1e-9)


def test_batches_run_in_pieces_if_their_losses_add_up(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    large, flat = both(problem, memory=60_000)
    vector = torch.randn(flat.size, dtype=torch.float64)
    assert torch.allclose(large @ vector, flat @ vector, rtol=1e-10, atol=1e-12)
    products = large._large
    assert isinstance(products, LargeProducts)
    assert products.memory.rows < 6
    assert len(products._for_products.of_batch[0]) > 1


class Together(Words):
    """The same with samples that act on each other."""

    def forward(self, numbers: Tensor) -> Tensor:
        out = super().forward(numbers)
        return out - out.mean(0)


def test_batches_whose_samples_act_on_each_other_stay_whole() -> None:
    torch.manual_seed(1)
    data = torch.randint(1, 11, (6, 5)), torch.randint(0, 11, (6,))
    large, flat = both((Together().double(), data))
    vector = torch.randn(flat.size, dtype=torch.float64)
    assert torch.allclose(large @ vector, flat @ vector, rtol=1e-10, atol=1e-12)
    assert large._large is not None
    assert large._large.memory.rows == 6


def test_a_memory_budget_below_one_product_is_refused(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    model, data = problem
    op = ls.Hessian(ls.Objective(model, data, flat=False, memory=14_000))
    with pytest.raises(CurvatureError, match=r"takes [\d,]+ bytes at a time, and the memory budget is 14,000"):
        op.prepare()


class _Slipping(torch.autograd.Function):
    """A call that a tape does not see."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, *slopes: Tensor) -> Tensor:
        return slopes[0]


class Hidden(Words):
    def forward(self, numbers: Tensor) -> Tensor:
        return super().forward(numbers) + _Slipping.apply(self.embed(numbers)).pow(3).sum(1) @ self.embed.weight.T


@pytest.mark.parametrize("check", [True, False])
def test_a_call_that_a_tape_does_not_see_goes_through_torchs_graph(check: bool) -> None:
    torch.manual_seed(2)
    model, data = Hidden().double(), (torch.randint(1, 11, (6, 5)), torch.randint(0, 11, (6,)))
    objective, other = (ls.Objective(model, data, scope="all", flat=flat) for flat in (False, True))
    large, flat = ls.Hessian(objective, check=check), ls.Hessian(other)
    vector = torch.randn(flat.size, dtype=torch.float64)
    assert torch.allclose(large.forms(vector[:, None]), flat.forms(vector[:, None]), rtol=1e-10)
    assert torch.allclose(large @ vector, flat @ vector, rtol=1e-10, atol=1e-12)


class Detached(Words):
    def forward(self, numbers: Tensor) -> Tensor:
        return super().forward(numbers) * (1 + self.embed.weight.detach().square().sum())


def test_a_detached_part_is_an_error() -> None:
    torch.manual_seed(2)
    data = torch.randint(1, 11, (6, 5)), torch.randint(0, 11, (6,))
    op = ls.Hessian(ls.Objective(Detached(), data, scope="all", flat=False))
    with pytest.raises(CurvatureError, match="autograd's gradient is not the derivative"):
        op.prepare()


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_the_outermost_eigenvalue_needs_few_vectors(which: str) -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(3, 2, bias=False).double(), (torch.randn(5, 3).double(), torch.randint(0, 2, (5,)))
    large, flat = both((model, data))
    pair = ls.top_eigenpairs(large, 1, which=which, rtol=1e-6, vectors=True)
    dense = torch.linalg.eigvalsh(flat @ torch.eye(flat.size, dtype=torch.float64))
    expected = {"largest": dense[-1], "smallest": dense[0], "magnitude": dense[dense.abs().argmax()]}[which]
    assert (pair.complete, pair.converged.tolist()) == (True, [True])
    assert pair.values[0] == pytest.approx(float(expected), abs=1e-12)
    vector = torch.from_numpy(pair.vectors[:, 0])
    assert float((large @ vector - pair.values[0] * vector).norm()) <= 1e-9


def test_an_eigenvalue_alone_has_no_vector(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    model, data = problem
    op = ls.Hessian(ls.Objective(model, data, scope="out", flat=False), check=False)
    pair, whole = ls.top_eigenpairs(op, 1, check=False), ls.top_eigenpairs(op, 2)
    assert pair.vectors.shape == (0, 1)
    assert pair.values[0] == pytest.approx(whole.values[0], rel=1e-3)


def test_more_pairs_than_memory_holds_are_refused(problem: tuple[nn.Module, tuple[Tensor, Tensor]]) -> None:
    model, data = problem
    op = ls.Hessian(ls.Objective(model, data, scope="all", flat=False, memory=80_000), check=False)
    with pytest.raises(CurvatureError, match=r"3 eigenpairs keep 26 vectors, [\d,]+ bytes.*\n.*`k=1`"):
        ls.top_eigenpairs(op, 3)


def memory_without_backward(op: ls.Hessian, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return the bytes of a sample by the plan and by its tape; no backward pass may compute numbers for the plan."""
    large = op._large
    assert large is not None
    with op.objective.running():
        exact = large._tape(large._one_sample(), 0).bytes
    grad = torch.autograd.grad

    def without_numbers(outputs: Any, *args: Any, **options: Any) -> Any:
        assert all(isinstance(item, FakeTensor) for item in tree_leaves(outputs)), "a backward pass"
        return grad(outputs, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", without_numbers)
        return op.memory().sample, exact


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_memory_is_measured_without_numbers(
    problem: tuple[nn.Module, tuple[Tensor, Tensor]], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = problem
    op = ls.Hessian(ls.Objective(model.to(dtype), data, scope="all", flat=False))
    sample, exact = memory_without_backward(op, monkeypatch)
    assert sample == exact
    assert op.objective.loss_at(op.objective.theta[None])[0] == pytest.approx(op.objective.centre, rel=1e-6)


class Deciding(Words):
    """The same with a branch that numbers decide."""

    def forward(self, numbers: Tensor) -> Tensor:
        out = super().forward(numbers)
        return out if out.isfinite().all() else out.nan_to_num()


def test_memory_in_16_bits_is_measured_without_a_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """On many processors such a pass takes hundreds of times a forward pass, and ``doctor`` asks for the memory."""
    torch.manual_seed(3)
    data = torch.randint(1, 11, (6, 5)), torch.randint(0, 11, (6,))
    op = ls.Hessian(ls.Objective(Deciding().bfloat16(), data, scope="all", flat=False))
    sample, exact = memory_without_backward(op, monkeypatch)
    assert exact <= sample <= 1.3 * exact


def test_a_tape_of_a_cubic() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    tape, out = ProductTape(lambda: (x**3).sum(), [x]), torch.ones(2, dtype=torch.float64)
    tape.add_product([torch.tensor([1.0, -1.0], dtype=torch.float64)], [out])
    assert out.tolist() == [1 + 6, 1 - 12]


def squashed(logits: Tensor, target: Tensor) -> Tensor:
    return (torch.softmax(logits, 1) - F.one_hot(target, 11)).square().sum(1).mean()


@pytest.mark.parametrize("loss", ["cross_entropy", squashed])
@pytest.mark.parametrize("memory", [None, 60_000])
def test_the_gauss_newton_matrix_equals_that_of_flat_vectors(
    problem: tuple[nn.Module, tuple[Tensor, Tensor]], loss: object, memory: int | None
) -> None:
    model, data = problem
    ops = [
        ls.GaussNewton(ls.Objective(model, data, loss, scope="all", flat=flat, memory=None if flat else memory))  # type: ignore[arg-type]
        for flat in (False, True)
    ]
    large, flat = ops
    vectors = torch.randn(flat.size, 2, dtype=torch.float64)
    assert (large.lean, flat.lean) == (True, False)
    assert torch.allclose(large @ vectors, flat @ vectors, rtol=1e-10, atol=1e-12)
    assert torch.allclose(large.forms(vectors), flat.forms(vectors), rtol=1e-10, atol=1e-12)
    hessian = ls.Hessian(flat.objective)
    assert not torch.allclose(large @ vectors, hessian @ vectors, rtol=1e-3)


def test_a_gauss_newton_matrix_that_no_tape_gives_is_refused() -> None:
    torch.manual_seed(2)
    data = torch.randint(1, 11, (6, 5)), torch.randint(0, 11, (6,))
    op = ls.GaussNewton(ls.Objective(Hidden().double(), data, scope="all", flat=False))
    with pytest.raises(CurvatureError, match="`flat=True`"):
        op @ torch.ones(op.size, dtype=torch.float64)
