"""What ``train`` and ``sweep`` share: the recipe and its options, and the display of a running training."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from landscape.recipes import RECIPES, load_recipe
from landscape_cli import options
from landscape_cli.interrupts import check_pressed

if TYPE_CHECKING:  # for speed alone: landscape.training imports torch
    from landscape.training import Member, ResumableTraining, TrainingStatus

SHOW_EVERY = 2.0  #: seconds between two measurements of the accuracies, at least
SHOW_SHARE = 0.02  #: largest share of the time that goes into measuring them
LOG_EVERY = 30.0  #: seconds between lines where stderr is a file


class RecipeName(click.ParamType):
    """The name of a recipe, or a file with one."""

    name = "recipe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in RECIPES and not str(value).endswith(".py"):
            self.fail(f"there is no recipe {value!r}. The recipes are {', '.join(RECIPES)}, TASK.py.", param, ctx)
        return str(value)


recipe = click.argument("recipe", type=RecipeName(), metavar="RECIPE")
recipe_options = options.together(
    click.option(
        "--steps", type=click.IntRange(min=1), metavar="N",
        help="Training steps at most; the recipe's own number by default.",
    ),
    click.option("--data", metavar="FOLDER", help="Images: folder of their files.  [default: data/RECIPE]"),
    click.option(
        "--images", type=click.IntRange(min=1), metavar="N", help="Images: size of the training set.  [default: 2000]"
    ),
    click.option(
        "--model", metavar="NAME", help="Images: resnet8, resnet20, resnet8-bn, resnet20-bn.  [default: resnet8]"
    ),
    click.option("--device", metavar="NAME", help="Images and TASK.py: cpu or cuda.  [default: cpu]"),
)  # fmt: skip

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Trainings that run at once.  [default: one per core]",
)


def checked(recipe: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given for a recipe.

    Raises:
        click.UsageError: if the recipe does not take one of them.
    """
    known = inspect.signature(load_recipe(recipe).training).parameters
    taken = {name: value for name, value in given.items() if value is not None}
    for name in taken:
        if name not in known:
            raise click.UsageError(f"the recipe {recipe} takes no --{name.replace('_', '-')}.")
    return taken


def begin(recipe: str, members: list[Member], given: dict[str, Any]) -> ResumableTraining:
    """Begin the training of these members, with the options that were given for the recipe."""
    training: ResumableTraining = load_recipe(recipe).training(members, **checked(recipe, given))
    return training


def status_line(status: TrainingStatus) -> str:
    """Return the loss and the accuracies of a training in one line; their means if several nets are trained."""
    count = max(len(status.summaries), 1)
    loss, train, test = (
        sum(getattr(summary, name) for summary in status.summaries) / count
        for name in ("train_loss", "train_accuracy", "test_accuracy")
    )
    nets = f", mean of {count} nets" if count > 1 else ""
    return f"loss {loss:.2g}, train {train:.1%}, test {test:.1%}{nets}"


class TrainingDisplay:
    """Shows the steps made and both accuracies: a bar on a terminal, otherwise a line now and then.

    Args:
        quiet: show nothing.
        clock: seconds, for tests.
    """

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal, self._quiet, self._clock = sys.stderr.isatty(), quiet, clock
        self._bar: tqdm | None = None
        self._next = clock() if self._terminal else clock() + LOG_EVERY

    def __call__(self, training: ResumableTraining) -> None:
        """Show where the training stands, if enough time has passed; stop here if Ctrl-C was pressed."""
        check_pressed()
        if self._quiet:
            return
        if self._terminal:
            if self._bar is None:
                steps = training.settings.steps
                self._bar = tqdm(total=steps, unit=" steps", leave=False, dynamic_ncols=True)
            self._bar.update(training.step - self._bar.n)
        started = self._clock()
        if started < self._next:
            return
        text = status_line(training.status())
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:
            click.echo(f"{training.step:,} of {training.settings.steps:,} steps: {text}", err=True)
        ended = self._clock()
        wait = SHOW_EVERY if self._terminal else LOG_EVERY
        self._next = ended + max(wait, (ended - started) / SHOW_SHARE)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def name_task(recipe: str, folder: Path) -> str:
    """Name the task of a ``TASK.py`` in a landscape.toml in its folder; return the options that a command still needs.

    A command needs none if the checkpoint carries its task or the toml names it. An existing toml is not changed.
    """
    if not recipe.endswith(".py"):
        return ""
    from landscape.store.atomic import write_atomically  # for speed alone: landscape.store imports numpy

    path, line = folder / "landscape.toml", f"task = {json.dumps(str(Path(recipe).resolve()))}\n"
    if not path.exists():
        write_atomically(path, line.encode())
    return "" if path.read_text(encoding="utf-8") == line else f" {shlex.join(['--task', recipe])}"


def step_path(out: Path, step: int) -> Path:
    """Return where the checkpoint of a step goes; the names sort by step.

    >>> step_path(Path("run/ckpt.pt"), 500).as_posix()
    'run/ckpt-step00000500.pt'
    """
    return out.with_name(f"{out.stem}-step{step:08d}{out.suffix}")
