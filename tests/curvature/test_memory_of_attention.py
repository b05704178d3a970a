"""The plan of memory holds the matrices with one entry for each pair of tokens that attention keeps at work."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from helpers.allocated import most_allocated
from landscape.curvature.operator import Operator
from landscape.errors import CurvatureError

TOKENS = 120
PAIRS = 8 * 2 * TOKENS**2  #: bytes of one such matrix, for both heads


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


@cache
def objective(how: str, layers: int, rows: int, flat: bool, memory: int | None) -> ls.Objective:
    torch.manual_seed(0)
    data = torch.randint(0, 11, (rows, TOKENS)), torch.randint(0, 11, (rows,))
    # in float32 the derivatives of flat vectors are checked in float64, which takes more; those of large models are not
    model = Attention(layers, how).to(torch.float32 if flat else torch.float64)
    return ls.Objective(model, data, scope="all", lanes=1, flat=flat, memory=memory)


def operator(
    kind: Any,
    how: str,
    layers: int = 1,
    rows: int = 1,
    *,
    check: bool = True,
    flat: bool = False,
    memory: int | None = None,
) -> Any:
    return kind(objective(how, layers, rows, flat, memory), check=check)


def most_of_first(make: Callable[[], Any], *works: Callable[[Any, Tensor], object]) -> int:
    """Return the largest number of bytes that torch holds at a time in the first product, or the first form."""
    sizes = []
    for work in works or (Operator.__matmul__, lambda op, vector: op.forms(vector[:, None])):
        op = make()
        op.memory()
        sizes.append(most_allocated(partial(work, op, torch.randn(op.size, dtype=op.dtype))))
    return max(sizes)


@pytest.mark.parametrize(("how", "layers"), [("function", 1), ("by hand", 4), ("module", 1)])
@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_the_plan_of_a_large_model_holds_matrices_of_pairs(kind: Any, how: str, layers: int) -> None:
    make = partial(operator, kind, how, layers)
    most, least = most_of_first(make), make().memory().least()
    assert most > 5 * PAIRS
    assert 0.6 * least <= most <= least


@pytest.mark.parametrize("how", ["function", "by hand"])
def test_the_plan_of_flat_vectors_holds_matrices_of_pairs(how: str) -> None:
    make = partial(operator, ls.Hessian, how, flat=True)
    assert 5 * PAIRS < most_of_first(make) <= make().memory().peak()


@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_a_limit_is_kept_by_fewer_samples_at_a_time(kind: Any) -> None:
    """Four sequences together would take four times as much."""
    limit = round(1.5 * operator(kind, "function").memory().least())
    make = partial(operator, kind, "function", rows=4, memory=limit)
    assert 0.5 * limit < most_of_first(make) <= limit
    assert make().memory().rows < 4


def test_a_limit_below_the_matrices_of_a_sample_is_refused() -> None:
    with pytest.raises(CurvatureError, match="and the memory budget is"):
        operator(ls.Hessian, "function", memory=5 * PAIRS).prepare()


@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_without_a_check_the_graph_of_torch_has_to_fit_too(kind: Any) -> None:
    make = partial(operator, kind, "by hand", 4, check=False)
    least = make().memory().least()
    with pytest.raises(CurvatureError, match="`memory=") as refused:
        most_of_first(partial(make, memory=least), Operator.__matmul__)
    needed = int(re.search(r"`memory=(\d+)`", str(refused.value))[1])  # type: ignore[index]
    assert 0.6 * needed <= most_of_first(partial(make, memory=needed), Operator.__matmul__) <= needed
