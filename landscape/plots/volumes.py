"""Figures of log-volumes: the path of annealed chains, and several estimates of one basin side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.errors import LandscapeError
from landscape.plots.style import ALL_DIGITS, WIDTH, bare, cutoff_styles
from landscape.results import AnnealedVolume, Volume, VolumeEstimate
from landscape.results.volume_words import Body, value_cell

_BELOW = FuncFormatter(lambda x, _: f"{-x + 0.0:,.6g}")  # x is log V minus that of the ball


def log_density_curve(volume: AnnealedVolume) -> Figure:
    """Return E[n log r] along the path of the chains with its spread, and below it how well the moves mixed.

    The x axis of a path by radius is the inverse temperature t of r^(t n). On the smooth paths t stays 0 until near the
    end, so their x axis is the number of the target. If chains walk in learnt coordinates, so does the radius.
    """
    smooth = bool((np.diff(volume.inverse_temperature, axis=0) <= 0).any())
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    for column, (cutoff, colour, line) in enumerate(cutoff_styles([row.cutoff for row in volume.results])):
        log_density, spread = volume.log_density[:, column], volume.log_density_spread[:, column]
        x = np.arange(len(log_density)) if smooth else volume.inverse_temperature[:, column]
        top.plot(x, log_density, color=colour, linestyle=line, marker=".", label=f"cutoff {cutoff:g}")
        top.fill_between(x, log_density - spread, log_density + spread, color=colour, alpha=0.18, linewidth=0)
        mixed = {"accepted": volume.accepted[:, column], "autocorrelation": volume.correlation[:, column]}
        for (name, values), style in zip(mixed.items(), ("-", ":"), strict=True):
            below.plot(x, values, color=colour, linestyle=style, linewidth=1.2, label=f"{name}, cutoff {cutoff:g}")
    figure.suptitle(
        f"{volume.directions} annealed chains, {len(volume.log_density):,} temperatures, n = {volume.dimension:,}",
        fontsize="medium",
    )
    # m is the mass of a ray by another measure than volume
    log_density_is, density = ("n log r", "r^(t n)") if volume.config.get("measure") is None else ("log m", "m^t")
    where = " in learnt coordinates" if any(volume.config.get("preconditioners") or ()) else ""
    top.set_ylabel(f"E[{log_density_is}]{where}, nats\n(band: spread over the chains)")
    below.set_ylabel("of the move that follows")
    below.set_ylim(-0.05, 1.05)
    below.set_xlabel("target along the smooth path" if smooth else f"inverse temperature t of the density {density}")
    top.legend(fontsize="small", frameon=False, loc="best")
    below.legend(fontsize="small", frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=2)
    top.yaxis.set_major_formatter(ALL_DIGITS)
    below.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=smooth))
    for axes in (top, below):
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
    panels[-1].set_xlabel(f"{unit} (an arrow begins at a lower bound)")
    figure.suptitle(f"{what} of one basin by estimator, n = {first.dimension:,}", fontsize="medium")
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
