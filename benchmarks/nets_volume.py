"""Volumes of good and bad minima within a budget, and whether they are ordered as uniform rays order them.

    python -m benchmarks.nets_volume measure NAME GOOD.pt BAD.pt CUTOFF [CUTOFF ...] --budget 5min --step-ratio 1.1
    python -m benchmarks.nets_volume page                 prints the tables

Budgets, step ratios and seeds may be several. This measures narrow nets at full and at fourfold effort:

    python -m benchmarks.nets_volume measure swiss-roll good.pt bad.pt 0.1 1 --only bad --estimator annealed \
        --step-ratio 1.5 1.1 1.05 1.02 --budget 2e6 8e6 --seed 0 1 2 3

The checkpoints carry their task (``landscape train``), or a landscape.toml in their folder names it. Every run adds a
line to the file of ``--rows`` as soon as it is done, and no run in the file is made twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

import landscape as ls
from benchmarks.page import command_line
from benchmarks.rows import Row, append, read
from landscape.resolve import resolve_task
from landscape.results import AnnealedVolume
from landscape.results.volume_words import interval_cell, value_cell

_SAME = ("name", "cutoff", "samples", "seed", "budget", "step_ratio", "estimator")  # for a good net and its bad one


def objective_of(path: Path, samples: int | None) -> ls.Objective:
    """Return the loss on the training set, or its first samples, around a checkpoint; biases stay fixed."""
    task, _ = resolve_task(path)
    return ls.Objective(task.model, task.data, str(task.loss), scope="weights", max_samples=samples)


def measure(objective: ls.Objective, cutoff: float, seed: int, rays: int, **effort: Any) -> Row:
    """Return the log-volume of one net at one cutoff as a row; its ``value`` is None if it has no basin.

    Args:
        objective: the loss around the net.
        cutoff: of the loss.
        seed, rays: of the uniform rays that the volume is held against.
        effort: estimator, budget and step_ratio.
    """
    row: Row = {"n": objective.dimension, "centre": objective.centre, "value": None}
    if objective.centre >= cutoff:
        return row
    started = time.perf_counter()
    grid = {"step_ratio": effort["step_ratio"], "seed": seed}
    plain = ls.log_volume(objective, [cutoff], estimator="uniform", directions=rays, **grid).results[0]
    began = time.perf_counter()
    volume = ls.log_volume(objective, [cutoff], seed=seed, **effort)
    result = volume.results[0]
    out, scatter, back = (math.nan,) * 3
    if isinstance(volume, AnnealedVolume):
        out, scatter, back = (result.log_cap_ball - volume.trail[-1, 3], volume.trail[-1, 4], volume.trail[-1, 5])
        back = result.log_cap_ball - back
    return {
        **row,
        "n": volume.dimension,
        "used": volume.estimator,
        "uniform": plain.nats_below_ball,
        "value": result.nats_below_ball,
        "cell": value_cell(result),
        "interval": interval_cell(result),
        "out": float(out),
        "sd": float(scatter),
        "back": float(back),
        "survives": result.survives,
        "verdict": result.verdict,
        "unmet": [check.name for check in result.checks if not check.met],
        "log_volume": result.log_volume,
        "evaluations": volume.cost.evaluations,
        "minutes": (time.perf_counter() - began) / 60,
        "minutes_uniform": (began - started) / 60,
    }


def table(rows: list[Row]) -> Iterator[str]:
    """Yield two tables in nats below the ball of the cap: every net, and every good net against its bad one."""
    yield (
        "| net | n | cutoff | q | seed | uniform bound | out | sd | back | nats below the ball | 95 % interval "
        "| finer grid leaves | verdict | passes | minutes |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        name = f"| {row['name']}, {row['which']} | {row['n']:,} | {row['cutoff']:g} "
        name += f"| {row['step_ratio']:g} | {row['seed']} "
        if row["value"] is None:
            yield f"{name}| no basin: the loss at the minimum is {row['centre']:.3g} | | | | | | | | | |"
            continue
        ends = " | ".join("-" if not math.isfinite(row[key]) else f"{row[key]:,.1f}" for key in ("out", "sd", "back"))
        left = "-" if math.isnan(row["survives"]) else f"{math.floor(100 * row['survives'])} %"
        yield (
            f"{name}| {row['uniform']:,.1f} | {ends} | {row['cell']} | {row['interval']} | {left} "
            f"| {row['verdict']} ({row['used']}) | {row['evaluations']:,.0f} | {row['minutes']:.1f} |"
        )
    yield ""
    yield "| nets | cutoff | q | seed | bad - good, uniform bounds | bad - good | verdicts |"
    yield "|---|---|---|---|---|---|---|"
    for good in (row for row in rows if row["which"] == "good" and row["value"] is not None):
        for bad in rows:
            same = all(bad.get(name) == good.get(name) for name in _SAME)
            if same and bad["which"] == "bad" and bad["value"] is not None:
                yield (
                    f"| {good['name']} | {good['cutoff']:g} | {good['step_ratio']:g} | {good['seed']} "
                    f"| {bad['uniform'] - good['uniform']:+,.0f} | {bad['value'] - good['value']:+,.0f} "
                    f"| {good['verdict']}, {bad['verdict']} |"
                )


def main() -> None:
    """Measure, or print the tables."""
    parser = command_line(__doc__)
    parser.add_argument("part", choices=["measure", "page"])
    parser.add_argument("name", nargs="?")
    parser.add_argument("nets", nargs="*", help="good and bad checkpoint, then cutoffs")
    parser.add_argument("--estimator", default="auto", choices=["auto", "annealed", "counted"])
    parser.add_argument("--budget", nargs="+", default=["5min"], help="a time such as 15min, or passes over the data")
    parser.add_argument("--step-ratio", nargs="+", type=float, default=[2.0], help="resolution of the basin")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--samples", type=int, help="the first of the training set only")
    parser.add_argument("--rays", type=int, default=1000)
    parser.add_argument("--only", choices=["good", "bad"])
    parser.add_argument("--rows", type=Path, default=Path("nets_volume.jsonl"))
    given = parser.parse_args()
    if given.part == "page":
        print("\n".join(table(read(given.rows))))
        return
    torch.set_num_threads(1)
    asked = product(map(float, given.nets[2:]), given.step_ratio, given.budget, given.seed)
    for cutoff, ratio, budget, seed in asked:
        effort = {"estimator": given.estimator, "budget": budget, "step_ratio": ratio}
        settings = {"seed": seed, "rays": given.rays, **effort}
        for which, path in zip(("good", "bad"), given.nets[:2], strict=True):
            name = {"name": given.name, "which": which, "cutoff": cutoff, "samples": given.samples, **settings}
            known = given.rows.exists() and any(name.items() <= row.items() for row in read(given.rows))
            if given.only not in (None, which) or known:
                continue
            row = {**name, **measure(objective_of(Path(path), given.samples), cutoff, **settings)}
            append(given.rows, row)
            print(row, flush=True)
    print("\n".join(table(read(given.rows))))


if __name__ == "__main__":
    main()
