"""The memory plan holds copies in float32 of what operations in 16 bits read and give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from helpers.allocated import most_allocated
from landscape.objective import narrow_products
from landscape.rays import metric_of, random_directions

NARROW = [torch.bfloat16, torch.float16]


def numbers(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def convolutions() -> nn.Module:
    layers = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(numbers(3, 32, 32, dtype=torch.float32) / 6)
        self.wide, self.last = nn.Linear(32, 128), nn.Linear(128, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = ((x @ each).unflatten(-1, (4, 8)).transpose(1, 2) for each in self.weight)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.last(self.wide(attended).relu()).mean(1)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", ["convolution", "attention"])
def test_copies_in_float32_are_planned(
    kind: str, flat: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: dtype in NARROW)
    monkeypatch.setattr(narrow_products, "_SMALL_WEIGHT", 1)
    net, inputs = (convolutions(), (8, 64, 64)) if kind == "convolution" else (Attention(), (512, 32))
    data = numbers(4, *inputs, dtype=dtype), torch.tensor([0, 1, 1, 0])
    of = ls.Objective(net.to(dtype), data, flat=flat, batch_size=4, lanes=1)
    plan, steps = of.plan, random_directions(of, metric_of(of, "layer"), 0).steps([0])
    with of.running():
        of.along(steps, np.ones(1))
        most = most_allocated(lambda: of.along(steps, np.ones(1)))
    assert plan.lane_bytes - plan.copies < most <= plan.lane_bytes


@pytest.mark.parametrize("dtype", NARROW)
def test_copies_in_float32_are_planned_for_products(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: dtype in NARROW)
    data = numbers(4, 8, 64, 64, dtype=dtype), torch.tensor([0, 1, 1, 0])
    op = ls.Hessian(ls.Objective(convolutions().to(dtype), data, flat=False, batch_size=4), check=False)
    vector = numbers(op.size, dtype=torch.float32)
    _ = op @ vector
    memory = op.memory()
    assert memory.peak() - memory.copies < most_allocated(lambda: op @ vector) <= memory.peak()
