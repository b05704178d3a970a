"""The section of docs/benchmarks.md on bodies of known volume, and its figure, from the rows of known_bodies.

python -m benchmarks.known_bodies_page [--rows FILE]
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks import chains_batched
from benchmarks.known_bodies import ROWS
from benchmarks.page import FIGURES, KNOWN_BODIES, PAGE, command_line, machine, put_section
from benchmarks.rows import Row, read

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIGURE = FIGURES / "known_bodies.png"
WALKS = {"none": "of the metric", "slopes": "learnt"}


def write(rows: list[Row]) -> None:
    """Put the section in its place on the page, or at its end, and draw the figure."""
    put_section(KNOWN_BODIES.removeprefix("## "), section(rows))
    draw(rows, FIGURE)
    print(f"wrote {PAGE} and {FIGURE}")


def section(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the section."""
    threads = max(row["threads"] for row in rows)
    yield (
        f"`python -m benchmarks.known_bodies`, part by part; {machine().split(',')[0]}, {threads} thread on a machine "
        "that other programs used too, so minutes are CPU minutes. 32 chains. Errors are log V - truth, in nats."
    )
    yield ""
    yield (
        "Ellipsoids with curvatures 1/i, rotated by random signs and a cosine transform, cutoff 0.1. *Uniform*: 32 "
        "uniform rays. *Coordinates*: in which the chains walk (`precondition`). Learnt coordinates come from slopes "
        "along rays; the evaluations per chain include their cost."
    )
    yield ""
    yield from _ellipsoids([row for row in rows if row["part"] == "ellipsoids"])
    yield ""
    yield "![error, evaluations to settle, and evaluations per nat, against n](figures/known_bodies.png)"
    yield ""
    yield from _importance([row for row in rows if row["part"] == "importance"])
    yield ""
    yield (
        "Other bodies, in the coordinates of the metric. With 100 temperatures only the chains of some seeds meet the "
        "spike in ten dimensions, and none of the 512 uniform reference rays does. If nothing meets it, *reliable* is "
        "wrong, and only the bound holds. With 1,000 temperatures the chains find it."
    )
    yield ""
    yield from _bodies([row for row in rows if row["part"] == "bodies"])
    yield ""
    yield from chains_batched.lines()
    yield ""
    yield from _honesty([row for row in rows if row["part"] == "honesty"])


def _ellipsoids(rows: list[Row]) -> Iterator[str]:
    yield "| n | coordinates | temperatures | seed | annealed | uniform | spread | verdict | evals | per nat | min |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: (row["n"], row["precondition"], row["seed"])):
        yield (
            f"| {row['n']:,} | {WALKS[row['precondition']]} | {row['temperatures']:,} | {row['seed']} "
            f"| {row['error']:+.2f} | {row['uniform']:+,.0f} | {row['spread']:.2f} | {row['verdict']} "
            f"| {row['evaluations']:,.0f} | {per_nat(row):,.0f} | {row['cpu_minutes']:.1f} |"
        )


def per_nat(row: Row) -> float:
    """Return evaluations per chain for each nat by which the error is smaller than with uniform rays."""
    return float(row["evaluations"] / (abs(row["uniform"]) - abs(row["error"])))


def to_settle(row: Row) -> float:
    """Return evaluations per chain until log-weights spread by 1; their variance falls as one over the effort."""
    return float(row["evaluations"] * row["spread"] ** 2)


def _importance(rows: list[Row]) -> Iterator[str]:
    yield (
        "The same ellipsoids by 500 rays of `importance` with the proposal `krylov`: a low rank, plus one curvature "
        "for all other directions. Their curvatures differ too much for the weights until the rank is near n."
    )
    yield ""
    yield "| n | rank | seed | importance | uniform | interval - truth | k-hat | ess | verdict | min |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: (row["n"], row["rank"], row["seed"])):
        yield (
            f"| {row['n']:,} | {row['rank']:,} | {row['seed']} | {row['error']:+.2f} "
            f"| {row['uniform']:+,.0f} | {_interval(row)} "
            f"| {row['k_hat']:.2f} | {row['ess']:.1f} | {row['verdict']} | {row['cpu_minutes']:.1f} |"
        )


def _interval(row: Row) -> str:
    """Return the interval minus the truth."""
    return f"[{row['low']:+.2f}, {'∞' if math.isinf(row['high']) else format(row['high'], '+.2f')}]"


