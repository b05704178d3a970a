"""The residual networks: keyed by the seed, shallow at the start without normalisation, as large as the paper's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.recipes.resnet import MODELS, resnet


@pytest.mark.parametrize("name", MODELS)
def test_residual_nets(name: str) -> None:
    """Keyed by the seed; without normalisation a fresh net has no blocks but their shortcuts."""
    before = torch.get_rng_state()
    first, again, other = (resnet(name, seed, channels=3, classes=10) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.conv.weight, other.conv.weight)
    assert first(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    norms = [module for module in first.modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) == name.endswith("-bn")
    if not norms:
        assert all((block.conv2.weight == 0).all() for block in first.blocks)


def test_the_full_resnet_is_the_papers() -> None:
    model = resnet("resnet20-bn", 0, channels=3, classes=10)
    assert sum(p.numel() for p in model.parameters()) == 269_722
    inputs, targets = torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64)
    assert ls.Objective(model.eval(), (inputs, targets)).dimension == 268_336
