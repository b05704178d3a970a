"""``landscape benchmark``: which measures predict generalisation over a family of nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from landscape_cli import options

ENDINGS = (".h5", ".html", ".csv")


class Names(click.ParamType):
    """Names with commas between them."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else tuple(value)
        if not all(names):
            self.fail(f"expected names with commas between them, such as width,lr, got {value!r}.", param, ctx)
        return tuple(dict.fromkeys(names))


@click.command()
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False),
    metavar="RUNS.csv",
    required=True,
    help="A table with one row per net; or a file of --out.",
)
@click.option("--target", default="gap", show_default=True, help="What to predict: error, gap, loss or any column.")
@click.option(
    "--axes",
    type=Names(),
    default="auto",
    show_default=True,
    help="The columns that say what was varied; auto finds columns of few levels.",
)
@click.option("--measures", type=Names(), help="The columns to rank.  [default: all that are left]")
@click.option("--baselines", type=Names(), default=(), help="Columns that are baselines, besides those known by name.")
@click.option(
    "--smaller-is-sharper", type=Names(), default=(), help="Measures that are turned round: a smaller value is sharper."
)
@click.option(
    "--bootstrap", type=click.IntRange(min=0), default=2000, show_default=True, metavar="N",
    help="Resamples of configurations for the intervals.",
)  # fmt: skip
@click.option(
    "--test-size", type=click.IntRange(min=1), metavar="N",
    help="Test samples behind error and gap, for the weights of the sign error.  [default: the column test-size]",
)  # fmt: skip
@click.option(
    "--effective-size", type=options.Number(), default=12.0, show_default=True,
    help="Effective pairs of nets that a pair of configurations needs to count for the sign error.",
)  # fmt: skip
@click.option("--max-train-loss", type=options.Number(), help="Leave out nets above this train loss.")
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of the resamples."
)
@click.option(
    "--out", "outs", type=click.Path(dir_okay=False, path_type=Path), multiple=True, metavar="FILE",
    help="Write the page (.html), the statistics (.csv), or everything (.h5, with page and CSV beside it).",
)  # fmt: skip
@options.json_flag
def command(
    table: str, target: str, axes: tuple[str, ...], measures: tuple[str, ...] | None, bootstrap: int, seed: int,
    outs: tuple[Path, ...], as_json: bool, max_train_loss: float | None, effective_size: float, **reading: Any,
) -> None:  # fmt: skip
    """Rank measures by how well they predict generalisation, with intervals, over a table of nets.

    The table has one row per net: what was varied (axes), the seed, how the net generalises (error, gap or loss; larger
    is worse) and one column per measure (larger is sharper). NAME:error, NAME:passes and NAME:seconds may say how
    uncertain a measure is and what it cost.
    """
    from landscape.ranking import RankingSettings, rank_measures
    from landscape_cli.benchmark_run import read, write
    from landscape_cli.machine_output import strict_json

    for out in outs:
        if out.suffix.lower() not in ENDINGS:
            raise click.UsageError(f"--out {out} has no ending that is known; expected one of {', '.join(ENDINGS)}.")
    chosen_axes = None if axes == ("auto",) else axes
    runs = read(table, target=target, axes=chosen_axes, measures=measures, **reading)
    settings = RankingSettings(
        bootstrap=bootstrap, seed=seed, effective_size=effective_size, max_train_loss=max_train_loss
    )
    ranking = rank_measures(runs, target, axes=chosen_axes, measures=measures, settings=settings)
    click.echo(strict_json(ranking.to_dict()) if as_json else str(ranking))
    for path in write(runs, ranking, outs):
        click.echo(f"wrote {path}", err=as_json)
