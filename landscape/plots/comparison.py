"""Two volumes -> a figure: between which numbers their difference lies at each cutoff."""

from __future__ import annotations

import numpy as np

from landscape.plots.style import SHORT_NUMBERS, WIDTH, Figure, bare, shades
from landscape.results import CANNOT_TELL, Comparison


def comparison_figure(comparison: Comparison) -> Figure:
    """Return the interval of log V(first) - log V(second) at each cutoff; an open end is an arrow."""
    rows = comparison.rows
    figure = Figure(figsize=(WIDTH, 1.8 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    ends = np.array([end for row in rows for end in (*row.interval, row.difference, 0.0)])
    known = ends[np.isfinite(ends)]
    room = 0.12 * float(np.ptp(known)) or 1.0
    low, high = float(known.min()) - room, float(known.max()) + room
    for place, (row, colour) in enumerate(zip(rows, shades(len(rows)), strict=True)):
        first, last = (
            float(np.clip(np.nan_to_num(end, nan=side), low, high))
            for end, side in zip(row.interval, (low, high), strict=True)
        )
        axes.plot([first, last], [place, place], color=colour, linewidth=2)
        for end, at, mark in zip(row.interval, (first, last), "<>", strict=True):
            if not np.isfinite(end):
                axes.plot(at, place, mark, color=colour, clip_on=False)
        if np.isfinite(row.difference):
            axes.plot(row.difference, place, "o", color=colour)
        answer = CANNOT_TELL if row.larger == CANNOT_TELL else f"{row.larger} is larger"
        axes.text(
            (first + last) / 2, place - 0.16, f"{answer} ({row.verdict})", ha="center", va="bottom", fontsize="small"
        )
    axes.axvline(0, color="0.4", linewidth=1, linestyle="--", zorder=0)
    axes.set_yticks(range(len(rows)), [f"cutoff {row.cutoff:g}" for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(SHORT_NUMBERS)
    axes.set_xlabel("log V(first) − log V(second), nats; the line is the interval of 95 %")
    figure.suptitle(
        f"Which basin is larger, n = {comparison.dimension:,}\n"
        f"first: {comparison.estimators[0]}, second: {comparison.estimators[1]}",
        fontsize="medium",
    )
    bare(axes)
    return figure
