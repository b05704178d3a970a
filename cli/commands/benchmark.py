"""``landscape benchmark``: which measures predict generalisation over a family of nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from landscape_cli import options, sharpness_options

ENDINGS = (".h5", ".html", ".csv")


class Names(click.ParamType):
    """Names with commas between them."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else tuple(value)
        if not all(names):
            self.fail(f"expected names with commas between them, such as width,lr, got {value!r}.", param, ctx)
        return tuple(dict.fromkeys(names))


ranking = options.together(
    click.option("--target", default="gap", show_default=True, help="What to predict: error, gap, loss or any column."),
    click.option(
        "--axes", type=Names(), default="auto", show_default=True,
        help="What was varied; auto: the axes of the checkpoints, or the columns of few levels.",
    ),
    click.option(
        "--measures", type=Names(),
        help="core, all, names, FILE.py:FUNCTION; or columns of a table.  [default: core; every column of a table]",
    ),
    click.option(
        "--bootstrap", type=click.IntRange(min=20), default=2000, show_default=True, metavar="N",
        help="Resamples of configurations for the intervals.",
    ),
    click.option(
        "--test-size", type=click.IntRange(min=1), metavar="N",
        help="Test samples behind error and gap, for the weights of the sign error.",
    ),
    click.option(
        "--effective-size", type=options.Number(), default=12.0, show_default=True,
        help="Effective pairs of nets that a pair of configurations needs to count for the sign error.",
    ),
    click.option("--max-train-loss", type=options.Number(), help="Leave out nets above this train loss."),
    click.option("--keep-all", is_flag=True, help="Rank nets that have not converged, too."),
)  # fmt: skip

table_options = options.together(
    click.option(
        "--table", type=click.Path(exists=True, dir_okay=False), metavar="RUNS.csv",
        help="Rank the numbers of a table with one row per net, or of a file of --out, and measure nothing.",
    ),
    click.option(
        "--baselines", type=Names(), default=(), help="Columns that are baselines, besides those known by name."
    ),
    click.option(
        "--smaller-is-sharper", type=Names(), default=(),
        help="Columns that are turned round: a smaller value is sharper.",
    ),
)  # fmt: skip

keeping = options.together(
    click.option(
        "--out", "outs", type=click.Path(dir_okay=False, path_type=Path), multiple=True, metavar="FILE",
        help="Write the page (.html), the statistics (.csv), or everything (.h5; page and CSV go to its folder).",
    ),
    click.option("--resume", is_flag=True, help="Continue the run in --out, or start one if there is none."),
    click.option("--overwrite", is_flag=True, help="Measure every net again."),
    click.option(
        "--jobs", type=click.IntRange(min=1), metavar="N",
        help="Nets measured at the same time.  [default: one per core]",
    ),
)  # fmt: skip


@click.command("benchmark")
@click.argument("family", nargs=-1, type=click.Path())
@ranking
@table_options
@keeping
@sharpness_options.settings
@options.task
@options.centre
@options.json_flag
@options.quiet
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Rank sharpness measures by how well they predict generalisation, over a FAMILY of nets or a table.

    FAMILY is the folder of "landscape sweep", or several. Each checkpoint is measured and stored in --out as soon as it
    is done; --resume continues.

    A table (CSV) has one row per net. Its columns: what was varied (axes), the seed, error, gap or loss (larger is
    worse), and each measure (larger is sharper). NAME:error, NAME:passes and NAME:seconds may say
    how uncertain a measure is and what it cost.
    """
    for out in params["outs"]:
        if out.suffix.lower() not in ENDINGS:
            raise click.UsageError(f"--out {out} has no ending that is known; expected one of {', '.join(ENDINGS)}.")
    if bool(params["family"]) == bool(params["table"]):
        raise click.UsageError("Type either a folder of checkpoints, or --table runs.csv.")
    if params["family"] and not any(out.suffix.lower() == ".h5" for out in params["outs"]):
        raise click.UsageError("A family is kept net by net while it is measured. Add --out bench.h5.")

    from landscape_cli.benchmark_run import run_benchmark

    run_benchmark(context)
