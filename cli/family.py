"""A family of nets: the missing ones are trained, in one process or in several, and shown as a table."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from functools import partial
from pathlib import Path
from typing import Any

import click

from landscape.recipes import load_recipe
from landscape.results.table import columns, percent
from landscape.training import Member, ResumableTraining
from landscape.training.problem import as_text
from landscape.training.sweep import Begin, Configuration, Group, plan, train_group
from landscape_cli.interrupts import INTERRUPTED
from landscape_cli.processes import SPAWN, processes
from landscape_cli.progress import Display


class FamilyDisplay:
    """Shows how many nets of a family are trained.

    Args:
        nets: how many nets each group has.
        quiet: show nothing.
    """

    def __init__(self, nets: list[int], *, quiet: bool) -> None:
        self._nets = nets
        self._shares = [0.0] * len(nets)
        self._display = Display(sum(nets), 0, quiet=quiet, unit="nets", words="training")

    def report(self, group: int, step: int, steps: int) -> None:
        """Show the steps that one group has made; stop here if Ctrl-C was pressed."""
        self._shares[group] = step / steps
        done = sum(share * nets for share, nets in zip(self._shares, self._nets, strict=True))
        self._display.show(round(done, 2), sum(self._nets), "training")

    def close(self) -> None:
        """Take the bar away."""
        self._display.close()


def train_missing(
    recipe: str, args: dict[str, Any], out: Path, members: list[Member], jobs: int, *, quiet: bool
) -> None:
    """Train the members that have no checkpoint yet, ``jobs`` groups at the same time, and show how far they are."""
    begin = begin_with(recipe, args)
    groups = plan(begin, out, members, together=load_recipe(recipe).NETS_TOGETHER, jobs=jobs)
    if not groups:
        return
    display = FamilyDisplay([len(group.members) for group in groups], quiet=quiet)
    try:
        if min(jobs, len(groups)) > 1:
            in_processes(recipe, args, out, groups, jobs, display)
        else:
            for index, group in enumerate(groups):
                train_group(begin, out, group, partial(display.report, index))
    except KeyboardInterrupt:
        display.close()
        click.echo(f"interrupted; the same command continues from what {out} keeps", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        display.close()


def begin_with(recipe: str, args: dict[str, Any]) -> Begin:
    """Return what begins the training of some members, all with the same keywords, by a recipe."""
    source = load_recipe(recipe)

    def begin(members: Sequence[Member]) -> ResumableTraining:
        training: ResumableTraining = source.training(members, **args, **members[0].keywords)
        return training

    return begin


def in_processes(
    recipe: str, args: dict[str, Any], out: Path, groups: list[Group], jobs: int, display: FamilyDisplay
) -> None:
    """Train each group in a process of its own."""
    reports = SPAWN.SimpleQueue()
    with processes(jobs, report_to, reports) as pool:
        futures = [pool.submit(train_in_worker, recipe, args, out, *item) for item in enumerate(groups)]
        unfinished = set(futures)
        while unfinished:
            finished, unfinished = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
            while not reports.empty():
                display.report(*reports.get())


_reports: Any = None  # of a worker


def report_to(reports: Any) -> None:
    """Keep the queue to which this process reports."""
    global _reports
    _reports = reports


def train_in_worker(recipe: str, args: dict[str, Any], out: Path, index: int, group: Group) -> None:
    """Train one group in a process of the pool."""

    def report(step: int, steps: int) -> None:
        _reports.put((index, step, steps))

    train_group(begin_with(recipe, args), out, group, report)


def family_table(rows: Sequence[Configuration]) -> str:
    """Return one row per configuration as a table."""
    cells = [
        [
            *(as_text(value) for value in row.axes.values()),
            str(row.nets),
            str(row.converged),
            percent(row.train_accuracy),
            f"{row.train_loss:.2g}",
            percent(row.test_accuracy),
            f"[{percent(row.lowest)}, {percent(row.highest)}]",
        ]
        for row in rows
    ]
    names = [name.replace("_", "-") for name in rows[0].axes]
    return columns([*names, "nets", "converged", "train >=", "loss <=", "mean test", "range"], cells)
