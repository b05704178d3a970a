"""What runs on bodies of known volume show: how often each verdict is right, and what each body costs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import binomtest

from benchmarks.rows import Row

UNMET = "spikes"  #: the published class: what no ray has met leaves no trace
CLAIMS = ("reliable", "settled", "lower bound", "approximation")
MANY_SEEDS = 20  #: of one body and budget, from which on they have a line of their own
_ROUNDING = 1e-9  # nats


def right(row: Row) -> bool:
    """Whether the interval holds the truth."""
    return bool(row["low"] <= _ROUNDING and row["high"] >= -_ROUNDING)


def violated(row: Row) -> bool:
    """Whether the truth is below the lower bound or above the upper bound."""
    return bool(row["bound"] > _ROUNDING or row["upper_bound"] < -_ROUNDING)


def share(count: int, of: int) -> str:
    """Return a share in per cent with its 95 % interval (Clopper and Pearson 1934).

    >>> share(19, 20)
    '95.0 % (75.1 to 99.9)'
    """
    if of == 0:
        return "-"
    interval = binomtest(count, of).proportion_ci()
    return f"{100 * count / of:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def line(row: Row) -> str:
    """Return one run in a line."""
    name = f"{row['body']} {row['estimator']} {row['budget']:,} seed {row['seed']}:"
    if "failed" in row:
        return f"{name} {row['failed'].splitlines()[0]}"
    return (
        f"{name} {row['error']:+.3f} {_pair(row['low'], row['high'])} {row['verdict']} ({row['used']}), "
        f"{row['passes']:,.0f} passes, {row['seconds']:.1f} s"
    )


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield all tables, in Markdown."""
    finished = [row for row in rows if "failed" not in row]
    yield from verdicts(finished)
    yield ""
    yield from wrong(finished)
    yield from failures(rows)
    yield ""
    yield from by_body(finished)


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Yield per kind of body and verdict how often the interval holds the truth, and how often a bound is violated."""
    groups = {"all": list(rows), f"all but {UNMET}": [row for row in rows if row["kind"] != UNMET]}
    for row in rows:
        groups.setdefault(row["kind"], []).append(row)
    yield "| bodies | verdict | runs | interval holds the truth | share, 95 % interval | bounds violated |"
    yield "|---|---|---|---|---|---|"
    for kind, own in groups.items():
        for verdict in (*CLAIMS, "any"):
            runs = [row for row in own if verdict in ("any", row["verdict"])]
            if not runs:
                continue
            holds = sum(map(right, runs))
            bounds = [row for row in runs if not math.isnan(row["bound"]) or not math.isnan(row["upper_bound"])]
            yield (
                f"| {kind} | {verdict} | {len(runs)} | {holds} | {share(holds, len(runs))} "
                f"| {sum(map(violated, bounds))} of {len(bounds)} |"
            )


def wrong(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the runs whose interval misses the truth or whose bound is violated, one per line."""
    missed = [row for row in rows if not right(row) or violated(row)]
    yield f"Runs whose interval misses the truth, or whose bound is violated: {len(missed)}."
    if missed:
        yield ""
        yield "| body | budget | seed | estimator | verdict | log V - truth | interval - truth | bounds - truth |"
        yield "|---|---|---|---|---|---|---|---|"
    for row in sorted(missed, key=lambda row: (CLAIMS.index(row["verdict"]), row["n"], row["body"], row["seed"])):
        yield (
            f"| {row['body']} | {row['budget']:,} | {row['seed']} | {row['used']} | {row['verdict']} "
            f"| {row['error']:+.2f} | {_pair(row['low'], row['high'])} | {_pair(row['bound'], row['upper_bound'])} |"
        )


