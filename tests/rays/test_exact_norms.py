"""Norms of filters: right, and the same to the last bit for any division of the tensor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from landscape.rays.exact_norms import largest, norms, whole_squares


def sharded(shards: list[Tensor], axes: tuple[int, ...], count: int) -> Tensor:
    """Return the norms from shards that hold a part of every filter."""
    maxima = torch.stack([largest(shard, axes) for shard in shards]).amax(0)
    sums = torch.stack([whole_squares(shard, axes, maxima, count) for shard in shards]).sum(0)
    return norms(sums, maxima, count)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "axes"), [((30, 400), (0,)), ((400, 30), (1,)), ((2, 30, 5, 7), (0, 2)), ((999,), ())]
)
def test_norms_of_filters_do_not_depend_on_the_division(
    shape: tuple[int, ...], axes: tuple[int, ...], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    weights = (torch.randn(shape) * torch.logspace(-8, 3, shape[-1])).to(dtype)
    inside = [axis for axis in range(len(shape)) if axis not in axes]
    count = weights.numel() // largest(weights, axes).numel()
    whole = sharded([weights], axes, count)
    truth = torch.linalg.vector_norm(weights.double(), dim=inside, keepdim=True)
    assert torch.allclose(whole, truth, rtol=1e-12, atol=0)
    for parts in (2, 3, 7):
        assert torch.equal(sharded(list(weights.chunk(parts, inside[0])), axes, count), whole)
    order = torch.randperm(shape[inside[0]])
    assert torch.equal(sharded([weights.index_select(inside[0], order)], axes, count), whole)


def test_tensors_of_many_pieces_and_tiny_or_zero_filters() -> None:
    weights = torch.zeros(700, 1000)
    weights[::2] = torch.randn(350, 1000)
    weights[3] = 1e-30
    by_row = sharded([weights], (0,), 1000)
    assert torch.allclose(by_row, torch.linalg.vector_norm(weights.double(), dim=1, keepdim=True), rtol=1e-12, atol=0)
    by_column = sharded([weights[:123], weights[123:]], (1,), 700)
    truth = torch.linalg.vector_norm(weights.double(), dim=0, keepdim=True)
    assert torch.allclose(by_column, truth, rtol=1e-12, atol=0)
    one = torch.full((), -2.5)
    assert sharded([one], (), 1).item() == 2.5
