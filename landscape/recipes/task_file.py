"""Training a task of the user's own: a Python file with ``task()``, ``test()`` and, for poison, ``pool()``.

Its checkpoints do not name the file: a checkpoint that did would run code when it is read. The command line leaves the
name in a ``landscape.toml`` beside the checkpoint instead, where a user would put it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.inputs.user_code import call, load_file
from landscape.training.minibatch import PHASES, Minibatch, MinibatchSettings
from landscape.training.training import FRESH, Member, Pair, Problem, draws

SETTINGS = MinibatchSettings(
    steps=2000,
    phases=PHASES,
    clip=8.0,
    fitted=0.001,
    settled=0.0,
    window=100,
)
_HOW = (
    "Write the file so:\n"
    "  def task(): return landscape.Task(model=..., data=(inputs, targets), loss='cross_entropy')\n"
    "  def test(): return inputs, targets   # never trained on\n"
    "  def pool(): return inputs, targets   # further true samples, for --poison"
)


class TaskFile:
    """The recipe in one file.

    Args:
        path: the file.
    """

    TOGETHER = 1

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().resolve()

    def task(self, seed: int = 0) -> Task:
        """Return the file's task, its network drawn from the seed.

        Raises:
            TaskError: where the file is missing or its code fails.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = self._call("task")
        if not isinstance(made, Task):
            raise TaskError(f"task() in {self.path} returned {type(made).__name__}, not a landscape.Task.\n{_HOW}")
        return made

    def training(self, members: Sequence[Member], *, steps: int | None = None, device: str = "cpu") -> Minibatch:
        """Start the training of one network.

        Raises:
            TaskError: where the file lacks a function, or its data are no pairs of tensors.
        """
        settings = SETTINGS.with_steps(steps)
        assert isinstance(settings, MinibatchSettings)
        return Minibatch(self.problem(poisoned=any(member.poison > 0 for member in members)), members, settings, device)

    def problem(self, *, poisoned: bool) -> Problem:
        """Return the data and the network; with the pool where it is needed."""
        first = self.task()
        if first.loss not in ("cross_entropy", "binary_cross_entropy") or first.forward is not None:
            raise TaskError(
                "training needs a task whose loss is 'cross_entropy' or 'binary_cross_entropy', and which has no "
                f"forward; the one in {self.path} has the loss {first.loss!r}.\n{_HOW}"
            )
        fresh: Callable[[int, int, int], Pair] | None = None
        if poisoned:
            fresh = _Pool(self._pair("pool", self._call("pool"))).fresh
        return Problem(
            self._network,
            train=self._pair("task", first.data),
            test=self._pair("test", self._call("test")),
            fresh=fresh,
            loss=str(first.loss),
            name=self.path.name,
            record=None,
        )

    def _network(self, seed: int) -> nn.Module:
        return self.task(seed).model

    def _call(self, name: str) -> Any:
        function = getattr(load_file(self.path, "RECIPE"), name, None)
        if not callable(function):
            raise TaskError(f"{self.path} has no function {name}(), which training needs.\n{_HOW}")
        return call(function, {}, f"{name}() in {self.path}")

    def _pair(self, name: str, data: Any) -> Pair:
        pair = isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
        if not pair or len(data[0]) != len(data[1]) or len(data[0]) == 0:
            raise TaskError(
                "training needs a pair of tensors, inputs and targets of one length, from "
                f"{name}() in {self.path}.\n{_HOW}"
            )
        return data[0], data[1]


class _Pool:
    """True samples to draw from."""

    def __init__(self, data: Pair) -> None:
        self._data = data

    def fresh(self, seed: int, index: int, count: int) -> Pair:
        chosen = torch.from_numpy(draws(seed, FRESH, index).integers(len(self._data[1]), size=count))
        return self._data[0][chosen], self._data[1][chosen]
