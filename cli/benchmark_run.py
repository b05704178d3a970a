"""The run of ``landscape benchmark``: a table that is read or measured, its ranking, and the files of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from landscape.errors import LandscapeError, StoreError
from landscape.ranking import RankingSettings, rank_measures, read_table
from landscape.ranking.export import ranking_csv
from landscape.ranking.page import ranking_page
from landscape.results import Ranking, Runs
from landscape.store import Store
from landscape.store.atomic import write_atomically
from landscape_cli.flags import in_flags
from landscape_cli.machine_output import strict_json
from landscape_cli.next_command import resume_command

TABLE, RANKING = "runs", "ranking"  #: their names in the file


def run_benchmark(context: click.Context) -> None:
    """Read or measure, rank, print and write what the options of the command ask for."""
    params = context.params
    axes = None if params["axes"] == ("auto",) else params["axes"]
    measures = params["measures"]
    if params["family"]:
        # for speed alone: a table needs no measures, and no processes
        from landscape_cli.benchmark_family import family_table

        out = next(path for path in params["outs"] if path.suffix.lower() == ".h5")
        runs = family_table(params, out, f"{resume_command(context)} --resume")
        measures = None
    else:
        reading = ("target", "baselines", "smaller_is_sharper", "test_size", "keep_all")
        runs = read(params["table"], axes=axes, measures=measures, **{name: params[name] for name in reading})
    names = ("bootstrap", "seed", "effective_size", "max_train_loss")
    settings = RankingSettings(**{name: params[name] for name in names})
    ranking = rank_measures(runs, params["target"], axes=axes, measures=measures, settings=settings)
    ranking = replace(ranking, gaps={name: in_flags(gap, context.command) for name, gap in ranking.gaps.items()})
    ranking = replace(ranking, notes=tuple(in_flags(note, context.command) for note in ranking.notes))
    click.echo(strict_json(ranking.to_dict()) if params["as_json"] else str(ranking))
    for path in write(runs, ranking, params["outs"]):
        click.echo(f"wrote {path}", err=params["as_json"])


def read(
    path: str, *, target: str, axes: Sequence[str] | None, measures: Sequence[str] | None, baselines: Sequence[str],
    smaller_is_sharper: Sequence[str], test_size: int | None, keep_all: bool,
) -> Runs:  # fmt: skip
    """Return the table of a CSV file, or the one that a file of ``--out`` holds.

    Raises:
        LandscapeError: the file is neither, or lacks a column, or ``keep_all`` asks for nets that it lacks.
    """
    if Path(path).suffix.lower() != ".h5":
        return read_table(
            path, target=target, axes=axes, measures=measures, baselines=baselines,
            smaller_is_sharper=smaller_is_sharper, test_size=test_size, keep_all=keep_all,
        )  # fmt: skip
    runs = Store(path)[TABLE]
    if not isinstance(runs, Runs):
        raise StoreError(f"{path} holds something else than a table of runs under the name {TABLE!r}.")
    for option, names in (("baselines", baselines), ("smaller_is_sharper", smaller_is_sharper)):
        for name in names:
            if name not in runs.measures:
                known = ", ".join(runs.measures)
                raise LandscapeError(f"{path} has no measure {name!r}, which `{option}=...` names. It has: {known}.")
    if keep_all:
        raise LandscapeError(
            f"{path} holds the table without the nets that were left out, so `keep_all=True` cannot bring them back. "
            "Rank the family itself, or the CSV file."
        )
    return replace(
        runs,
        baselines=(*runs.baselines, *baselines),
        smaller_is_sharper=(*runs.smaller_is_sharper, *smaller_is_sharper),
        test_size=test_size or runs.test_size,
    )


def write(runs: Runs, ranking: Ranking, paths: Sequence[Path]) -> list[Path]:
    """Write a ranking in the form that each ending says, and return the files. Page and CSV go to the folder of an .h5.

    Raises:
        StoreError: one cannot be written.
    """
    files: dict[Path, str] = {}
    for path in paths:
        ending = path.suffix.lower()
        files |= {path: ending}
        if ending == ".h5":
            files |= {path.with_suffix(other): other for other in (".html", ".csv")}
    for path, ending in files.items():
        if ending == ".h5":
            with Store(path, write=True) as store:
                store[TABLE], store[RANKING] = runs, ranking
            continue
        text = ranking_page(runs, ranking) if ending == ".html" else ranking_csv(ranking)
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror or error}). Pass another --out.") from error
    return list(files)
