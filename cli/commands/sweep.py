"""``landscape sweep``: a family of nets, every poison factor with every seed, in one folder."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from landscape_cli import options
from landscape_cli.recipe_options import jobs_option, recipe, recipe_args, recipe_options


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
@click.option("--poison", "factors", type=Factors(), required=True, help="Poison factors, such as 0,0.05,0.5.")
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
    recipe: str, factors: tuple[float, ...], seeds: int, out: Path, jobs: int | None, as_json: bool, quiet: bool,
    **params: Any,
) -> None:  # fmt: skip
    """Train the family of a RECIPE: every poison factor with every seed.

    Small nets train together in one batched program, each to the same bits as "landscape train" gives.
    """
    from landscape.store.atomic import make_folder
    from landscape.training import Member
    from landscape.training.sweep import poison_levels, rank_correlation, read_summaries
    from landscape_cli.family import levels_table, train_missing
    from landscape_cli.machine_output import strict_json
    from landscape_cli.training import name_task

    args = recipe_args(recipe, params)
    members = [Member(seed, poison) for poison in factors for seed in range(seeds)]
    make_folder(out)
    started = time.monotonic()
    train_missing(recipe, args, out, members, jobs or os.cpu_count() or 1, quiet=quiet)
    name_task(recipe, out)
    summaries = read_summaries(out, members)
    levels = poison_levels(summaries)
    correlation = rank_correlation([row.poison for row in levels], [row.test_accuracy for row in levels])
    if as_json:
        report = {
            "recipe": recipe,
            "folder": str(out),
            "seconds": time.monotonic() - started,
            "members": [asdict(row) for row in summaries],
            "levels": [asdict(row) for row in levels],
            "rank_correlation": correlation,
        }
        click.echo(strict_json(report))
        return
    click.echo(levels_table(levels))
    if correlation is not None:
        click.echo(f"\nrank correlation of poison and test accuracy {correlation:.3f}")
    click.echo(f"wrote {len(members)} checkpoints to {out}")
