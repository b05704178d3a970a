"""``landscape sweep``: a family of nets, every poison factor with every seed, in one folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from landscape_cli import options
from landscape_cli.interrupts import INTERRUPTED, check_pressed
from landscape_cli.training import LOG_EVERY, checked, jobs_option, name_task, recipe, recipe_options

if TYPE_CHECKING:
    from landscape.recipes.sweep import Group, Level


class Factors(click.ParamType):
    """Poison factors with commas between them."""

    name = "B,B,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(sorted({float(part) for part in value.split(",")}))
        except ValueError:
            self.fail(f"{value!r} are no poison factors. Pass numbers with commas: 0,0.05,0.5.", param, ctx)


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
    help="Folder of the checkpoints; what is there is kept, and what is missing trained.",
)
@jobs_option
@recipe_options
@options.json_flag
@options.quiet
def command(
    recipe: str, factors: tuple[float, ...], seeds: int, out: Path, jobs: int | None, as_json: bool, quiet: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Train the family of a RECIPE: every poison factor with every seed.

    Small nets train together in one batched program, each to the same bits as "landscape train" gives.
    """
    from landscape.recipes.sweep import levels, plan, rank_correlation, read_numbers
    from landscape.training.training import Member
    from landscape_cli.text import strict_json

    args = checked(recipe, given)
    members = [Member(seed, poison) for poison in factors for seed in range(seeds)]
    out.mkdir(parents=True, exist_ok=True)
    jobs = jobs or os.cpu_count() or 1
    groups = plan(recipe, args, out, members, jobs)
    started = time.monotonic()
    if groups:
        work(recipe, args, out, groups, jobs, quiet=quiet)
    name_task(recipe, out)
    numbers = read_numbers(out, members)
    rows = levels(numbers)
    if as_json:
        told = {
            "recipe": recipe,
            "folder": str(out),
            "seconds": time.monotonic() - started,
            "members": [asdict(row) for row in numbers],
            "levels": [asdict(row) for row in rows],
            "rank_correlation": rank_correlation(rows),
        }
        click.echo(strict_json(told))
        return
    click.echo(table(rows))
    if (correlation := rank_correlation(rows)) is not None:
        click.echo(f"\nrank correlation of poison and test accuracy {correlation:.3f}")
    click.echo(f"wrote {len(members)} checkpoints to {out}")


def table(rows: list[Level]) -> str:
    """Return the levels as a table."""
    from landscape.results.table import columns, percent

    cells = [
        [
            f"{row.poison:g}",
            str(row.nets),
            percent(row.train_accuracy),
            f"{row.train_loss:.2g}",
            percent(row.test_accuracy),
            f"[{percent(row.lowest)}, {percent(row.highest)}]",
        ]
        for row in rows
    ]
    return columns(["poison", "nets", "train >=", "train loss <=", "mean test", "range"], cells)


class FamilyDisplay:
    """Shows how many nets of a family are trained: a bar on a terminal, a line now and then in a log."""

    def __init__(self, nets: list[int], *, quiet: bool) -> None:
        self._nets, self._log = nets, not quiet
        self._shares = [0.0] * len(nets)
        hidden = True if quiet else None  # None: hidden where stderr is no terminal
        self._bar = tqdm(total=sum(nets), unit=" nets", disable=hidden, leave=False, dynamic_ncols=True)
        self._start = time.monotonic()
        self._due = self._start + LOG_EVERY

    def report(self, group: int, step: int, steps: int) -> None:
        """Take what one group reports; stop here if Ctrl-C was pressed."""
        check_pressed()
        self._shares[group] = step / steps
        done = sum(share * nets for share, nets in zip(self._shares, self._nets, strict=True))
        self._bar.update(round(done, 2) - self._bar.n)
        now = time.monotonic()
        if self._log and self._bar.disable and now >= self._due:
            from landscape_cli.text import duration

            spent = duration(now - self._start)
            click.echo(f"{done:.1f} of {sum(self._nets)} nets in {spent}", err=True)
            self._due = now + LOG_EVERY

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def work(recipe: str, args: dict[str, Any], out: Path, groups: list[Group], jobs: int, *, quiet: bool) -> None:
    """Train the groups, as many at once as there are jobs, and show how far they are."""
    from landscape.recipes.sweep import train_group

    display = FamilyDisplay([len(group.members) for group in groups], quiet=quiet)
    try:
        if min(jobs, len(groups)) > 1:
            in_processes(recipe, args, out, groups, jobs, display)
        else:
            for index, group in enumerate(groups):
                train_group(recipe, args, out, group, partial(display.report, index))
    except KeyboardInterrupt:
        display.close()
        click.echo(f"interrupted; the same command goes on from what {out} keeps", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        display.close()


def in_processes(
    recipe: str, args: dict[str, Any], out: Path, groups: list[Group], jobs: int, display: FamilyDisplay
) -> None:
    """Train each group in a process of its own."""
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, context, start_worker, (reports, threads)) as pool:
        futures = [pool.submit(train_in_worker, recipe, args, out, *item) for item in enumerate(groups)]
        try:
            unfinished = set(futures)
            while unfinished:
                finished, unfinished = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                while not reports.empty():
                    display.report(*reports.get())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()  # at any moment: what is kept is whole
            raise


_reports: Any = None  # of a worker


def start_worker(reports: Any, threads: int) -> None:
    """Prepare a process of the pool."""
    import torch

    global _reports
    _reports = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    torch.set_num_threads(threads)


def train_in_worker(recipe: str, args: dict[str, Any], out: Path, index: int, group: Group) -> None:
    """Train one group in a process of the pool."""
    from landscape.recipes.sweep import train_group

    def report(step: int, steps: int) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # killed: the same command goes on, and not beside this one
            os._exit(1)
        _reports.put((index, step, steps))

    train_group(recipe, args, out, group, report)
