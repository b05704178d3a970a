"""Volumes of bodies whose volume is known, by one estimator at several budgets: one row per run, and what they show.

`benchmarks.known_bodies` is its command line.
"""

from __future__ import annotations

import fnmatch
import math
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import landscape as ls
from benchmarks.bodies import CATALOGUE, Body, build
from benchmarks.rows import Row, append, read
from landscape.results import Volume

BUDGETS = (20_000, 100_000, 500_000)  #: passes
PASSES_PER_RAY = 4  # of estimators that take a number of rays: about what one search costs


@dataclass(frozen=True)
class Run:
    """What names a run."""

    body: str
    estimator: str
    budget: int
    seed: int


def runs(patterns: Sequence[str], estimator: str, budgets: Sequence[int], seeds: Iterable[int]) -> Iterator[Run]:
    """Yield the runs: all bodies with one seed before the next, each seed from the smallest budget and n.

    Args:
        patterns: names of bodies, which need not be in the catalogue, or patterns of names that are.
        estimator: name of the estimator.
        budgets: passes.
        seeds: of the runs.
    """
    chosen: dict[str, int] = {}
    for pattern in patterns:
        names = fnmatch.filter(CATALOGUE, pattern) or [pattern]
        chosen.update({name: build(name).n for name in names})
    for seed in seeds:
        for budget in sorted(budgets):
            for name in sorted(chosen, key=lambda name: chosen[name]):
                yield Run(name, estimator, budget, seed)


def measure_all(path: Path, asked: Iterable[Run], jobs: int) -> Iterator[Row]:
    """Make the runs that the file does not hold yet; append the row of each as soon as it is done, and yield it.

    Args:
        path: of the rows.
        asked: the runs.
        jobs: number of processes.
    """
    done = {tuple(row.get(name) for name in Run.__dataclass_fields__) for row in read(path)}
    missing = [run for run in asked if tuple(asdict(run).values()) not in done]
    if jobs == 1:
        torch.set_num_threads(1)
        rows = map(measure, missing)
        yield from _kept(path, rows)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        yield from _kept(path, pool.imap_unordered(measure, missing))


def _kept(path: Path, rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        append(path, row)
        yield row


def measure(run: Run) -> Row:
    """Make one run and return its row. Its log-volumes are errors: estimate minus truth, in nats.

    A run that fails has the message in ``failed`` and no estimate.
    """
    body = _cached(run.body)
    row: Row = {**asdict(run), "kind": body.kind, "n": body.n}
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        volume = volume_of(run, body)
    except Exception as error:  # hours of other runs go on; the summary names it
        return {**row, "failed": f"{type(error).__name__}: {error}", "seconds": time.perf_counter() - wall}
    estimate = volume.results[0]
    return {
        **row,
        "used": volume.estimator,
        "error": estimate.log_volume - body.truth,
        "low": estimate.interval[0] - body.truth,
        "high": estimate.interval[1] - body.truth,
        "bound": estimate.bound - body.truth,
        "upper_bound": estimate.upper_bound - body.truth,
        "verdict": estimate.verdict,
        "unmet": [check.words for check in estimate.checks if not check.met],
        "resolution": estimate.resolution,
        "survives": estimate.survives,
        "ess": estimate.ess,
        "passes": volume.cost.evaluations,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def volume_of(run: Run, body: Body) -> Volume:
    """Return the volume that a run measures."""
    options = {"estimator": run.estimator, "max_radius": body.max_radius, "seed": run.seed, **_effort(run)}
    return ls.log_volume(body.objective, [body.cutoff], metric="identity", **options)


def _effort(run: Run) -> dict[str, Any]:
    """Return the options that make a run cost about its budget."""
    if run.estimator in ("auto", "annealed"):
        return {"budget": run.budget}
    rays = {"directions": math.ceil(run.budget / PASSES_PER_RAY)}
    return {**rays, "proposal": "slopes"} if run.estimator == "importance" else rays


@lru_cache(maxsize=8)
def _cached(name: str) -> Body:
    return build(name)
