"""The plan of memory holds the matrices with one entry for each pair of tokens that attention keeps at work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from helpers.allocated import most_allocated
from landscape.errors import CurvatureError

TOKENS = 400
PAIRS = 4 * 2 * TOKENS**2  #: bytes of one such matrix, for both heads


class Attention(nn.Module):
    def __init__(self, layers: int, how: str) -> None:
        super().__init__()
        self.how = how
        self.embed, self.last = nn.Embedding(11, 8), nn.Linear(8, 11)
        self.mix = nn.ModuleList([nn.Linear(8, 24) for _ in range(layers)])
        self.whole = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(layers)])

    def forward(self, numbers: Tensor) -> Tensor:
        x = self.embed(numbers)
        for mix, whole in zip(self.mix, self.whole, strict=True):
            if self.how == "module":
                x = x + whole(x, x, x, need_weights=False)[0]
                continue
            q, k, v = (each.unflatten(-1, (2, 4)).transpose(1, 2) for each in mix(x).split(8, -1))
            attended = F.scaled_dot_product_attention(q, k, v) if self.how == "function" else (q @ k.mT).softmax(-1) @ v
            x = x + attended.transpose(1, 2).flatten(2)
        return self.last(x).mean(1)


def operator(kind: Any, how: str, layers: int = 1, rows: int = 1, **options: Any) -> Any:
    torch.manual_seed(0)
    data = torch.randint(0, 11, (rows, TOKENS)), torch.randint(0, 11, (rows,))
    return kind(ls.Objective(Attention(layers, how), data, scope="all", lanes=1, **options), check=False)


def most_of_products_and_forms(op: Any) -> int:
    """Return the same of a product and of a form, each with all that it has to compute."""
    vector, sizes = torch.randn(op.size), []
    for work in (lambda: op @ vector, lambda: op.forms(vector[:, None])):
        work()  # what is found out only once
        op.forget()
        sizes.append(most_allocated(work))
        op.forget()
    return max(sizes)


@pytest.mark.parametrize(("how", "layers"), [("function", 1), ("by hand", 4), ("module", 1)])
@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_the_plan_of_a_large_model_holds_matrices_of_pairs(kind: Any, how: str, layers: int) -> None:
    op = operator(kind, how, layers, flat=False)
    most = most_of_products_and_forms(op)
    assert most > 5 * PAIRS
    assert 0.6 * op.memory().least() <= most <= op.memory().least()


@pytest.mark.parametrize("how", ["function", "by hand"])
def test_the_plan_of_flat_vectors_holds_matrices_of_pairs(how: str) -> None:
    op = operator(ls.Hessian, how, flat=True)
    assert 5 * PAIRS < most_of_products_and_forms(op) <= op.memory().peak()


def test_a_limit_is_kept_by_fewer_samples_at_a_time() -> None:
    """Four sequences together would take four times as much."""
    limit = round(1.5 * operator(ls.Hessian, "function", flat=False).memory().least())
    op = operator(ls.Hessian, "function", rows=4, flat=False, memory=limit)
    assert 0.5 * limit < most_of_products_and_forms(op) <= limit
    assert op.memory().rows == 1


def test_a_limit_below_the_matrices_of_a_sample_is_refused() -> None:
    with pytest.raises(CurvatureError, match="and the memory budget is"):
        operator(ls.Hessian, "function", flat=False, memory=5 * PAIRS).prepare()
