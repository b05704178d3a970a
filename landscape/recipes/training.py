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

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from landscape.errors import TaskError
from landscape.task import Task

_SHOW_EVERY = 100


@dataclass(frozen=True)
class Settings:
    """How to train: steps of Adam, the learning rate and where it drops to a tenth, the gradient's largest norm."""

    steps: int
    learning_rate: float
    drops: tuple[float, ...]
    clip: float

    def with_steps(self, steps: int) -> Settings:
        """Return the same with another number of steps; the drops stay at their shares."""
        if steps < 1:
            raise TaskError(f"training takes at least 1 step, not {steps}. Pass --steps 4000.")
        return replace(self, steps=steps)


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

    def save(self, path: str | Path) -> None:
        """Write the checkpoint: complete under its name, or not at all.

        Raises:
            TaskError: where the folder is missing or cannot be written.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.part")
        try:
            # the state_dict, what landscape needs to rebuild the task, and how the training went
            torch.save(
                {"state_dict": self.state, "landscape_task": self.record, "training": asdict(self.numbers)}, part
            )
            os.replace(part, target)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise TaskError(f"the checkpoint {target} cannot be written: {error}.\nPass another --out.") from error


def fit(
    task: Task, test: tuple[Tensor, Tensor], settings: Settings, record: dict[str, Any], *, seed: int, progress: bool
) -> Trained:
    """Train a task with one logit by full-batch Adam and return the network with how it went."""
    with _one_thread():
        return _fit(task, test, settings, record, seed, progress)


def _fit(
    task: Task, test: tuple[Tensor, Tensor], settings: Settings, record: dict[str, Any], seed: int, progress: bool
) -> Trained:
    started = time.perf_counter()
    model, (inputs, targets) = task.model, task.data
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    drops = {int(share * settings.steps) for share in settings.drops}
    bar = tqdm(range(settings.steps), disable=not progress, unit="step", leave=False)
    for step in bar:
        if step in drops:
            for group in optimiser.param_groups:
                group["lr"] /= 10
        loss = F.binary_cross_entropy_with_logits(model(inputs).squeeze(1), targets)
        if not math.isfinite(loss.item()):
            raise TaskError(f"the training loss became {loss.item()} at step {step}. Try another --seed.")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        if progress and step % _SHOW_EVERY == 0:
            train_share, test_share = accuracy(model, inputs, targets), accuracy(model, *test)
            bar.set_postfix_str(f"loss {loss.item():.2g}, train {train_share:.1%}, test {test_share:.1%}")
    with torch.no_grad():
        final = F.binary_cross_entropy_with_logits(model(inputs).squeeze(1), targets).item()
    numbers = Numbers(
        train_accuracy=accuracy(model, inputs, targets),
        test_accuracy=accuracy(model, *test),
        train_loss=final,
        poison=0.0,
        seed=seed,
        steps=settings.steps,
        seconds=time.perf_counter() - started,
    )
    return Trained(model.state_dict(), record, numbers)


def accuracy(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor) -> float:
    """Return the share of points on the right side of logit 0."""
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
