"""Keeping an unfinished training in a file, so that one that was killed goes on to the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from landscape.errors import CheckpointError
from landscape.training.training import Look, Problem, Trained, save_whole

KEEP_EVERY = 10.0  #: seconds between two states written


class Training(Protocol):
    """A training that makes one step after the other and can be stored between any two of them."""

    step: int
    problem: Problem

    @property
    def settings(self) -> Any: ...

    def begin_at(self, states: Sequence[Mapping[str, Tensor]]) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def trained(self) -> list[Trained]: ...

    def look(self) -> Look: ...

    def run(self, on_step: Callable[[Any], None] | None = None) -> list[Trained]: ...


class Keeper:
    """Writes the state of a training to a file now and then, when it is called after a step.

    Args:
        path: the file; it is replaced whole, so that a kill at any moment leaves the state before.
        every: seconds between two writes.
        clock: seconds, for tests.
    """

    def __init__(self, path: Path, every: float = KEEP_EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._every, self._clock = path, every, clock
        self._due = clock() + every

    def __call__(self, training: Training) -> None:
        """Write the state, if it is time."""
        if self._clock() >= self._due:
            save_whole(training.state(), self.path)
            self._due = self._clock() + self._every

    def restore(self, training: Training) -> bool:
        """Go on from the file; whether there was one.

        Raises:
            CheckpointError: where the file cannot be read.
            TaskError: where it holds another training.
        """
        if not self.path.exists():
            return False
        training.restore(read_state(self.path))
        return True

    def forget(self) -> None:
        """Remove the file, once what it was kept for is written."""
        self.path.unlink(missing_ok=True)


def read_state(path: Path) -> dict[str, Any]:
    """Return the state in a file that a :class:`Keeper` wrote.

    Raises:
        CheckpointError: where the file is something else or damaged.
    """
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # unpickling raises nearly anything
        raise CheckpointError(f"{path} holds no unfinished training ({error}). Remove it to start anew.") from error
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path} holds no unfinished training. Remove it to start anew.")
    return state


def unfinished_path(out: Path) -> Path:
    """Return where the unfinished training of a checkpoint is kept: beside it.

    >>> unfinished_path(Path("run/ckpt.pt")).as_posix()
    'run/ckpt.pt.unfinished'
    """
    return out.with_name(out.name + ".unfinished")
