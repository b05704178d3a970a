"""The recipe in a Python file of the user's own: ``task()``, ``test()`` and, for poison, ``pool()``.

Its checkpoints do not name the file: a checkpoint that did would run code when it is read. Instead the command line
writes the name into a ``landscape.toml`` in the folder of the checkpoint, where a user would put it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.inputs.user_code import call, load_file
from landscape.training import Member, MinibatchSettings, MinibatchTraining, Problem
from landscape.training.problem import Pair, SamplePool, Value
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
    "  def pool(): return inputs, targets   # further true samples, for poison"
)


class TaskFile:
    """The recipe in one file.

    Args:
        path: the file.
    """

    NETS_TOGETHER = 1

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.realpath(os.path.expanduser(path)))

    def task(self, seed: int = 0, task_args: Mapping[str, Value] | None = None) -> Task:
        """Return the file's task, its network drawn from the seed.

        Args:
            seed: keys torch's random numbers while the function runs.
            task_args: keywords of the function.

        Raises:
            TaskError: if the file is missing or its code fails.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            task = self._call("task", task_args)
        if not isinstance(task, Task):
            raise TaskError(f"task() in {self.path} returned {type(task).__name__}, not a landscape.Task.\n{_HOW}")
        return task

    def training(
        self,
        members: Sequence[Member],
        *,
        lr: float | None = None,
        batch: int | None = None,
        weight_decay: float | None = None,
        optimiser: str | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        until_loss: float | None = None,
        device: str = "cpu",
        **task_args: Value,
    ) -> MinibatchTraining:
        """Begin the training of one network.

        Args:
            members: one seed and poison factor.
            lr: the highest learning rate; 0.003 by default.
            batch: samples per step; 256 by default.
            weight_decay, steps, until_loss: see :meth:`landscape.training.Settings.changed`.
            optimiser: ``adam`` or ``sgd``.
            epochs: passes over the training set at most, instead of ``steps``.
            device: the device that computes.
            task_args: keywords of the function ``task()`` in the file.

        Raises:
            TaskError: if the file lacks a function, or its data are not pairs of tensors.
        """
        problem = self.problem(poisoned=any(member.poison > 0 for member in members), task_args=task_args)
        settings = SETTINGS.changed(steps=steps, lr=lr, weight_decay=weight_decay, until_loss=until_loss)
        settings = settings.minibatch(batch, optimiser, epochs, len(problem.train[1]), steps)
        return MinibatchTraining(problem, members, settings, device)

    def keywords(self) -> dict[str, inspect.Parameter]:
        """Return the keywords of the function ``task()`` in the file.

        Raises:
            TaskError: if the file is missing or has no such function.
        """
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self._function("task")).parameters
        return {name: parameter for name, parameter in parameters.items() if parameter.kind in kinds}

    def problem(self, *, poisoned: bool, task_args: Mapping[str, Value]) -> Problem:
        """Return the data and the network, with the pool if some member is poisoned."""
        task = self.task(task_args=task_args)
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
            partial(self._network, task_args=task_args),
            train=self._pair("task", task.data),
            test=self._pair("test", self._call("test")),
            fresh=pool.fresh if pool is not None else None,
            loss=str(task.loss),
            name=self.path.name,
            record=None,
            task_args=task_args,
        )

    def _network(self, seed: int, task_args: Mapping[str, Value]) -> nn.Module:
        return self.task(seed, task_args).model

    def _call(self, name: str, arguments: Mapping[str, Value] | None = None) -> Any:
        return call(self._function(name), dict(arguments or {}), f"{name}() in {self.path}")

    def _function(self, name: str) -> Callable[..., Any]:
        function = getattr(load_file(self.path, "RECIPE"), name, None)
        if not callable(function):
            raise TaskError(f"{self.path} has no function {name}(), which training needs.\n{_HOW}")
        return function

    def _pair(self, name: str, data: Any) -> Pair:
        is_pair = isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
        if not is_pair or len(data[0]) != len(data[1]) or len(data[0]) == 0:
            raise TaskError(
                "training needs a pair of tensors, inputs and targets of the same length, from "
                f"{name}() in {self.path}.\n{_HOW}"
            )
        return data[0], data[1]
