"""What is trained on what: the network, the training set, the test set and the source of poison samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.rays.streams import Purpose, stream
from landscape.training.poison import check_poison

Pair = tuple[Tensor, Tensor]  #: inputs, shape (N, ...), and targets, shape (N,)


def draws(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Return the random numbers of (seed, purpose, index), which do not depend on what was drawn before.

    >>> one, again, other = (draws(3, Purpose.FRESH, index).random() for index in (0, 0, 1))
    >>> one == again, one == other
    (True, False)
    """
    if not 0 <= seed < 2**64:
        raise TaskError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}. Pass `seed=0`.")
    return stream(purpose, seed, stage=index)


@dataclass(frozen=True)
class Problem:
    """What is trained on what.

    Attributes:
        network: seed -> untrained network.
        train: the training set.
        test: further samples of the true distribution. Their accuracy is reported; nothing is ever trained on them.
        fresh: (seed, stream index, count) -> that many samples of the true distribution, neither training nor test
            samples; None if there are none.
        loss: the loss that measures a checkpoint: ``binary_cross_entropy`` for one logit, else ``cross_entropy``.
        name: what the problem is called.
        record: what rebuilds the task, without the seed: ``{"recipe": name, "args": {...}}``; None if a checkpoint
            does not carry its task.
    """

    network: Callable[[int], nn.Module]
    train: Pair
    test: Pair
    fresh: Callable[[int, int, int], Pair] | None
    loss: str
    name: str
    record: Mapping[str, Any] | None

    def task(self, seed: int) -> Task:
        """Return the task that a checkpoint of this problem belongs to."""
        return Task(self.network(seed), self.train, self.loss, name=f"{self.name}, seed {seed}")

    def record_of(self, seed: int) -> dict[str, Any] | None:
        """Return the record of the network of one seed, as a checkpoint holds it."""
        if self.record is None:
            return None
        return {"recipe": self.record["recipe"], "args": {"seed": seed, **self.record["args"]}}


@dataclass(frozen=True)
class SamplePool:
    """Samples of the true distribution that the poison is drawn from: inputs, shape (N, ...), and targets."""

    inputs: Tensor
    targets: Tensor

    def fresh(self, seed: int, index: int, count: int) -> Pair:
        """Return ``count`` samples, drawn with replacement; keyed by (seed, index)."""
        chosen = torch.from_numpy(draws(seed, Purpose.FRESH, index).integers(len(self.targets), size=count))
        return self.inputs[chosen], self.targets[chosen]


@dataclass(frozen=True)
class Member:
    """One network of a family: its seed and its poison factor β."""

    seed: int
    poison: float = 0.0

    def __post_init__(self) -> None:
        check_poison(self.poison)
