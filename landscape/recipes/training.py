"""Full-batch training of a small network, and the checkpoint that it leaves."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from landscape.errors import CheckpointError, TaskError
from landscape.task import Task

Pair = tuple[Tensor, Tensor]  #: inputs, shape (N, ...), and targets, shape (N,)

JITTER = 100  #: the stream of the noise on the inputs; recipes number theirs from 0
_SHOW_EVERY = 100


def draws(seed: int, stream: int, index: int = 0) -> np.random.Generator:
    """Return the random numbers of (seed, stream, index), which do not depend on what was drawn before.

    >>> bool(draws(3, 0).random() == draws(3, 0).random()), bool(draws(3, 0).random() == draws(3, 0, 1).random())
    (True, False)
    """
    if not 0 <= seed < 2**64:
        raise TaskError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}. Pass --seed 0.")
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, index]))


@dataclass(frozen=True)
class Phase:
    """A stretch of the training.

    Attributes:
        share: of the most steps.
        learning_rate: of Adam.
        jitter: standard deviation of the fresh Gaussian noise on the training inputs at each step, in their units.
    """

    share: float
    learning_rate: float
    jitter: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: at most.
        phases: one after the other.
        clip: largest norm of the gradient over all parameters.
        fitted: in a phase without jitter, training stops once every training point is right and the loss is below this.
    """

    steps: int
    phases: tuple[Phase, ...]
    clip: float
    fitted: float

    def with_steps(self, steps: int) -> Settings:
        """Return the same with another number of steps; the phases keep their shares."""
        if steps < 1:
            raise TaskError(f"training takes at least 1 step, not {steps}. Pass --steps {self.steps}.")
        return replace(self, steps=steps)

    def schedule(self) -> Iterator[tuple[int, Phase]]:
        """Yield each step with its phase.

        >>> halves = (Phase(0.5, 0.1), Phase(0.5, 0.01))
        >>> [phase.learning_rate for _, phase in Settings(4, halves, clip=1.0, fitted=0.0).schedule()]
        [0.1, 0.1, 0.01, 0.01]
        """
        ends = np.rint(np.cumsum([phase.share for phase in self.phases]) * self.steps)
        for step in range(self.steps):
            # rounding may leave the last end a step short
            yield step, self.phases[min(int((ends <= step).sum()), len(self.phases) - 1)]


@dataclass(frozen=True)
class Numbers:
    """What a training came to; ``landscape train --json`` prints it."""

    train_accuracy: float
    test_accuracy: float
    train_loss: float
    poison: float
    seed: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A trained network as a checkpoint holds it."""

    state: dict[str, Tensor]
    record: dict[str, Any]
    numbers: Numbers

    def checkpoint(self) -> dict[str, Any]:
        """Return the state_dict, what landscape needs to rebuild the task, and how the training went."""
        return {"state_dict": self.state, "landscape_task": self.record, "training": asdict(self.numbers)}

    def save(self, path: str | Path) -> None:
        """Write the checkpoint: complete under its name, or not at all.

        Raises:
            CheckpointError: where the folder is missing or cannot be written.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            try:
                with part.open("wb") as file:
                    torch.save(self.checkpoint(), file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(
                f"the checkpoint {target} cannot be written: {reason}. Pass another --out."
            ) from error


def fit(
    task: Task, test: Pair, settings: Settings, record: dict[str, Any], *, seed: int, progress: bool = False
) -> Trained:
    """Train the model of a task by full-batch Adam and return it with how it went.

    Args:
        task: model with one logit a sample, its training data, the loss ``binary_cross_entropy``; the model is trained
            in place.
        test: further points of the same kind; they are looked at and never trained on.
        settings: the phases, and when to stop.
        record: what rebuilds the task.
        seed: keys the jitter, by (seed, step).
        progress: show a bar on stderr.

    Raises:
        TaskError: where the loss becomes NaN or infinite.
    """
    started = time.perf_counter()
    with _one_thread():
        steps, loss = _descend(task, test, settings, seed, progress)
        numbers = Numbers(
            train_accuracy=accuracy(task.model, task.data),
            test_accuracy=accuracy(task.model, test),
            train_loss=loss,
            poison=0.0,
            seed=seed,
            steps=steps,
            seconds=time.perf_counter() - started,
        )
    state = {name: value.detach().clone() for name, value in task.model.state_dict().items()}
    return Trained(state, record, numbers)


def _descend(task: Task, test: Pair, settings: Settings, seed: int, progress: bool) -> tuple[int, float]:
    """Run the phases on the model and return the steps made and the loss on the training points as they are."""
    model, (inputs, targets) = task.model, task.data
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.phases[0].learning_rate)
    with tqdm(total=settings.steps, disable=not progress, unit=" steps", leave=False) as bar:
        for step, phase in settings.schedule():
            optimiser.param_groups[0]["lr"] = phase.learning_rate
            loss = _loss(model, _jittered(inputs, phase.jitter, seed, step), targets)
            value = loss.item()
            if not math.isfinite(value):
                raise TaskError(
                    f"the training loss became {value} at step {step}, learning rate {phase.learning_rate:g}, so there "
                    "is no trained network to keep. Check the data for NaN, or try another --seed."
                )
            if phase.jitter == 0 and value < settings.fitted and accuracy(model, task.data) == 1:
                return step, value
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
            bar.update()
            if progress and step % _SHOW_EVERY == 0:
                shares = accuracy(model, task.data), accuracy(model, test)
                bar.set_postfix_str("loss {:.2g}, train {:.1%}, test {:.1%}".format(value, *shares))
    with torch.no_grad():
        return settings.steps, _loss(model, inputs, targets).item()


def _jittered(inputs: Tensor, size: float, seed: int, step: int) -> Tensor:
    if size == 0:
        return inputs
    noise = draws(seed, JITTER, step).standard_normal(tuple(inputs.shape))
    return inputs + size * torch.from_numpy(noise).to(inputs.dtype)


def _loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(model(inputs).squeeze(1), targets)


def accuracy(model: Callable[[Tensor], Tensor], data: Pair) -> float:
    """Return the share of points on the right side of logit 0."""
    inputs, targets = data
    with torch.no_grad():
        return float(((model(inputs).squeeze(1) > 0) == (targets > 0.5)).double().mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: a net this small is faster on it, and the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
