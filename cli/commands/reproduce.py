"""``landscape reproduce``: every figure of the study of Huang et al. (2019), from training to one page."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

import click

from landscape_cli import options
from landscape_cli.interrupts import INTERRUPTED
from landscape_cli.recipe_options import jobs_option, recipe_args


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
    study: str, quick: bool, out: Path, recipe: str | None, jobs: int | None, quiet: bool, **params: Any
) -> None:
    """Train good and bad nets, measure the loss around each, and draw the figures of Huang et al. (2019).

    The same command continues after an interruption. The page in DIR shows every study that was made there.
    """
    from landscape.reproduce.run import NETS, reproduce
    from landscape.results.table import in_width
    from landscape.store.atomic import make_folder
    from landscape_cli.heartbeat import end, stage
    from landscape_cli.study_run import settings_of, train_study
    from landscape_cli.text import duration

    settings, started = settings_of(study, recipe, quick=quick), time.monotonic()
    args = recipe_args(settings.recipe, params)
    folder = out / settings.recipe / NETS
    make_folder(folder)
    words = ["landscape", "reproduce", study, *(["--quick"] if quick else []), "--out", str(out)]
    for name, value in {"recipe": recipe, **args}.items():
        words += [f"--{name}", str(value)] if value is not None else []

    def report(name: str) -> None:
        if not quiet:
            end()
            click.echo(in_width(f"{duration(time.monotonic() - started)}: {name}"), err=True)
            stage(name, said=True)

    try:
        train_study(settings, args, folder, jobs or os.cpu_count() or 1, quiet=quiet)
        page = reproduce(settings, out, shlex.join(words), report)
    except KeyboardInterrupt:
        click.echo(f"interrupted; the same command continues from what {out} keeps", err=True)
        raise SystemExit(INTERRUPTED) from None
    click.echo(f"wrote {page} in {duration(time.monotonic() - started)}")
