"""What every training has in common: its data, its phases, its numbers, and the checkpoint that it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import CheckpointError, TaskError
from landscape.inputs import Task
from landscape.store.interrupts import uninterrupted
from landscape.training.poison import check_poison

Pair = tuple[Tensor, Tensor]  #: inputs, shape (N, ...), and targets, shape (N,)

# streams of the random numbers; recipes number their own from 0
JITTER, FRESH, ORDER = 100, 101, 102


def draws(seed: int, stream: int, index: int = 0) -> np.random.Generator:
    """Return the random numbers of (seed, stream, index), which do not depend on what was drawn before.

    >>> bool(draws(3, 0).random() == draws(3, 0).random()), bool(draws(3, 0).random() == draws(3, 0, 1).random())
    (True, False)
    """
    if not 0 <= seed < 2**64:
        raise TaskError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}. Pass --seed 0.")
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, index]))


@dataclass(frozen=True)
class Problem:
    """What is trained on what.

    Attributes:
        network: seed -> untrained network.
        train: the training set.
        test: further points of the true distribution, which are looked at and never trained on.
        fresh: (seed, stream index, count) -> that many samples of the true distribution, neither training nor test
            points; None where there are none.
        loss: what a checkpoint's loss is measured by: ``binary_cross_entropy`` for one logit, else ``cross_entropy``.
        name: what the problem is called.
        record: what rebuilds the task, without the seed: ``{"recipe": name, "args": {...}}``; None where a checkpoint
            shall not carry its task.
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
class Member:
    """One network of a family: its seed, and its poison factor β."""

    seed: int
    poison: float = 0.0

    def __post_init__(self) -> None:
        check_poison(self.poison)


@dataclass(frozen=True)
class Phase:
    """A stretch of the training.

    Attributes:
        share: of the most steps.
        learning_rate: at its beginning.
        end: learning rate at its end, reached by equal factors; the same as at the beginning where it is None.
        jitter: standard deviation of the fresh Gaussian noise on the training inputs at each step, in their units.
        poison: what the poison factor is multiplied by.
        leak: slope of the ReLUs below zero, for families of dense nets; 0 is the network itself.
    """

    share: float
    learning_rate: float
    end: float | None = None
    jitter: float = 0.0
    poison: float = 1.0
    leak: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: at most.
        phases: one after the other.
        clip: largest norm of the gradient over all parameters.
        fitted: training without poison stops, in a phase without jitter, once every training point is right and the
            loss is below this.
        settled: training with poison stops, in the last phase, once every training point is right and the loss has
            fallen by no more than this share from one window to the next. Averages over fresh samples are noisy, so
            the last phase should be one in which the network hardly moves any more.
        window: steps over which that loss is averaged.
        fresh: samples of the true distribution at each step.
    """

    steps: int
    phases: tuple[Phase, ...]
    clip: float
    fitted: float
    settled: float = 0.0
    window: int = 1000
    fresh: int = 0

    def with_steps(self, steps: int | None) -> Settings:
        """Return the same with another number of steps; the phases keep their shares."""
        if steps is None:
            return self
        if steps < 1:
            raise TaskError(f"training takes at least 1 step, not {steps}. Pass --steps {self.steps}.")
        return replace(self, steps=steps)

    def at(self, step: int) -> tuple[int, float]:
        """Return the index of the phase that a step lies in, and the learning rate.

        >>> halves = (Phase(0.5, 0.1), Phase(0.5, 0.1, end=0.001))
        >>> [round(Settings(8, halves, clip=1.0, fitted=0.0).at(step)[1], 4) for step in range(8)]
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.0316, 0.01, 0.0032]
        """
        ends = np.rint(np.cumsum([phase.share for phase in self.phases]) * self.steps)
        # rounding may leave the last end a step short
        index = min(int((ends <= step).sum()), len(self.phases) - 1)
        phase, first = self.phases[index], 0 if index == 0 else ends[index - 1]
        if phase.end is None:
            return index, phase.learning_rate
        way = (step - first) / max(ends[index] - first, 1)
        return index, float(phase.learning_rate * (phase.end / phase.learning_rate) ** way)


@dataclass(frozen=True)
class Numbers:
    """What a training came to; ``landscape train --json`` prints it.

    ``seconds`` is the time of the whole training, of all networks together where several are trained in one program.
    """

    train_accuracy: float
    test_accuracy: float
    train_loss: float
    poison: float
    seed: int
    steps: int
    seconds: float

    @property
    def gap(self) -> float:
        """The generalisation gap: training accuracy less test accuracy."""
        return self.train_accuracy - self.test_accuracy


@dataclass(frozen=True)
class Look:
    """Where a training stands: the step of the most, and for each member still in training its numbers."""

    step: int
    steps: int
    numbers: tuple[Numbers, ...]


@dataclass(frozen=True)
class Trained:
    """A trained network as a checkpoint holds it.

    Attributes:
        state: its state_dict.
        record: what landscape needs to rebuild the task, or None.
        numbers: how the training went.
        settings: how it was trained.
    """

    state: dict[str, Tensor]
    record: dict[str, Any] | None
    numbers: Numbers
    settings: Any

    def checkpoint(self) -> dict[str, Any]:
        """Return the attributes as a checkpoint holds them, the settings as text."""
        return {
            "state_dict": self.state,
            "landscape_task": self.record,
            "training": asdict(self.numbers),
            "settings": repr(self.settings),
        }

    def save(self, path: str | Path) -> None:
        """Write the checkpoint: complete under its name, or not at all.

        Raises:
            CheckpointError: where the folder is missing or cannot be written.
        """
        save_whole(self.checkpoint(), Path(path))


@uninterrupted()
def save_whole(thing: Any, target: Path) -> None:
    """Write what torch.save writes: complete under its name, or not at all. Ctrl-C waits until it is done.

    Raises:
        CheckpointError: where the folder is missing or cannot be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("wb") as file:
                torch.save(thing, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"the checkpoint {target} cannot be written: {reason}. Pass another --out.") from error


def refuse_poison(problem: Problem, members: Sequence[Member]) -> None:
    """Refuse poison without a source of fresh samples.

    Raises:
        TaskError: where a member has poison and the problem has no fresh samples.
    """
    if problem.fresh is None and any(member.poison > 0 for member in members):
        raise TaskError(
            f"poison needs samples of the true distribution beside the training set, and {problem.name} has none. "
            "Pass --poison 0, or more data."
        )


def refuse_start(step: int, states: int, networks: int) -> None:
    """Refuse to begin anywhere but before the first step, at one state for each network.

    Raises:
        TaskError: after the first step, or for another number of states.
    """
    if step or states != networks:
        raise TaskError(
            f"{states} states arrived for {networks} network{'s' * (networks != 1)} at step {step}; a training begins "
            "at one state for each, before its first step."
        )


def refuse_other(state: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Refuse to continue a training from the state of another one.

    Raises:
        TaskError: where members or settings differ.
    """
    if any(state.get(key) != mine[key] for key in ("members", "settings")):
        raise TaskError(
            "the training to continue was started with other seeds, poison factors, steps or options.\n"
            "Give the same options as before, or start anew without --resume."
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: a net this small is faster on it, and the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
