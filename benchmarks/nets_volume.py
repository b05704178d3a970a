"""Volumes of good and bad minima by uniform rays and by annealed chains, and whether both order them alike.

    python -m benchmarks.nets_volume measure NAME GOOD.pt BAD.pt CUTOFF [CUTOFF ...]
    python -m benchmarks.nets_volume page                 prints the table

The checkpoints carry their task (``landscape train``), or a landscape.toml in their folder names it. Every run adds a
line to the file of ``--rows`` as soon as it is done, and no run in the file is made twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import landscape as ls
from benchmarks.page import command_line
from benchmarks.rows import Row, append, read
from landscape.resolve import resolve_task
from landscape.volume import annealed_volume, log_unit_ball
from landscape.volume.annealing.pilot import PATHS
from landscape.volume.annealing.precondition import PRECONDITIONS


def objective_of(path: Path, samples: int | None) -> ls.Objective:
    """Return the loss on the training set, or its first samples, around a checkpoint; biases stay fixed."""
    task, _ = resolve_task(path)
    return ls.Objective(task.model, task.data, str(task.loss), scope="weights", max_samples=samples)


def measure(objective: ls.Objective, cutoff: float, seed: int, rays: int, **effort: Any) -> Row:
    """Return the log-volume of one net at one cutoff by both estimators; None if it has no basin.

    Args:
        objective: the loss around the net.
        cutoff: of the loss.
        seed, rays: of the uniform rays; the chains share the seed.
        effort: chains and temperatures, or a budget.
    """
    row: Row = {"n": objective.dimension, "centre": objective.centre, "uniform": None, "full": None}
    if objective.centre >= cutoff:
        return row
    started = time.perf_counter()
    plain = ls.log_volume(objective, [cutoff], directions=rays, seed=seed)
    volume = annealed_volume(objective, [cutoff], seed=seed, **effort)
    result = volume.results[0]
    return {
        **row,
        "n": volume.dimension,
        "chains": volume.directions,
        "temperatures": volume.config["temperatures"],
        "uniform": plain.results[0].log_volume,
        "half": float(volume.log_volume_half[0]),
        "full": result.log_volume,
        "low": result.interval[0],
        "high": result.interval[1],
        "spread": float(volume.weight_spread[0, 1]),
        "resampled": int(volume.resampled[0, 1]),
        "censored_weight": result.censored_weight,
        "verdict": result.verdict,
        "shaped": volume.config["preconditioners"][0] is not None,
        "evaluations": volume.cost.evaluations / volume.directions,
        "minutes": (time.perf_counter() - started) / 60,
    }


def table(rows: list[Row]) -> Iterator[str]:
    """Yield two tables: log V minus the log-volume of the ball of the cap, and good minus bad in powers of ten."""
    yield "| net | n | cutoff | uniform | K | half | full | change / gain | spread | verdict | evals/chain | minutes |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        name = f"| {row['name']}, {row['which']} | {row['n']:,} | {row['cutoff']:g} "
        if row["full"] is None:
            yield f"{name}| no basin: the loss at the minimum is {row['centre']:.3g} | | | | | | | | |"
            continue
        ball, gain = log_unit_ball(row["n"]), row["full"] - row["uniform"]
        change = f"{100 * (row['full'] - row['half']) / gain:.1f} %" if gain > 0 else "no gain"
        yield (
            f"{name}| {row['uniform'] - ball:,.0f} | {row['temperatures']} | {row['half'] - ball:,.0f} "
            f"| {row['full'] - ball:,.0f} | {change} | {row['spread']:.1f} | {row['verdict']} "
            f"| {row['evaluations']:,.0f} | {row['minutes']:.1f} |"
        )
    yield ""
    yield "| nets | cutoff | good - bad, uniform | good - bad, annealed | ordering |"
    yield "|---|---|---|---|---|"
    for good in (row for row in rows if row["which"] == "good" and row["full"] is not None):
        key = ("name", "cutoff", "samples", "seed")
        for bad in rows:
            same = all(bad.get(name) == good.get(name) for name in key)
            if not same or bad["which"] != "bad" or bad["full"] is None:
                continue
            plain, annealed = ((good[by] - bad[by]) / math.log(10) for by in ("uniform", "full"))
            kept = "survives" if annealed > 0 else "turns round"
            yield f"| {good['name']} | {good['cutoff']:g} | {plain:+,.0f} | {annealed:+,.0f} | {kept} |"


def main() -> None:
    """Measure, or print the table."""
    parser = command_line(__doc__)
    parser.add_argument("part", choices=["measure", "page"])
    parser.add_argument("name", nargs="?")
    parser.add_argument("nets", nargs="*", help="good and bad checkpoint, then cutoffs")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--temperatures", type=int, default=60)
    parser.add_argument("--budget", help="in the place of chains and temperatures: 15min, or passes over the data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, help="the first of the training set only")
    parser.add_argument("--rays", type=int, default=1000)
    parser.add_argument("--only", choices=["good", "bad"])
    parser.add_argument("--path", default="auto", choices=PATHS)
    parser.add_argument("--precondition", default="auto", choices=PRECONDITIONS)
    parser.add_argument("--rows", type=Path, default=Path("nets_volume.jsonl"))
    given = parser.parse_args()
    if given.part == "page":
        print("\n".join(table(read(given.rows))))
        return
    torch.set_num_threads(1)
    effort: dict[str, Any] = {"chains": given.chains, "temperatures": given.temperatures}
    effort = {"budget": given.budget} if given.budget else effort
    settings = {
        "seed": given.seed,
        "rays": given.rays,
        "path": given.path,
        "precondition": given.precondition,
        **effort,
    }
    for cutoff in map(float, given.nets[2:]):
        for which, path in zip(("good", "bad"), given.nets[:2], strict=True):
            name = {"name": given.name, "which": which, "cutoff": cutoff, "samples": given.samples, **settings}
            if given.only not in (None, which) or any(
                name.items() <= {"path": "auto", "precondition": "auto", **row}.items() for row in read(given.rows)
            ):
                continue
            row = {**name, **measure(objective_of(Path(path), given.samples), cutoff, **settings)}
            append(given.rows, row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
