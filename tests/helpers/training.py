"""A small training run with what a measurement could disturb: dropout, BatchNorm, shuffling, an optimiser's state."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import landscape as ls

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
    gpus = [state.tolist() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else []
    return gpus, torch.get_rng_state().tolist(), numpy[1].tolist(), numpy[2:], random.getstate()


def same(first: Any, second: Any) -> bool:
    """Whether two nested structures of tensors and numbers agree bit for bit."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def tracked_ddp(folder: Path) -> None:
    """Train under DistributedDataParallel twice, alone and tracked; each rank checks that nothing differs."""
    import torch.distributed as dist

    from landscape.integrations import Tracker

    dist.init_process_group("gloo")
    runs = []
    for tracked in (False, True):
        seed_all()
        net = nn.parallel.DistributedDataParallel(make_net())
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        data = Noisy(*points())
        sampler = DistributedSampler(data, seed=5)
        held = DataLoader(TensorDataset(*points()), 8, sampler=DistributedSampler(data, shuffle=False))
        numbers = []
        with Tracker(held, measures=CHEAP, every_steps=2, out=folder / "run.h5", overwrite=True) as tracker:
            for step, (x, y) in enumerate(DataLoader(data, 6, sampler=sampler), 1):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
                if tracked:
                    numbers.append(tracker(net, step))
        runs.append({"weights": net.state_dict(), "optimizer": optimizer.state_dict(), "random": states()})
    assert same(*runs), "the two trainings differ"
    assert [bool(found) for found in numbers] == [dist.get_rank() == 0 and step % 2 == 0 for step in range(1, 5)]
    if dist.get_rank() == 0:
        whole = ls.Objective(net.module, points())  # all samples, not this rank's share
        assert numbers[-1]["landscape/loss"] == whole.centre
    dist.destroy_process_group()
