"""Trainings that can be killed at any moment and resumed to the same bits: their state is kept in a file."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from landscape.errors import CheckpointError
from landscape.training.problem import Problem
from landscape.training.settings import Settings
from landscape.training.trained_network import TrainedNetwork, TrainingStatus, save_whole

WRITE_EVERY = 10.0  #: seconds between two writes of the state
UNFINISHED = ".unfinished"  #: ends the name of a file that holds the state of an unfinished training


class ResumableTraining(ABC):
    """A training that makes one step after the other and can be stored and resumed between any two of them.

    Attributes:
        problem: what is trained on what.
        settings: the phases, and when to stop.
        step: steps made.
        seconds: time of these steps.
    """

    problem: Problem
    settings: Settings
    step: int
    seconds: float

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether every network has stopped."""

    @abstractmethod
    def begin_at(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Begin at these weights, one state_dict per network, instead of fresh ones.

        Raises:
            TaskError: after the first step, or for another number of states.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a stored state.

        Raises:
            TaskError: if the state belongs to another training.
        """

    @abstractmethod
    def trained(self) -> list[TrainedNetwork]:
        """Return the networks as they are now, or as they were when they stopped, in the order of the members."""

    @abstractmethod
    def status(self) -> TrainingStatus:
        """Return how the networks still in training stand."""

    @abstractmethod
    def advance(self) -> None:
        """Make one step.

        Raises:
            TaskError: if the loss of a network becomes NaN or infinite.
        """

    def run(self, on_step: Callable[[Self], None] | None = None) -> list[TrainedNetwork]:
        """Make the remaining steps and return the trained networks in the order of the members.

        Args:
            on_step: called after every step; an exception that it raises stops the training between two steps.

        Raises:
            TaskError: if the loss of a network becomes NaN or infinite.
        """
        started = time.perf_counter() - self.seconds
        while not self.done:
            self.advance()
            self.seconds = time.perf_counter() - started
            if on_step is not None:
                on_step(self)
        return self.trained()


class StateFile:
    """The file that holds the state of an unfinished training.

    Args:
        path: the file. It is replaced as a whole, so a kill at any moment leaves the state written before.
        every: seconds between two writes.
        clock: seconds, for tests.
    """

    def __init__(self, path: Path, every: float = WRITE_EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._every, self._clock = path, every, clock
        self._due = clock() + every

    def after_step(self, training: ResumableTraining) -> None:
        """Write the state if ``every`` seconds have passed since the last write."""
        if self._clock() >= self._due:
            save_whole(training.state(), self.path)
            self._due = self._clock() + self._every

    def restore(self, training: ResumableTraining) -> bool:
        """Continue from the file; return whether there was one.

        Raises:
            CheckpointError: if the file cannot be read.
            TaskError: if it holds another training.
        """
        if not self.path.exists():
            return False
        training.restore(read_state(self.path))
        return True

    def remove(self) -> None:
        """Remove the file, once the checkpoints are written."""
        self.path.unlink(missing_ok=True)


def finish(
    training: ResumableTraining,
    state_file: StateFile,
    checkpoints: Sequence[Path],
    on_step: Callable[[ResumableTraining], None] = lambda training: None,
) -> None:
    """Train to the end, from the stored state if there is one, write the checkpoints and remove the state file.

    Args:
        training: the training, before its first step.
        state_file: where its state is kept meanwhile.
        checkpoints: one path per network, in the order of the members.
        on_step: called after every step, once the state is kept.
    """
    state_file.restore(training)

    def keep_and_tell(training: ResumableTraining) -> None:
        state_file.after_step(training)
        on_step(training)

    for path, network in zip(checkpoints, training.run(keep_and_tell), strict=True):
        network.save(path)
    state_file.remove()


def read_state(path: Path) -> dict[str, Any]:
    """Return the state that a :class:`StateFile` holds.

    Raises:
        CheckpointError: if the file is something else or damaged.
    """
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # unpickling raises nearly anything
        raise CheckpointError(f"{path} holds no unfinished training ({error}). Remove it to start again.") from error
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path} holds no unfinished training. Remove it to start again.")
    return state


def unfinished_path(out: Path) -> Path:
    """Return the path of the state of an unfinished training: in the folder of its checkpoint.

    >>> unfinished_path(Path("run/ckpt.pt")).as_posix()
    'run/ckpt.pt.unfinished'
    """
    return out.with_name(out.name + UNFINISHED)
