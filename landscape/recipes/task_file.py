"""The recipe in a Python file of the user's own: ``task()``, ``test()`` and, for poison, ``pool()``.

Its checkpoints do not name the file: a checkpoint that did would run code when it is read. Instead the command line
writes the name into a ``landscape.toml`` in the folder of the checkpoint, where a user would put it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.inputs.user_code import call, load_file
from landscape.training import Member, MinibatchSettings, MinibatchTraining, Problem
from landscape.training.problem import Pair, SamplePool
from landscape.training.settings import MINIBATCH_PHASES

SETTINGS = MinibatchSettings(
    steps=2000,
    phases=MINIBATCH_PHASES,
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

    NETS_TOGETHER = 1

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.realpath(os.path.expanduser(path)))

    def task(self, seed: int = 0) -> Task:
        """Return the file's task, its network drawn from the seed.

        Raises:
            TaskError: if the file is missing or its code fails.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            task = self._call("task")
        if not isinstance(task, Task):
            raise TaskError(f"task() in {self.path} returned {type(task).__name__}, not a landscape.Task.\n{_HOW}")
        return task

    def training(
        self, members: Sequence[Member], *, steps: int | None = None, device: str = "cpu"
    ) -> MinibatchTraining:
        """Begin the training of one network.

        Raises:
            TaskError: if the file lacks a function, or its data are not pairs of tensors.
        """
        problem = self.problem(poisoned=any(member.poison > 0 for member in members))
        return MinibatchTraining(problem, members, SETTINGS.with_steps(steps), device)

    def problem(self, *, poisoned: bool) -> Problem:
        """Return the data and the network, with the pool if some member is poisoned."""
        task = self.task()
        if task.loss not in ("cross_entropy", "binary_cross_entropy") or task.forward is not None:
            raise TaskError(
                "training needs a task without forward whose loss is 'cross_entropy' or 'binary_cross_entropy'; the "
                f"task in {self.path} has the loss {task.loss!r}.\n{_HOW}"
            )
        if task.output not in (None, "logits"):
            raise TaskError(
                f"training needs a network that returns logits; the one in {self.path} returns {task.output}.\n"
                "Leave its last layer (softmax, sigmoid) out, and output=... too."
            )
        pool = SamplePool(*self._pair("pool", self._call("pool"))) if poisoned else None
        return Problem(
            self._network,
            train=self._pair("task", task.data),
            test=self._pair("test", self._call("test")),
            fresh=pool.fresh if pool is not None else None,
            loss=str(task.loss),
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
        is_pair = isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
        if not is_pair or len(data[0]) != len(data[1]) or len(data[0]) == 0:
            raise TaskError(
                "training needs a pair of tensors, inputs and targets of the same length, from "
                f"{name}() in {self.path}.\n{_HOW}"
            )
        return data[0], data[1]
