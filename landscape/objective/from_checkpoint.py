"""The objective of a checkpoint: the network, the data and the loss are found as the command line finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import nn

from landscape.objective.counting import Count


@dataclass(frozen=True)
class Origin:
    """The checkpoint that an objective comes from.

    Attributes:
        path: the file or folder.
        form: in which form the weights were found, in one line.
        name: name of the task.
        step, epoch: how far the training was, if the checkpoint says so.
    """

    path: Path
    form: str
    name: str
    step: int | None = None
    epoch: float | None = None


class FoundTask(Protocol):
    """A task as :class:`landscape.Task` holds it, which lies above this module."""

    model: nn.Module
    data: Any
    loss: str | Callable[..., Any]
    forward: Callable[[nn.Module, Any], Any] | None
    name: str
    output: str | None
    count_samples: Callable[[Any], int] | None
    notes: tuple[str, ...]


class FoundCheckpoint(Protocol):
    """A checkpoint as :class:`landscape.checkpoint.Checkpoint` holds it."""

    @property
    def path(self) -> Path: ...

    @property
    def form(self) -> str: ...

    @property
    def step(self) -> int | None: ...

    @property
    def epoch(self) -> float | None: ...


class FromCheckpoint:
    """Gives :class:`landscape.Objective` its ``from_checkpoint``.

    Attributes:
        find_task: finds the task of a checkpoint. ``landscape.resolve`` enters it: recipes lie above the objective.
        origin: the checkpoint that the objective comes from; None if there is none.
    """

    find_task: ClassVar[Callable[..., tuple[FoundTask, FoundCheckpoint]]]
    origin: Origin | None = None
    notes: list[str]

    @classmethod
    def from_task(cls, task: FoundTask, **options: Any) -> Self:
        """Return the objective of a :class:`landscape.Task`.

        Args:
            task: the network, its data and its loss.
            options: keyword arguments of :class:`landscape.Objective`, in place of those of the task.
        """
        make: Any = cls
        own = {"forward": task.forward, "output": task.output, "count_samples": task.count_samples}
        objective: Self = make(task.model, task.data, task.loss, **{**own, **options})
        objective.notes = [*task.notes, *objective.notes]
        return objective

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        task: str | Path | FoundTask | Callable[..., FoundTask] | None = None,
        model: str | nn.Module | Callable[..., nn.Module] | None = None,
        model_args: str | Mapping[str, Any] | None = None,
        data: Any = None,
        loss: str | Callable[..., Any] | None = None,
        output: str | None = None,
        weights: str | None = None,
        unsafe: bool = False,
        trust_code: bool = False,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        count_samples: Count | None = None,
        scope: str | Sequence[str] = "weights",
        batch_size: int | None = None,
        max_samples: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        memory: int | None = None,
        lanes: int | None = None,
        training: bool = False,
        compile: bool = False,
    ) -> Self:
        """Return the objective of a checkpoint, the same as the command line builds from the same options.

        The network and the data come from the first of these that is there:

        1. ``task``
        2. ``model`` and ``data``
        3. the record that landscape's own recipes leave in a checkpoint
        4. a ``landscape.toml`` in the folder of the checkpoint or in the working folder
        5. the network inside the checkpoint (TorchScript, a Hugging Face folder, a PEFT adapter), and ``data``

        ``data``, ``loss`` and ``output`` replace those of a record, a ``landscape.toml`` or a task.

        Args:
            path: the checkpoint: a file or a folder of any form that :func:`landscape.load_checkpoint` reads.
            task: a :class:`landscape.Task`, a function that returns one, or a Python file with a function ``task()``.
            model: a function that makes the network, ``pkg.mod:factory`` or ``file.py:factory``, or a torch module. A
                module is copied, so it keeps its own weights.
            model_args: keyword arguments for the function ``model``.
            data: tensors or batches as for :class:`landscape.Objective`, a function that returns them, a data file
                (:func:`landscape.inputs.load_data`), or ``file.py:function``.
            loss: a name, a function of (output, target), or ``file.py:function``. By default ``cross_entropy``, and for
                the network of a Hugging Face folder its own loss (``model``).
            output, forward, count_samples: as for :class:`landscape.Objective`.
            weights: which set of weights, if the file holds several, such as ``state_dict_ema``.
            unsafe: allow pickled Python in the checkpoint, which can run any code. Only for files that you trust.
            trust_code: run code that a ``landscape.toml`` outside the working folder names.
            scope, batch_size, max_samples, device, dtype, memory, lanes, training, compile: as for
                :class:`landscape.Objective`.

        Raises:
            CheckpointError: if the checkpoint cannot be read or does not fit the network.
            TaskError: if the network or the data are missing, or your code fails.
            ObjectiveError: as for :class:`landscape.Objective`.

        >>> import tempfile
        >>> import landscape as ls
        >>> net = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(net.weight)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(net.state_dict(), f"{folder}/net.pt")
        ...     torch.save({"inputs": torch.eye(2), "targets": torch.zeros(2)}, f"{folder}/data.pt")
        ...     objective = ls.Objective.from_checkpoint(
        ...         f"{folder}/net.pt", model=nn.Linear(2, 1, bias=False), data=f"{folder}/data.pt", loss="mse"
        ...     )
        >>> objective.centre, objective.origin.name
        (1.0, 'net')
        """
        found, checkpoint = cls.find_task(
            path, task=task, model=model, model_args=model_args, data=data, loss=loss, output=output, unsafe=unsafe,
            weights=weights, trust_code=trust_code,
        )  # fmt: skip
        own = {name: value for name, value in (("forward", forward), ("count_samples", count_samples)) if value}
        objective = cls.from_task(
            found, scope=scope, batch_size=batch_size, max_samples=max_samples, device=device, dtype=dtype,
            memory=memory, lanes=lanes, training=training, compile=compile, **own,
        )  # fmt: skip
        objective.origin = Origin(
            checkpoint.path, checkpoint.form, found.name, checkpoint.step, checkpoint.epoch
        )  # fmt: skip
        return objective
