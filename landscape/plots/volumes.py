"""Log-volumes -> figures: how annealed chains came to theirs, and what several estimators say of one basin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.errors import LandscapeError
from landscape.plots.style import ALL_DIGITS, WIDTH, bare, cutoff_styles
from landscape.results import AnnealedVolume, Volume, VolumeEstimate
from landscape.results.table import decimal


def energy_curve(volume: AnnealedVolume) -> Figure:
    """Return E[n log r] along the path of the chains with its spread, and below it how well the moves mixed.

    By radius the path is the temperature t of r^(t n). On the smooth paths t is 0 until near their ends, so these are
    drawn by the number of the target. Where chains walk in learnt coordinates the radius is that in them.
    """
    soft = bool((np.diff(volume.temperature, axis=0) <= 0).any())
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    for column, (cutoff, colour, line) in enumerate(cutoff_styles([row.cutoff for row in volume.results])):
        energy, spread = volume.energy[:, column], volume.energy_spread[:, column]
        x = np.arange(len(energy)) if soft else volume.temperature[:, column]
        # a gap where an earlier version knew no radius
        top.plot(x, energy, color=colour, linestyle=line, marker=".", label=f"cutoff {cutoff:g}")
        top.fill_between(x, energy - spread, energy + spread, color=colour, alpha=0.18, linewidth=0)
        mixed = {"accepted": volume.accepted[:, column], "autocorrelation": volume.correlation[:, column]}
        for (name, values), style in zip(mixed.items(), ("-", ":"), strict=True):
            below.plot(x, values, color=colour, linestyle=style, linewidth=1.2, label=f"{name}, cutoff {cutoff:g}")
    figure.suptitle(
        f"Annealed chains: {volume.directions} of them, {len(volume.energy):,} temperatures, n = {volume.dimension:,}",
        fontsize="medium",
    )
    # m: what a ray holds of another measure than volume
    energy_is, density = ("n log r", "r^(t n)") if volume.config.get("measure") is None else ("log m", "m^t")
    where = " in learnt coordinates" if any(volume.config.get("shapes") or ()) else ""
    top.set_ylabel(f"E[{energy_is}]{where}, nats\n(band: spread over the chains)")
    below.set_ylabel("of the move that follows")
    below.set_ylim(-0.05, 1.05)
    below.set_xlabel("target along the smooth path" if soft else f"temperature t of the density {density}")
    top.legend(fontsize="small", frameon=False, loc="best")
    below.legend(fontsize="small", frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=2)
    top.yaxis.set_major_formatter(ALL_DIGITS)
    below.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=soft))
    for axes in (top, below):
        bare(axes)
    return figure


def volumes_by_estimator(volumes: Mapping[str, Volume]) -> Figure:
    """Return what each estimator says of log10 V at each cutoff: an interval, or an arrow from a lower bound.

    Args:
        volumes: of one basin, by name.

    Raises:
        LandscapeError: where there is none.
    """
    rows = [(row, volume.estimator) for volume in volumes.values() for row in volume.results]
    if not rows:
        raise LandscapeError("there are no log-volumes to draw. Measure some: landscape volume CHECKPOINT --out run.h5")
    cutoffs = sorted({row.cutoff for row, _ in rows})
    figure = Figure(figsize=(WIDTH, 1.2 + 0.45 * len(rows) + 0.4 * len(cutoffs)), layout="constrained")
    panels = figure.subplots(len(cutoffs), 1, squeeze=False)[:, 0]
    for axes, (cutoff, colour, _) in zip(panels, cutoff_styles(cutoffs), strict=True):
        here = [(row, name) for row, name in rows if row.cutoff == cutoff]
        _draw_panel(axes, here, colour)
        axes.set_title(f"cutoff {cutoff:g}", loc="left", fontsize="small", fontweight="bold")
    first = next(iter(volumes.values()))
    what, unit = "Log-volume", "log10 V, metric coordinates"
    if first.density is not None:
        what, unit = "Log-probability", f"log10 of the probability under {first.density}"
    panels[-1].set_xlabel(f"{unit} (an arrow begins at a lower bound)")
    figure.suptitle(f"{what} of one basin by estimator, n = {first.dimension:,}", fontsize="medium")
    return figure


def _draw_panel(axes: Axes, rows: list[tuple[VolumeEstimate, str]], colour: tuple[float, ...]) -> None:
    ends = np.array([end for row, _ in rows for end in row.log10_interval])
    ends = ends[np.isfinite(ends)]
    room = 0.05 * float(np.ptp(ends)) or 1.0
    low, high = float(ends.min()) - 2 * room, float(ends.max()) + room
    for place, (row, _) in enumerate(rows):
        first, last = (float(np.clip(end, low, high)) for end in row.log10_interval)
        if row.verdict == "lower bound":
            axes.plot([first, first], [place - 0.2, place + 0.2], color=colour, linewidth=2)
            axes.annotate("", (last, place), (first, place), arrowprops={"arrowstyle": "->", "color": colour})
        else:
            face = "white" if row.verdict == "approximation" else colour
            axes.plot([first, last], [place, place], color=colour, linewidth=2)
            axes.plot(row.log10_volume, place, "o", color=colour, markerfacecolor=face)
        where, align = (first, "left") if first < (low + high) / 2 else (min(last, high), "right")
        told = f">= {decimal(row.log10_interval[0])}" if row.verdict == "lower bound" else decimal(row.log10_volume)
        axes.text(where, place - 0.28, f"{told}  {row.verdict}", ha=align, va="bottom", fontsize="x-small")
    axes.set_yticks(range(len(rows)), [name for _, name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(ALL_DIGITS)
    bare(axes)
