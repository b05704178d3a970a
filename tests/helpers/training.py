"""A small training run with what a measurement could disturb: dropout, BatchNorm, shuffling, an optimiser's state."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

MEASURES = ["loss", "accuracy", "lambda-max", "trace", "average-case", "radius"]
CHEAP = ["loss", "trace"]


def points(count: int = 48) -> tuple[Tensor, Tensor]:
    """Points in the plane, and whether each is far from the origin."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    return x, (x.norm(dim=1) > 1.2).long()


def make_net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2))


class Noisy(TensorDataset):
    """Augmented data: each sample draws from every generator."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + 0.01 * (torch.randn(2) + random.random() + np.random.rand()), y  # noqa: NPY002


def loader(shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(Noisy(*points()), 16, shuffle=shuffle)


def seed_all() -> None:
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)


def states() -> tuple[Any, ...]:
    """The states of all random generators."""
    numpy = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), numpy[1].tolist(), numpy[2:], random.getstate()


def same(first: Any, second: Any) -> bool:
    """Whether two nested structures of tensors and numbers agree bit for bit."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
