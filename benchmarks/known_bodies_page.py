"""The section of docs/benchmarks.md on bodies of known volume, and its figure, from the rows of the calibration.

python -m benchmarks.known_bodies_page [--rows FILE]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

from benchmarks import calibration_tables as tables
from benchmarks.known_bodies import ROWS
from benchmarks.page import FIGURES, KNOWN_BODIES, command_line, machine, put_section
from benchmarks.rows import Row, read

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIGURE = FIGURES / "known_bodies.png"
_MARKERS = {"reliable": ("o", "C0"), "settled": ("s", "C2"), "lower bound": ("v", "C7"), "approximation": ("x", "C3")}
_TICKS = (3, 10, 30, 100, 300, 1000)


def section(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the section."""
    finished = [row for row in rows if "failed" not in row]
    budgets = sorted({row["budget"] for row in rows})
    bodies, seeds = {row["body"] for row in rows}, sorted({row["seed"] for row in rows})
    estimators = sorted({f"`{row['estimator']}`" for row in rows})
    yield (
        f"{len(rows)} runs of {', '.join(estimators)} on {len(bodies)} bodies, seeds {seeds[0]} to {seeds[-1]}, with "
        f"budgets of {', '.join(format(budget, ',') for budget in budgets)} passes. All runs count. "
        f"{machine().split(',')[0]}, one thread, on a machine that other programs used too. "
        "`python -m benchmarks.known_bodies calibration`; the bodies are in `benchmarks/bodies`, named by a family and "
        "its numbers, n first. Errors are log V - truth, in nats."
    )
    yield ""
    yield distinct(finished)
    yield ""
    yield (
        f"How often the interval of each verdict holds the truth. The class `{tables.UNMET}` is the published failure: "
        "a long thin spike that no ray has met leaves no trace."
    )
    yield ""
    yield from tables.verdicts(finished)
    yield ""
    yield from tables.wrong(finished)
    yield from tables.failures(rows)
    yield ""
    yield f"Bodies of which {tables.MANY_SEEDS} seeds or more were measured; every seed counts."
    yield ""
    yield from tables.many_seeds(finished)
    yield ""
    yield "![errors against n for each budget and verdict](figures/known_bodies.png)"
    yield ""
    yield (
        "Per body and budget: the median error (5 to 95 % of the seeds), and how many of the runs are reliable, "
        "settled, and lower bounds. A budget is a limit, and a run stops earlier if its verdict is reached."
    )
    yield ""
    yield from tables.by_budget(finished)


def distinct(rows: Sequence[Row]) -> str:
    """Return how many runs differ: a run that ends before its budget is the same run with every larger one."""
    single = {(row["body"], row["estimator"], row["seed"], row["passes"], row["verdict"]): row for row in rows}
    words = []
    for verdict in ("reliable", "settled"):
        alike = [row for row in single.values() if row["verdict"] == verdict and row["kind"] != tables.UNMET]
        right = sum(row["low"] <= 0 <= row["high"] for row in alike)
        words.append(f"{right} of {len(alike)} `{verdict}` ones hold the truth")
    return (
        f"A run that ends before its budget is the same run with every larger one. So {len(single)} runs differ. "
        f"Outside `{tables.UNMET}`, {' and '.join(words)}."
    )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the errors against n, one panel per budget, by verdict."""
    rows = [row for row in rows if "failed" not in row]
    budgets = sorted({row["budget"] for row in rows})
    figure, axes = plt.subplots(
        1, len(budgets), figsize=(11, 3.6), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axis, budget in zip(axes[0], budgets, strict=True):
        for verdict, (marker, color) in _MARKERS.items():
            chosen = [row for row in rows if row["budget"] == budget and row["verdict"] == verdict]
            n, errors = [row["n"] for row in chosen], [row["error"] for row in chosen]
            axis.plot(n, errors, marker, color=color, mfc="none", ms=4, label=verdict if chosen else None)
        axis.axhline(0, color="black", lw=0.5)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set(xscale="log", xlabel="n", title=f"{budget:,} passes")
        axis.set_xticks(_TICKS, [f"{n:,}" for n in _TICKS])
        axis.minorticks_off()
    axes[0][0].set_ylabel("log V - truth, nats")
    labels = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=Path, default=ROWS)
    measured = read(parser.parse_args().rows)
    put_section(KNOWN_BODIES.removeprefix("## "), section(measured))
    draw(measured, FIGURE)
