"""``landscape reproduce``: every figure of the study of Huang et al. (2019), from training to one page."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape_cli import options
from landscape_cli.main import INTERRUPTED

if TYPE_CHECKING:
    from landscape.reproduce.study import Study


@click.command()
@click.argument("study", type=click.Choice(["swiss-roll"]), metavar="swiss-roll")
@click.option("--quick", is_flag=True, help="Few poison factors, one seed, short training, few rays: minutes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of the nets, the measurements, the figures and the page; what it holds is not made again.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Trainings at work at once.  [default: one a core]"
)
@options.quiet
def command(study: str, quick: bool, out: Path, jobs: int | None, quiet: bool) -> None:
    """Train good and bad nets, measure the loss around each, and draw the figures of Huang et al. (2019).

    The same command goes on after an interruption.
    """
    from landscape.reproduce.run import NETS, reproduce
    from landscape.reproduce.study import FULL, QUICK
    from landscape_cli.text import duration

    settings, started = QUICK if quick else FULL, time.monotonic()
    (out / NETS).mkdir(parents=True, exist_ok=True)
    train(settings, out / NETS, jobs or os.cpu_count() or 1, quiet=quiet)
    typed = shlex.join(["landscape", "reproduce", study, *(["--quick"] if quick else []), "--out", str(out)])

    def report(name: str) -> None:
        if not quiet:
            click.echo(f"{duration(time.monotonic() - started)}: {name}", err=True)

    try:
        page = reproduce(settings, out, typed, report)
    except KeyboardInterrupt:
        click.echo(f"interrupted; the same command goes on from what {out} keeps", err=True)
        raise SystemExit(INTERRUPTED) from None
    click.echo(f"wrote {page} in {duration(time.monotonic() - started)}")


def train(study: Study, folder: Path, jobs: int, *, quiet: bool) -> None:
    """Train what is missing of the family; the steps of a short study are those of the poisoned nets alone."""
    from landscape.recipes.sweep import plan
    from landscape_cli.sweep import work

    for poisoned in (False, True):
        members = [member for member in study.members if (member.poison > 0) == poisoned]
        args = {"steps": study.steps} if poisoned and study.steps else {}
        groups = plan("swiss-roll", args, folder, members, jobs)
        if groups:
            work("swiss-roll", args, folder, groups, jobs, quiet=quiet)