def failures(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the runs without an estimate, one line per message."""
    failed: dict[str, list[str]] = {}
    for row in rows:
        if "failed" in row:
            name = f"{row['body']} ({row['budget']:,}, seed {row['seed']})"
            message = re.sub(r"\d[\d,]*", "...", row["failed"].splitlines()[0])  # alike but for their numbers
            failed.setdefault(message, []).append(name)
    for message, names in failed.items():
        yield ""
        yield f"Runs without an estimate, {message}: {len(names)}: {', '.join(names)}."


def by_body(rows: Sequence[Row]) -> Iterator[str]:
    """Yield per body, estimator and budget the errors, the verdicts and the cost."""
    yield (
        "| body | n | estimator | budget | runs | log V - truth: median (5 to 95 %) | reliable | settled | bound "
        "| interval holds the truth | passes | s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    groups: dict[tuple[int, str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["n"], row["body"], row["estimator"], row["budget"]), []).append(row)
    for (n, body, estimator, budget), runs in sorted(groups.items()):
        low, middle, high = np.quantile([row["error"] for row in runs], [0.05, 0.5, 0.95])
        reliable, settled, bound = (sum(row["verdict"] == verdict for row in runs) for verdict in CLAIMS[:3])
        holds = sum(map(right, runs))
        marked = f"{holds} of {len(runs)}" if holds == len(runs) else f"**{holds} of {len(runs)}**"
        passes, seconds = (float(np.median([row[name] for row in runs])) for name in ("passes", "seconds"))
        yield (
            f"| {body} | {n:,} | {estimator} | {budget:,} | {len(runs)} | {middle:+.2f} ({low:+.2f} to {high:+.2f}) "
            f"| {reliable} | {settled} | {bound} | {marked} | {passes:,.0f} | {seconds:.1f} |"
        )


def many_seeds(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one line per body and budget with many seeds: how many runs are close, have a verdict, or are wrong."""
    groups: dict[tuple[int, str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["n"], row["body"], row["estimator"], row["budget"]), []).append(row)
    yield "| body | n | estimator | budget | seeds | within 1 nat | reliable | settled | bound | interval misses |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for (n, body, estimator, budget), runs in sorted(groups.items()):
        if len(runs) < MANY_SEEDS:
            continue
        close, misses = sum(abs(row["error"]) <= 1 for row in runs), sum(not right(row) for row in runs)
        counts = " | ".join(str(sum(row["verdict"] == verdict for row in runs)) for verdict in CLAIMS[:3])
        yield f"| {body} | {n:,} | {estimator} | {budget:,} | {len(runs)} | {close} | {counts} | {misses} |"


def by_budget(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one line per body and estimator, with a column per budget: errors, then runs by verdict."""
    budgets = sorted({row["budget"] for row in rows})
    yield "| body | n | estimator | " + " | ".join(f"{budget:,} passes" for budget in budgets) + " |"
    yield "|---|---|---|" + "---|" * len(budgets)
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["n"], row["body"], row["estimator"]), []).append(row)
    for (n, body, estimator), runs in sorted(groups.items()):
        cells = [_cell([row for row in runs if row["budget"] == budget]) for budget in budgets]
        yield f"| {body} | {n:,} | {estimator} | {' | '.join(cells)} |"


def _cell(rows: Sequence[Row]) -> str:
    """Return errors and verdicts of runs; bold if an interval misses the truth."""
    if not rows:
        return "-"
    low, middle, high = np.quantile([row["error"] for row in rows], [0.05, 0.5, 0.95])
    counts = "/".join(str(sum(row["verdict"] == verdict for row in rows)) for verdict in CLAIMS[:3])
    text = f"{middle:+.2f} ({low:+.2f} to {high:+.2f}) {counts}"
    return text if all(map(right, rows)) else f"**{text}**"


def _pair(low: float, high: float) -> str:
    """Return an interval, with dashes for ends that are not known."""
    ends = ("-" if math.isnan(end) else format(end, "+.2f").replace("inf", "∞") for end in (low, high))
    return "[{}, {}]".format(*ends)