def _bodies(rows: list[Row]) -> Iterator[str]:
    seeds = sorted({row["seed"] for row in rows})
    yield f"| body | n | temperatures | errors, seeds {', '.join(map(str, seeds))} | reliable | truth inside |"
    yield "|---|---|---|---|---|---|"
    for key in dict.fromkeys((row["body"], row["n"], row["temperatures"]) for row in rows):
        runs = [row for row in rows if (row["body"], row["n"], row["temperatures"]) == key]
        inside, sure = sum(map(holds, runs)), sum(row["verdict"] == "reliable" for row in runs)
        share = f"{inside} of {len(runs)}"
        share = share if inside == len(runs) else f"**{share}**"
        errors = ", ".join(format(row["error"], "+.2f") for row in runs)
        yield f"| {key[0]} | {key[1]} | {key[2]:,} | {errors} | {sure} of {len(runs)} | {share} |"


def holds(row: Row) -> bool:
    """Whether the truth is in the interval."""
    return bool(row["low"] <= 0 <= row["high"])


def counts(rows: list[Row]) -> list[int]:
    """Return how many runs there are, how many are reliable, hold the truth, are lower bounds, and are violated."""
    sure = [row for row in rows if row["verdict"] == "reliable"]
    bounds = [row for row in rows if row["verdict"] != "reliable"]
    inside = sum(map(holds, sure))
    return [len(rows), len(sure), inside, len(bounds), sum(row["low"] > 0 for row in bounds)]


def _honesty(rows: list[Row]) -> Iterator[str]:
    seeds: dict[str, list[int]] = {}
    for row in rows:
        seeds.setdefault(row["estimator"], []).append(row["seed"])
    ranges = "; ".join(f"{name} {min(own)} to {max(own)}" for name, own in seeds.items())
    yield (
        "How often the verdict is right, on these bodies, with too little effort and with enough. Effort counts "
        f"temperatures of chains, or rays; the rays of `importance` come from slopes. Seeds: {ranges}."
    )
    yield ""
    yield "| estimator | n | effort | runs | reliable | truth inside | lower bounds | violated |"
    yield "|---|---|---|---|---|---|---|---|"
    for key in dict.fromkeys((row["estimator"], row["n"], row["effort"]) for row in rows):
        chosen = [row for row in rows if (row["estimator"], row["n"], row["effort"]) == key]
        yield f"| {key[0]} | {key[1]} | {key[2]:,} | " + " | ".join(map(str, counts(chosen))) + " |"
    for estimator in dict.fromkeys(row["estimator"] for row in rows):
        chosen = [row for row in rows if row["estimator"] == estimator]
        yield f"| {estimator} | all | | " + " | ".join(map(str, counts(chosen))) + " |"
    yield ""
    total = counts(rows)
    missed = Counter(
        f"{row['body']}, n = {row['n']} ({row['estimator']})"
        for row in rows
        if row["verdict"] == "reliable" and not holds(row)
    )
    names = "; ".join(f"{name}: {count}" for name, count in missed.items()) or "none"
    yield (
        f"{100 * total[2] / total[1]:.1f} % of the reliable intervals hold the truth; missed: {names}. Of the lower "
        f"bounds {100 * total[4] / max(total[3], 1):.1f} % are violated."
    )


def draw(rows: list[Row], path: Path) -> None:
    """Draw errors, evaluations to settle and evaluations per nat against n."""
    rows = [row for row in rows if row["part"] == "ellipsoids"]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for precondition, marker in (("none", "o"), ("slopes", "s")):
        chosen = [row for row in rows if row["precondition"] == precondition]
        n = np.array([row["n"] for row in chosen])
        label = f"annealed, coordinates {WALKS[precondition]}"
        for axis, value in zip(axes, (lambda row: abs(row["error"]), to_settle, per_nat), strict=True):
            axis.plot(n, [value(row) for row in chosen], marker, mfc="none", label=label)
    axes[0].plot(
        *zip(*[(row["n"], abs(row["uniform"])) for row in rows], strict=True), "x", color="gray", label="uniform"
    )
    titles = ("|log V - truth|, nats", "evaluations per chain\nto a spread of 1", "evaluations per chain\nand nat")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(xscale="log", yscale="log", xlabel="n", title=title)
    axes[2].set_ylim(10, 2000)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=Path, default=ROWS)
    write(read(parser.parse_args().rows))
