"""What a volume costs against n: passes, seconds and memory until an estimate is `settled` or `reliable`.

    python -m benchmarks.volume_cost measure [--rows FILE] [--body ellipsoid|ball ...] [--n N ...] [--seeds A:B]
        [--first PASSES] [--most PASSES] [--estimator NAME]
    python -m benchmarks.volume_cost page [--rows FILE]     writes the section of docs/benchmarks.md and the figure

The bodies are an ellipsoid with curvatures 1/i around theta, and a ball whose centre is 0.6 of its radius off theta.
Each budget is four times the one before, until there is such a verdict. Every run is made in a process of its own, so
that its memory is its own, and adds a line to the file of ``--rows``. No run in the file is made twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib
import torch

from benchmarks.bodies import build
from benchmarks.calibration import Run, volume_of
from benchmarks.page import FIGURES, command_line, machine, put_section, seed_range
from benchmarks.rows import Row, append, read
from benchmarks.workers import in_turn
from landscape.volume.annealing.party import PARTIES

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BODIES = {"ellipsoid": "ellipsoid{n}", "ball": "off-centre{n},1,0.6"}
LABELS = {"ellipsoid": "ellipsoid", "ball": "ball off its centre"}
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
HEADING = "What a volume costs, against n"
FIGURE = FIGURES / "volume_cost.png"
ENOUGH = ("settled", "reliable")
TIMES = 4  # the next budget over this one
_DOUBLE = 8  # bytes


def prepare(task: str, estimator: str) -> Callable[[], Row]:
    """Return what measures one volume, for `benchmarks.workers`. A small volume loads all libraries before."""
    torch.set_num_threads(1)
    run = Run(**json.loads(task))
    body, small = build(run.body), build("ellipsoid3")
    volume_of(Run(small.name, estimator, 1000, 0), small)

    def once() -> Row:
        volume = volume_of(run, body)
        estimate = volume.results[0]
        return {
            "used": volume.estimator,
            "error": estimate.log_volume - body.truth,
            "verdict": estimate.verdict,
            "passes": volume.cost.evaluations,
            "points": max(body.objective.plan.block, *(party.together for party in PARTIES.values())),
        }

    return once


def measure(run: Run) -> Row:
    """Return the row of one run, made in a process of its own; ``peak`` is bytes beyond those before it."""
    task = json.dumps(asdict(run))
    made = in_turn("benchmarks.volume_cost", task, [run.estimator], runs=1, warmup=False)[run.estimator]
    return {**asdict(run), **made.answer, "seconds": made.seconds[0], "peak": made.peak}


def measure_all(path: Path, asked: Sequence[tuple[str, int, int]], estimator: str, first: int, most: int) -> None:
    """Measure each body, n and seed with growing budgets until it has a verdict; no budget is above ``most``."""
    for shape, n, seed in asked:
        budget, verdict = first, ""
        while verdict not in ENOUGH and budget <= most:
            run = Run(BODIES[shape].format(n=n), estimator, budget, seed)
            row = next((row for row in read(path) if asdict(run).items() <= row.items()), None)
            if row is None:
                row = {"shape": shape, "n": n, **measure(run)}
                append(path, row)
                print(" | ".join(map(str, row.values())), flush=True)
            budget, verdict = budget * TIMES, row["verdict"]


def last_runs(rows: Sequence[Row]) -> list[Row]:
    """Return the run of the largest budget of each body, n, estimator and seed, by body and n."""
    last: dict[tuple[str, int, str, int], Row] = {}
    for row in rows:
        key = (row["shape"], row["n"], row["estimator"], row["seed"])
        last[key] = max(last.get(key, row), row, key=lambda row: row["budget"])
    return [last[key] for key in sorted(last)]


def copies(row: Row) -> float:
    """Return the peak of memory over the bytes of the points that a run moves together."""
    return float(row["peak"] / (row["points"] * row["n"] * _DOUBLE))


def _milliseconds(row: Row) -> float:
    """Return the time of a pass."""
    return float(1000 * row["seconds"] / row["passes"])


def section(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the section."""
    yield (
        "Passes, seconds and memory of the first budget that gives `settled` or `reliable`; each budget is "
        f"{TIMES} times the one before. If none does, the largest one tried. {machine().split(',')[0]}, one thread. "
        "Ellipsoid: curvatures 1/i around theta. Ball: theta is 0.6 of the radius off its centre. The memory is the "
        "peak beyond what the process held before. It is also given over the bytes of the points that move together. "
        "These are the rays of a block or the particles of a group, whichever are more. "
        "`python -m benchmarks.volume_cost`"
    )
    yield ""
    yield "![passes, time per pass and memory against n](figures/volume_cost.png)"
    yield ""
    yield "| body | n | seed | verdict | log V - truth | passes | s | MiB | copies of the points |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in last_runs(rows):
        yield (
            f"| {LABELS[row['shape']]} | {row['n']:,} | {row['seed']} | {row['verdict']} ({row['used']}) "
            f"| {row['error']:+.2f} | {row['passes']:,.0f} | {row['seconds']:,.1f} | {row['peak'] / 2**20:,.0f} "
            f"| {copies(row):.1f} |"
        )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw passes, time per pass and copies of the points against n; open markers have no verdict yet."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    values: tuple[Callable[[Row], float], ...] = (lambda row: row["passes"], _milliseconds, copies)
    for shape, marker, color in (("ellipsoid", "o", "C0"), ("ball", "s", "C1")):
        for met in (True, False):
            chosen = [row for row in last_runs(rows) if row["shape"] == shape and (row["verdict"] in ENOUGH) == met]
            label = f"{LABELS[shape]}{'' if met else ', no verdict yet'}"
            for axis, value in zip(axes, values, strict=True):
                axis.plot(
                    [row["n"] for row in chosen],
                    [value(row) for row in chosen],
                    marker,
                    color=color,
                    mfc=color if met else "none",
                    label=label if chosen else None,
                )
    for axis, title in zip(axes, ("passes", "milliseconds per pass", "copies of the points"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="n", title=title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Measure, or write the section and the figure."""
    parser = command_line(__doc__)
    parser.add_argument("part", choices=["measure", "page"])
    parser.add_argument("--rows", type=Path, default=Path("volume_cost.jsonl"))
    parser.add_argument("--body", nargs="+", choices=BODIES, default=list(BODIES))
    parser.add_argument("--n", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seeds", type=seed_range, default=range(3), metavar="A:B", help="A to B - 1")
    parser.add_argument("--first", type=int, default=5000, metavar="PASSES", help="smallest budget")
    parser.add_argument("--most", type=int, default=2_000_000, metavar="PASSES", help="largest budget")
    parser.add_argument("--estimator", default="auto")
    given = parser.parse_args()
    if given.part == "page":
        rows = read(given.rows)
        put_section(HEADING, section(rows))
        draw(rows, FIGURE)
        return
    asked = [(shape, n, seed) for n in sorted(given.n) for shape in given.body for seed in given.seeds]
    measure_all(given.rows, asked, given.estimator, given.first, given.most)


if __name__ == "__main__":
    main()
