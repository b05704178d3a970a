"""What is trained on what: the network, the training set, the test set and the source of poison samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.rays.streams import Purpose, stream
from landscape.training.poison import check_poison

Pair = tuple[Tensor, Tensor]  #: inputs, shape (N, ...), and targets, shape (N,)
Value = bool | int | float | str  #: of an axis of a family
POISON = "poison"  #: the axis of poison factors


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
        augment: changes the inputs of each step at random: (inputs, random numbers) -> inputs of the same shape. For
            training by minibatches; None for no change.
        task_args: what the user's function ``task()`` was called with.
    """

    network: Callable[[int], nn.Module]
    train: Pair
    test: Pair
    fresh: Callable[[int, int, int], Pair] | None
    loss: str
    name: str
    record: Mapping[str, Any] | None
    augment: Callable[[Tensor, np.random.Generator], Tensor] | None = None
    task_args: Mapping[str, Value] = field(default_factory=dict)

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
    """One network of a family: its seed, its poison factor β, and its place in the family.

    Attributes:
        seed: keys the network and its training.
        poison: the poison factor.
        axes: (name, value) of each axis of the family, the poison factor among them if it is an axis.

    >>> member = Member.at(3, {"width": 16, "weight_decay": 0.001, "poison": 0.05})
    >>> member.poison, member.name
    (0.05, 'width-16-weight-decay-0.001-poison-0.05-seed-3')
    >>> Member(3, 0.05).name
    'poison-0.05-seed-3'
    """

    seed: int
    poison: float = 0.0
    axes: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        check_poison(self.poison)

    @classmethod
    def at(cls, seed: int, axes: Mapping[str, Value]) -> Self:
        """Return the network of a seed at a place in a family."""
        return cls(seed, float(axes.get(POISON, 0.0)), tuple(axes.items()))

    @property
    def name(self) -> str:
        """The name of its checkpoint, without the ending."""
        axes = self.axes or ((POISON, self.poison),)
        return "-".join([*(f"{name.replace('_', '-')}-{as_text(value)}" for name, value in axes), f"seed-{self.seed}"])

    @property
    def keywords(self) -> dict[str, Value]:
        """The keywords of the recipe in which it differs from others of its family."""
        return {name: value for name, value in self.axes if name != POISON}

    def plain(self) -> list[Any]:
        """Return the member in plain values, for the state of a training."""
        return [self.seed, self.poison, *([[list(axis) for axis in self.axes]] if self.axes else [])]

    @classmethod
    def from_plain(cls, values: Sequence[Any]) -> Self:
        """Return the member that :meth:`plain` describes."""
        seed, poison, *axes = values
        return cls(seed, poison, tuple((name, value) for name, value in axes[0]) if axes else ())


def as_text(value: Value) -> str:
    """Return a value as the name of a file can hold it.

    >>> as_text(0.10), as_text(1e-5), as_text("a b/c.npz"), as_text(True)
    ('0.1', '1e-05', 'a_b_c.npz', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return re.sub(r"[^\w.+-]", "_", str(value))
