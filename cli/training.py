"""Trainings that a command runs: begun by a recipe, shown while they run, written as checkpoints."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from landscape.checkpoint import load_checkpoint
from landscape.inputs.settings import is_own
from landscape.recipes import load_recipe
from landscape.results.table import percent
from landscape.store.atomic import write_atomically
from landscape.training import Member, ResumableTraining, StateFile, TrainedNetwork, TrainingStatus
from landscape_cli.interrupts import INTERRUPTED, kept_apart_from_errors
from landscape_cli.progress import Display
from landscape_cli.recipe_options import recipe_args

SHOW_EVERY = 2.0  #: seconds between two measurements of the accuracies, at least
SHOW_SHARE = 0.02  #: largest share of the time that goes into measuring them


def begin(recipe: str, members: list[Member], params: dict[str, Any]) -> ResumableTraining:
    """Begin the training of these members, with the options that were typed for the recipe."""
    training: ResumableTraining = load_recipe(recipe).training(members, **recipe_args(recipe, params))
    return training


def start_state(start: str, training: ResumableTraining, seed: int) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, as the recipe's network names them."""
    return load_checkpoint(start, training.problem.network(seed)).state_dict()


def train_network(
    training: ResumableTraining, state_file: StateFile, display: TrainingDisplay, out: Path, keep_every: int | None
) -> TrainedNetwork:
    """Run a training of one network to its end; write its checkpoint, and one every ``keep_every`` steps."""

    def on_step(training: ResumableTraining) -> None:
        if keep_every and training.step % keep_every == 0:
            training.trained()[0].save(step_path(out, training.step))
        state_file.after_step(training)
        display(training)

    try:
        with kept_apart_from_errors():
            network = training.run(on_step)[0]
    except KeyboardInterrupt:
        display.close()
        kept = state_file.path.exists()
        advice = f"add --resume to continue from {state_file.path}" if kept else "nothing was kept yet"
        click.echo(f"interrupted at step {training.step:,}: {advice}", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        display.close()
    network.save(out)
    state_file.remove()
    return network


def status_line(status: TrainingStatus) -> str:
    """Return the loss and the accuracies of a training in one line; their means if several nets are trained."""
    count = max(len(status.summaries), 1)
    loss, train, test = (
        sum(getattr(summary, name) for summary in status.summaries) / count
        for name in ("train_loss", "train_accuracy", "test_accuracy")
    )
    nets = f", mean of {count} nets" if count > 1 else ""
    return f"loss {loss:.2g}, train {percent(train)}, test {percent(test)}{nets}"


class TrainingDisplay:
    """Shows the steps made, the loss and both accuracies, which are measured only when they are shown.

    Args:
        quiet: show nothing.
        clock: seconds, for tests.
    """

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock, self._next, self._words = quiet, clock, clock(), ""
        self._display: Display | None = None

    def __call__(self, training: ResumableTraining) -> None:
        """Show where the training stands; stop here if Ctrl-C was pressed."""
        if self._display is None:
            steps = training.settings.steps
            self._display = Display(steps, training.step - 1, quiet=self._quiet, unit="steps at most")
        started = self._clock()
        wanted = not self._quiet and (self._display.on_terminal or self._display.due)
        if wanted and started >= self._next:
            self._words = status_line(training.status())
            ended = self._clock()
            self._next = ended + max(SHOW_EVERY, (ended - started) / SHOW_SHARE)
        self._display.show(training.step, training.settings.steps, self._words)

    def close(self) -> None:
        """Take the bar away."""
        if self._display is not None:
            self._display.close()


def name_task(recipe: str, folder: Path) -> str:
    """Name the task of a ``TASK.py`` in a landscape.toml in its folder; return the options that a command still needs.

    A command needs none if the checkpoint carries its task, or the toml names it and may run code. An existing toml is
    not changed.
    """
    if not recipe.endswith(".py"):
        return ""
    path, line = folder / "landscape.toml", f"task = {json.dumps(str(Path(recipe).resolve()))}\n"
    if not path.exists():
        write_atomically(path, line.encode())
    named = path.read_text(encoding="utf-8") == line and is_own(path)
    return "" if named else f" {shlex.join(['--task', recipe])}"


def step_path(out: Path, step: int) -> Path:
    """Return where the checkpoint of a step goes; the names sort by step.

    >>> step_path(Path("run/ckpt.pt"), 500).as_posix()
    'run/ckpt-step00000500.pt'
    """
    return out.with_name(f"{out.stem}-step{step:08d}{out.suffix}")
