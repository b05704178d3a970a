"""Bodies whose volume is known: how far the estimates are from it, and how often the verdict is right.

    python -m benchmarks.known_bodies calibration --rows FILE [--body NAME ...] [--budget PASSES ...] [--seeds A:B]
        [--estimator auto|annealed|uniform|importance] [--jobs N]
    python -m benchmarks.known_bodies summary --rows FILE       prints what the rows of the calibration show
    python -m benchmarks.known_bodies bodies      (or: ellipsoids, importance, honesty; then sizes n, if not all)
    python -m benchmarks.known_bodies_page        writes the section of docs/benchmarks.md and the figure

Bodies are named by a family and its numbers, n first, as in ``halfcut50``; a pattern such as ``'off-centre*'`` selects
from the catalogue (benchmarks/bodies/catalogue.py). Every run adds a line to the file of ``--rows`` as soon as it is
done, and no run in the file is made twice. So hours of measuring survive an interruption, and may be done part by part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

import landscape as ls
from benchmarks import calibration, calibration_tables
from benchmarks.bodies import Body, build, earlier
from benchmarks.page import command_line, seed_range
from benchmarks.rows import Row, append, read
from landscape.volume import annealed_volume

Run = tuple[Row, Callable[[], Row]]  #: what names a run, and the call that makes it
ROWS = Path("known_bodies.jsonl")  # default of --rows
CHAINS = 32
# temperatures of the ellipsoids, by n, in the coordinates of the metric and in learnt coordinates
TEMPERATURES = {"none": {500: 1500, 2000: 1000, 10_000: 1000}, "slopes": {500: 300, 2000: 300}}
SEEDS = (0, 1, 2)
RANKS = {1000: 800, 2000: 1740, 10_000: 9000}  # of the proposal of importance, by n
RAYS = 500
BODIES = {5: 60, 10: 100, 50: 400}  # temperatures by n
HIDDEN = 1000  # temperatures for the spike in ten dimensions, which one direction in 5,000 meets
EFFORTS = {3: (4, 16), 6: (8, 40), 20: (20, 120)}  # the same for the honesty experiment
RAY_EFFORTS = {"uniform": (200, 1000), "importance": (200, 1000)}  # rays
HONEST = {"annealed": range(1000, 1007), "uniform": range(1000, 1040), "importance": range(1000, 1007)}  # seeds of it


def measure(body: Body, n: int, temperatures: int, seed: int, precondition: str = "none") -> Row:
    """Return the annealed estimate of one body, as a row."""
    started, spent = time.perf_counter(), time.process_time()
    volume = annealed_volume(
        body.objective,
        [body.cutoff],
        metric="identity",
        chains=CHAINS,
        temperatures=temperatures,
        precondition=precondition,
        seed=seed,
        max_radius=body.max_radius,
    )
    result = volume.results[0]
    return {
        "body": body.name,
        "n": n,
        "temperatures": temperatures,
        "seed": seed,
        "precondition": precondition,
        "error": result.log_volume - body.truth,
        "half": float(volume.log_volume_half[0]) - body.truth,
        "low": result.interval[0] - body.truth,
        "high": result.interval[1] - body.truth,
        "ess": result.ess,
        "spread": float(volume.weight_spread[0, 1]),
        "verdict": result.verdict,
        "evaluations": volume.cost.evaluations / CHAINS,
        "minutes": (time.perf_counter() - started) / 60,
        "cpu_minutes": (time.process_time() - spent) / 60,
    }


def ellipsoids(sizes: list[int]) -> Iterator[Run]:
    """Yield the runs on the ill-conditioned ellipsoids, with uniform rays for comparison."""
    for precondition, temperatures in TEMPERATURES.items():
        for n in sizes or temperatures:
            if n not in temperatures:
                continue
            body = build(f"ellipsoid{n}")
            for seed in SEEDS:
                name: Row = {"n": n, "temperatures": temperatures[n], "seed": seed, "precondition": precondition}
                yield {"part": "ellipsoids", **name}, partial(_with_uniform, body, **name)


def _with_uniform(body: Body, n: int, temperatures: int, seed: int, precondition: str) -> Row:
    """Return the annealed estimate of an ellipsoid as a row, with the error of as many uniform rays."""
    plain = ls.log_volume(body.objective, [body.cutoff], metric="identity", directions=CHAINS, seed=seed)
    row = measure(body, n, temperatures, seed, precondition)
    return {**row, "uniform": plain.results[0].log_volume - body.truth}


def importance_runs(sizes: list[int]) -> Iterator[Run]:
    """Yield the runs of importance on the ellipsoids, at the rank of ``RANKS``."""
    for n in sizes or RANKS:
        for seed in SEEDS if n < 10_000 else SEEDS[:1]:  # half an hour each
            name = {"part": "importance", "n": n, "rank": RANKS[n], "seed": seed}
            yield name, partial(importance, n, RANKS[n], seed)


def importance(n: int, rank: int, seed: int) -> Row:
    """Return the estimate by rays from the Krylov proposal as a row, with the error of as many uniform rays."""
    body = build(f"ellipsoid{n}")
    plain = ls.log_volume(body.objective, [body.cutoff], metric="identity", directions=RAYS, seed=seed)
    started, spent = time.perf_counter(), time.process_time()
    volume = ls.log_volume(
        body.objective,
        [body.cutoff],
        estimator="importance",
        proposal="krylov",
        rank=rank,
        metric="identity",
        directions=RAYS,
        seed=seed,
    )
    result = volume.results[0]
    return {
        "error": result.log_volume - body.truth,
        "uniform": plain.results[0].log_volume - body.truth,
        "low": result.interval[0] - body.truth,
        "high": result.interval[1] - body.truth,
        "ess": result.ess,
        "k_hat": result.pareto_k,
        "verdict": result.verdict,
        "minutes": (time.perf_counter() - started) / 60,
        "cpu_minutes": (time.process_time() - spent) / 60,
    }


def body_runs(sizes: list[int]) -> Iterator[Run]:
    """Yield a run on every body; on the spike that is hard to find also one with more temperatures."""
    for n in sizes or BODIES:
        for body in map(build, earlier(n)):
            for temperatures in (BODIES[n], *([HIDDEN] if body.name == "spike10" else [])):
                for seed in SEEDS:
                    name = {"part": "bodies", "body": body.name, "n": n, "temperatures": temperatures, "seed": seed}
                    yield name, partial(measure, body, n, temperatures, seed)


def honesty(sizes: list[int]) -> Iterator[Run]:
    """Yield runs of every estimator on every body, from too little effort to enough, on seeds used nowhere else."""
    for n in sizes or EFFORTS:
        for estimator, seeds in HONEST.items():
            for effort in EFFORTS[n] if estimator == "annealed" else RAY_EFFORTS[estimator]:
                for body in map(build, earlier(n)):
                    for seed in seeds:
                        name = {"body": body.name, "n": n, "estimator": estimator, "effort": effort, "seed": seed}
                        yield {"part": "honesty", **name}, partial(_with_verdict, body, n, estimator, effort, seed)


def _with_verdict(body: Body, n: int, estimator: str, effort: int, seed: int) -> Row:
    """Return the estimate of a body by one estimator as a row."""
    if estimator == "annealed":
        return measure(body, n, effort, seed)
    options: dict[str, Any] = {"proposal": "slopes"} if estimator == "importance" else {}
    volume = ls.log_volume(
        body.objective,
        [body.cutoff],
        estimator=estimator,
        metric="identity",
        directions=effort,
        seed=seed,
        max_radius=body.max_radius,
        **options,
    )
    result = volume.results[0]
    return {
        "error": result.log_volume - body.truth,
        "low": result.interval[0] - body.truth,
        "high": result.interval[1] - body.truth,
        "verdict": result.verdict,
    }


PARTS = {"bodies": body_runs, "ellipsoids": ellipsoids, "importance": importance_runs, "honesty": honesty}


def main() -> None:
    """Measure a part, or print the summary."""
    parser = command_line(__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    calibrating = parts.add_parser("calibration")
    calibrating.add_argument("--body", nargs="+", default=["*"], metavar="NAME")
    calibrating.add_argument("--budget", nargs="+", type=int, default=calibration.BUDGETS, metavar="PASSES")
    calibrating.add_argument("--seeds", type=seed_range, default=range(2), metavar="A:B", help="A to B - 1")
    calibrating.add_argument("--estimator", choices=["auto", "annealed", "uniform", "importance"], default="auto")
    calibrating.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    for name in PARTS:
        parts.add_parser(name).add_argument("sizes", nargs="*", type=int)
    parts.add_parser("summary")
    for part in parts.choices.values():
        part.add_argument("--rows", type=Path, default=ROWS)
    given = parser.parse_args()
    if given.part == "summary":
        print("\n".join(calibration_tables.tables(read(given.rows))))
    elif given.part == "calibration":
        asked = calibration.runs(given.body, given.estimator, given.budget, given.seeds)
        for row in calibration.measure_all(given.rows, asked, given.jobs):
            print(calibration_tables.line(row), flush=True)
    else:
        measure_part(given.part, given.sizes, given.rows)


def measure_part(part: str, sizes: list[int], path: Path) -> None:
    """Make the runs of a part that the file does not hold yet."""
    torch.set_num_threads(1)
    done = read(path)
    for name, run in PARTS[part](sizes):
        if any(name.items() <= row.items() for row in done):
            continue
        row = {**name, **run(), "threads": torch.get_num_threads()}
        append(path, row)
        print(f"{name}: {row['error']:+.3f} [{row['low']:+.2f}, {row['high']:+.2f}] {row['verdict']}", flush=True)


if __name__ == "__main__":
    main()
