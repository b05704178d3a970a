"""``landscape reproduce``: every figure of the study of Huang et al. (2019), from training to one page."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from landscape_cli import options
from landscape_cli.family import train_missing
from landscape_cli.interrupts import INTERRUPTED
from landscape_cli.training import checked, jobs_option

if TYPE_CHECKING:  # for speed alone: landscape.reproduce imports torch
    from landscape.reproduce.study import Study


@click.command()
@click.argument("study", type=click.Choice(["swiss-roll", "images"]), metavar="swiss-roll|images")
@click.option("--quick", is_flag=True, help="Few poison factors, one seed, few rays: minutes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of the nets, the measurements, the figures and the page; nothing in it is made twice.",
)
@click.option("--recipe", metavar="NAME", help="Images: mnist, fashion-mnist, cifar10 or svhn.  [default: mnist]")
@click.option("--data", metavar="FOLDER", help="Images: folder of their files.  [default: data/RECIPE]")
@click.option(
    "--images", type=click.IntRange(min=1), metavar="N", help="Images: size of the training set.  [default: 2000]"
)
@jobs_option
@options.quiet
def command(
    study: str, quick: bool, out: Path, recipe: str | None, jobs: int | None, quiet: bool, **given: Any
) -> None:
    """Train good and bad nets, measure the loss around each, and draw the figures of Huang et al. (2019).

    The same command continues after an interruption. The page in DIR shows every study that was made there.
    """
    from landscape.reproduce.run import NETS, reproduce
    from landscape_cli.text import duration

    settings, started = settings_of(study, recipe, quick=quick), time.monotonic()
    args = checked(settings.recipe, given)
    folder = out / settings.recipe / NETS
    folder.mkdir(parents=True, exist_ok=True)
    words = ["landscape", "reproduce", study, *(["--quick"] if quick else []), "--out", str(out)]
    for name, value in {"recipe": recipe, **args}.items():
        words += [f"--{name}", str(value)] if value is not None else []

    def report(name: str) -> None:
        if not quiet:
            click.echo(f"{duration(time.monotonic() - started)}: {name}", err=True)

    try:
        train(settings, args, folder, jobs or os.cpu_count() or 1, quiet=quiet)
        page = reproduce(settings, out, shlex.join(words), report)
    except KeyboardInterrupt:
        click.echo(f"interrupted; the same command continues from what {out} keeps", err=True)
        raise SystemExit(INTERRUPTED) from None
    click.echo(f"wrote {page} in {duration(time.monotonic() - started)}")


def settings_of(study: str, recipe: str | None, *, quick: bool) -> Study:
    """Return the settings of a study.

    Raises:
        click.UsageError: if the study does not take the recipe.
    """
    from landscape.reproduce import study as studies

    if study == "swiss-roll":
        if recipe is not None:
            raise click.UsageError("--recipe names a set of images: landscape reproduce images --recipe NAME.")
        return studies.QUICK if quick else studies.FULL
    if recipe not in (None, *studies.IMAGES):
        raise click.UsageError(f"--recipe {recipe}: the study on images takes {', '.join(studies.IMAGES)}.")
    return replace(studies.QUICK_IMAGES if quick else studies.FULL_IMAGES, recipe=recipe or studies.IMAGES[0])


def train(study: Study, args: dict[str, Any], folder: Path, jobs: int, *, quiet: bool) -> None:
    """Train the nets of the study that have no checkpoint yet."""
    for poisoned in (False, True):
        members = [member for member in study.members if (member.poison > 0) == poisoned]
        steps = study.poisoned_steps if poisoned else study.plain_steps
        recipe_args = args if steps is None else {**args, "steps": steps}
        train_missing(study.recipe, recipe_args, folder, members, jobs, quiet=quiet)
