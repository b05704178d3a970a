"""Figures of log-volumes: the rounds of annealed islands, and several estimates of one basin side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.errors import LandscapeError
from landscape.plots.style import ALL_DIGITS, WIDTH, Figure, bare, cutoff_styles, with_checkpoint
from landscape.results import AnnealedVolume, Volume, VolumeEstimate
from landscape.results.volume_words import Body, value_cell

_BELOW = FuncFormatter(lambda x, _: f"{-x + 0.0:,.6g}")  # x is log V minus that of the ball


def rounds_of_islands(volume: AnnealedVolume) -> Figure:
    """Return what annealed islands found on the way out and on the way back, against the effort of the round.

    The two come from below and from above. What they enclose at the last round is the estimate's interval, if the
    verdict is ``settled``. The band is the standard deviation over islands.
    """
    ball = volume.log_cap_ball if volume.body.capped else 0.0
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    for column, (cutoff, colour, line) in enumerate(cutoff_styles([row.cutoff for row in volume.results])):
        _, _, levels, out, scatter, back, _, _ = volume.trail[volume.trail[:, 0] == column].T
        verdict = volume.results[column].verdict
        axes.plot(levels, out - ball, color=colour, linestyle=line, marker="^", label=f"{cutoff:g}, out ({verdict})")
        axes.fill_between(levels, out - ball - scatter, out - ball + scatter, color=colour, alpha=0.18, linewidth=0)
        known = np.isfinite(back)
        axes.plot(levels[known], back[known] - ball, color=colour, linestyle=":", marker="v", label=f"{cutoff:g}, back")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
    axes.set_xlabel("levels of the round")
    axes.set_ylabel(f"nats below the ball of radius {volume.body.max_radius:g}" if ball else "log V, nats")
    if ball:
        axes.yaxis.set_major_formatter(_BELOW)
    title = f"{volume.directions} annealed islands, n = {volume.dimension:,}"
    axes.set_title(with_checkpoint(title, volume.config), fontsize="medium")
    axes.legend(title="cutoff", fontsize="small", frameon=False)
    bare(axes)
    return figure


def volumes_by_estimator(volumes: Mapping[str, Volume]) -> Figure:
    """Return each estimator's volume at each cutoff: an interval, or an arrow that starts at a lower bound.

    The x axis is nats below the ball of the cap, or log V in nats without a cap; larger basins are to the right.

    Args:
        volumes: of one basin, by name.

    Raises:
        LandscapeError: if there are none.
    """
    rows = [(row, volume.estimator) for volume in volumes.values() for row in volume.results]
    if not rows:
        raise LandscapeError("there are no log-volumes to draw. Measure some: landscape volume CHECKPOINT --out run.h5")
    cutoffs = sorted({row.cutoff for row, _ in rows})
    first = next(volume for volume in volumes.values() if volume.results)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.45 * len(rows) + 0.4 * len(cutoffs)), layout="constrained")
    panels = figure.subplots(len(cutoffs), 1, squeeze=False)[:, 0]
    for axes, (cutoff, colour, _) in zip(panels, cutoff_styles(cutoffs), strict=True):
        _draw_panel(axes, [(row, name) for row, name in rows if row.cutoff == cutoff], colour, first.body)
        axes.set_title(f"cutoff {cutoff:g}", loc="left", fontsize="small", fontweight="bold")
    what, unit = "Log-volume", "log V, nats"
    if first.density is not None:
        what, unit = "Log-probability", f"log P under {first.density}, nats"
    elif first.body.capped:
        what, unit = "Volume", f"nats below the ball of radius {first.body.max_radius:g}"
    bounds = any(row.verdict == "lower bound" for row, _ in rows)
    panels[-1].set_xlabel(f"{unit} (an arrow begins at a lower bound)" if bounds else unit)
    title = f"{what} of one basin by estimator, n = {first.dimension:,}"
    figure.suptitle(with_checkpoint(title, first.config), fontsize="medium")
    return figure


def _draw_panel(axes: Axes, rows: list[tuple[VolumeEstimate, str]], colour: tuple[float, ...], body: Body) -> None:
    """Draw the estimates of one cutoff, one per line: a bar with a point, or an arrow from a bound."""
    ball = rows[0][0].log_cap_ball if body.capped else 0.0
    ends = np.array([end - ball for row, _ in rows for end in row.interval])
    ends = ends[np.isfinite(ends)]
    room = (0.05 * float(np.ptp(ends)) if len(ends) else 0.0) or 1.0
    low, high = (float(ends.min()) - 2 * room, float(ends.max()) + room) if len(ends) else (-room, room)
    for place, (row, _) in enumerate(rows):
        first, last = (float(np.clip(end - ball, low, high)) for end in row.interval)
        if row.verdict == "lower bound":
            axes.plot([first, first], [place - 0.2, place + 0.2], color=colour, linewidth=2)
            axes.annotate("", (last, place), (first, place), arrowprops={"arrowstyle": "->", "color": colour})
        else:
            face = "white" if row.verdict == "approximation" else colour
            axes.plot([first, last], [place, place], color=colour, linewidth=2)
            axes.plot(row.reported - ball, place, "o", color=colour, markerfacecolor=face)
        where, align = (first, "left") if first < (low + high) / 2 else (min(last, high), "right")
        number = f"{value_cell(row)} nats (log10 {body.quantity} {row.quotable})  {row.verdict}"
        words = "no bound" if np.isinf(row.reported) else number
        axes.text(where, place - 0.28, words, ha=align, va="bottom", fontsize="x-small")
    axes.set_yticks(range(len(rows)), [name for _, name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(_BELOW if body.capped else ALL_DIGITS)
    bare(axes)
