"""The result of a training: the trained network, how well it fits, and the checkpoint that holds both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoint import TASK_ARGS
from landscape.errors import CheckpointError
from landscape.store.atomic import write_atomically
from landscape.training.problem import Value


@dataclass(frozen=True)
class TrainingSummary:
    """How well one network is trained; ``landscape train --json`` prints it.

    Attributes:
        train_accuracy, test_accuracy: shares of right predictions.
        train_loss: mean loss on the training set, without poison or augmentation, in nats.
        poison: the poison factor.
        seed: the seed.
        steps: steps made.
        seconds: time of the whole training. If several networks train in one program, it counts all of them.
        test_loss: mean loss on the test set, in nats; None in a file of an older version.
        converged: whether training reached its target (:meth:`landscape.training.Settings.converged`); None likewise.
    """

    train_accuracy: float
    test_accuracy: float
    train_loss: float
    poison: float
    seed: int
    steps: int
    seconds: float
    test_loss: float | None = None
    converged: bool | None = None

    @property
    def gap(self) -> float:
        """The generalisation gap: training accuracy minus test accuracy."""
        return self.train_accuracy - self.test_accuracy


@dataclass(frozen=True)
class TrainingStatus:
    """Where an unfinished training stands: steps made, steps at most, and a summary per network still in training."""

    step: int
    steps: int
    summaries: tuple[TrainingSummary, ...]


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network as a checkpoint holds it.

    Attributes:
        state: its state_dict.
        record: what landscape needs to rebuild the task, or None.
        summary: how the training went.
        settings: how it was trained.
        axes: its place in a family: axis -> value.
        task_args: what the user's function ``task()`` was called with, if it takes arguments.
    """

    state: dict[str, Tensor]
    record: dict[str, Any] | None
    summary: TrainingSummary
    settings: Any
    axes: Mapping[str, Value] = field(default_factory=dict)
    task_args: Mapping[str, Value] = field(default_factory=dict)

    def checkpoint(self) -> dict[str, Any]:
        """Return the attributes as a checkpoint holds them, the settings as text."""
        return {
            "state_dict": self.state,
            "landscape_task": self.record,
            "training": asdict(self.summary),
            "settings": repr(self.settings),
            "axes": dict(self.axes),
            TASK_ARGS: dict(self.task_args),
        }

    def save(self, path: str | Path) -> None:
        """Write the checkpoint: complete under its name, or not at all.

        Raises:
            CheckpointError: if the folder is missing or cannot be written.
        """
        save_whole(self.checkpoint(), Path(path))


def save_whole(thing: Any, target: Path) -> None:
    """Write what torch.save writes: complete under its name, or not at all. Ctrl-C waits until it is done.

    Raises:
        CheckpointError: if the folder is missing or cannot be written.
    """
    try:
        write_atomically(target, lambda file: torch.save(thing, file))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"the checkpoint {target} cannot be written: {reason}. Pass another path.") from error
