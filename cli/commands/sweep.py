"""``landscape sweep``: a family of nets, every combination of the axes with every seed, in one folder."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from landscape.errors import TaskError
from landscape_cli import options
from landscape_cli.recipe_options import Assignment, axes_of, jobs_option, recipe, recipe_args, recipe_options


class Factors(click.ParamType):
    """Poison factors with commas between them."""

    name = "B,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(sorted({float(part) for part in value.split(",")}))
        except ValueError:
            self.fail(f"expected numbers with commas between them, such as 0,0.05,0.5, got {value!r}.", param, ctx)


@click.command()
@recipe
@click.option("--poison", "factors", type=Factors(), help="Poison factors, such as 0,0.05,0.5.  [default: no poison]")
@click.option(
    "--vary",
    "varied",
    type=Assignment(),
    multiple=True,
    metavar="NAME=V,V,...",
    help="Values of a keyword of the recipe, such as width=16,32 or lr=0.001,0.01. An unknown name lists those that "
    "can vary. May be repeated: every combination is trained.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Train seeds 0 to N-1."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of the checkpoints; existing ones are kept, missing ones are trained.",
)
@jobs_option
@recipe_options
@options.json_flag
@options.quiet
def command(
    recipe: str, factors: tuple[float, ...] | None, varied: tuple[tuple[str, str], ...], seeds: int, out: Path,
    jobs: int | None, as_json: bool, quiet: bool, **params: Any,
) -> None:  # fmt: skip
    """Train the family of a RECIPE: every combination of poison factors and varied keywords with every seed.

    Small nets train together in one batched program, each to the same bits as "landscape train" gives.
    """
    from landscape.results.table import in_width
    from landscape.store.atomic import make_folder
    from landscape.training.sweep import configurations, factorial, rank_correlation, read_summaries, split_diverged
    from landscape_cli.family import family_table, train_missing
    from landscape_cli.machine_output import strict_json
    from landscape_cli.training import name_task

    if factors is None and not varied:
        raise click.UsageError("a family needs an axis. Type --poison 0,0.1,0.4, or --vary NAME=V,V,...")
    args = recipe_args(recipe, params)
    axes = axes_of(recipe, varied, args, factors)
    members = factorial(axes, seeds)
    make_folder(out)
    started = time.monotonic()
    train_missing(recipe, args, out, members, jobs or os.cpu_count() or 1, quiet=quiet)
    name_task(recipe, out)
    members, diverged = split_diverged(out, members)
    if not members:
        raise TaskError(f"the training of every net diverged; {out} holds the reasons. Vary smaller learning rates.")
    summaries = read_summaries(out, members)
    rows = configurations(members, summaries)
    correlation = None
    if factors is not None and not varied:
        correlation = rank_correlation([float(row.axes["poison"]) for row in rows], [row.test_accuracy for row in rows])
    if as_json:
        report = {
            "recipe": recipe,
            "folder": str(out),
            "seconds": time.monotonic() - started,
            "axes": axes,
            "members": [
                {"file": f"{member.name}.pt", "axes": dict(member.axes), **asdict(row)}
                for member, row in zip(members, summaries, strict=True)
            ],
            "levels": [asdict(row) for row in rows],
            "diverged": [member.name for member in diverged],
            "rank_correlation": correlation,
        }
        click.echo(strict_json(report))
        return
    click.echo(family_table(rows))
    if correlation is not None:
        click.echo(f"\nrank correlation of poison and test accuracy {correlation:.3f}")
    if diverged:
        names = ", ".join(member.name for member in diverged)
        trained = len(members) + len(diverged)
        click.echo(in_width(f"\n{len(diverged)} of {trained} nets diverged and have no checkpoint: {names}"))
    missed = sum(row.nets - row.converged for row in rows)
    if missed:
        click.echo(f"\n{missed} of {len(members)} nets did not converge; their checkpoints say so")
    click.echo(in_width(f"wrote {len(members)} checkpoints to {out}"))
