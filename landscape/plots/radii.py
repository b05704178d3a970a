"""Radii -> figures: how far the basin reaches along random rays, and the loss on the way.

Every figure says what it was made from and how far it can be trusted, so that it can stand alone in a report.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from landscape.plots.style import (
    ALL_DIGITS,
    METRIC_UNITS,
    SHORT_NUMBERS,
    WIDTH,
    Colour,
    Figure,
    bare,
    cutoff_styles,
    shades,
    with_checkpoint,
)
from landscape.plots.weights import draw_weights, weights_height
from landscape.results import Radii, RayStatus, Volume
from landscape.results.table import percent

_MOST_BINS = 60
_TITLE_WIDTH = 82  #: characters of small type above a panel
_RADIUS_LABELS = {
    **{metric: f"relative perturbation r ({METRIC_UNITS[metric]})" for metric in ("filter", "layer")},
    "identity": "distance r (Euclidean, parameter space)",
}
_LOSS_LABELS = {"loss": "loss", "rise": "loss above the centre", "kl": "KL from the centre (nats)"}


def radius_histogram(radii: Radii) -> Figure:
    """Return a histogram of the radii for each cutoff, one below the other; censored rays are a hatched bar at the cap.

    A ray not measured yet is left out, and the title says so.
    """
    figure = _figure(1.1 + 1.5 * len(radii.cutoffs))
    _draw_radii(figure, radii)
    return figure


def loss_along_rays(radii: Radii) -> Figure:
    """Return the criterion against r along the rays whose every evaluation was kept, with the cutoffs.

    The line between two points is only a guide: the search looks closely near the crossings alone.
    """
    figure = _figure(4.0)
    _draw_rays(figure, radii)
    return figure


def overview(radii: Radii, volume: Volume | None = None) -> Figure:
    """Return the three figures as one. The weights are left out if there is no volume, or one without rays."""
    if volume is not None and not len(volume.log_weights):
        volume = None
    heights = [1.1 + 1.5 * len(radii.cutoffs), 4.0]
    if volume is not None:
        heights.append(weights_height(volume))
    figure = _figure(sum(heights))
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_radii(parts[0], radii)
    _draw_rays(parts[1], radii)
    if volume is not None:
        draw_weights(parts[2], volume)
    return figure


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


def _draw_radii(figure: FigureBase, radii: Radii) -> None:
    """Draw one panel per cutoff on a common axis."""
    panels = figure.subplots(len(radii.cutoffs), 1, sharex=True, squeeze=False)[:, 0]
    done = int(radii.done.sum())
    rays = f"{done:,} rays" if done == radii.directions else f"{done:,} of {radii.directions:,} rays measured so far"
    title = f"Basin radius along random rays: {rays}, n = {radii.dimension:,}"
    figure.suptitle(with_checkpoint(title, radii.config), fontsize="medium")
    panels[-1].set_xlabel(_radius_label(radii))
    if not done:
        return
    edges = _bins(radii.radii[radii.done])
    for column, (axes, colour) in enumerate(zip(panels, shades(len(panels)), strict=True)):
        _draw_panel(axes, radii, column, edges, colour)
    if (radii.status == RayStatus.CENSORED).any():
        for axes in panels:
            axes.axvline(radii.max_radius, color="0.35", linestyle="--", linewidth=1)
    if _is_geometric(edges):
        panels[-1].set_xscale("log")
        panels[-1].set_xlabel(_radius_label(radii) + ", log scale")
        panels[-1].xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panels[-1].xaxis.set_major_formatter(ALL_DIGITS)
        panels[-1].xaxis.set_minor_formatter(NullFormatter())


def _draw_panel(axes: Axes, radii: Radii, column: int, edges: np.ndarray, colour: Colour) -> None:
    status, values = radii.status[radii.done, column], radii.radii[radii.done, column]
    censored, unfinished = (int((status == kind).sum()) for kind in (RayStatus.CENSORED, RayStatus.UNFINISHED))
    crossed = values[status != RayStatus.CENSORED]
    axes.hist(crossed, bins=edges.tolist(), color=colour, edgecolor="white", linewidth=0.3)
    if len(crossed):  # a mark for each ray: the few far out are too low for a bar, and they carry the volume
        (marks,) = axes.plot(crossed, np.full(len(crossed), -0.03), "|", color=colour, markersize=4, clip_on=False)
        marks.set_transform(axes.get_xaxis_transform())
    if censored:
        width = 1.5 * float(edges[-1] - edges[-2])
        axes.bar(
            radii.max_radius, censored, width=width, align="edge", edgecolor=colour, facecolor="white", hatch="/////"
        )
    name = f"cutoff {radii.cutoffs[column]:g}"
    numbers = _numbers(values, radii.max_radius, censored, unfinished, room=_TITLE_WIDTH - len(name))
    axes.set_title(name, loc="left", fontsize="small", fontweight="bold")
    axes.set_title(numbers, loc="right", fontsize="small")
    axes.set_ylabel("rays")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(ALL_DIGITS)
    axes.set_ylim(bottom=0)
    bare(axes)


def _numbers(values: np.ndarray, cap: float, censored: int, unfinished: int, room: int) -> str:
    """Return the numbers of one panel, on two lines if they take more than ``room`` characters."""
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    parts = [f"median {median:.3g}", f"10 % below {low:.3g}"]
    if high < cap:
        parts.append(f"90 % below {high:.3g}")
    top = f"{censored:,} ({percent(censored / len(values))}) at the cap"
    ends = [top if censored else f"largest {values.max():.3g}"]
    if unfinished:
        ends.append(f"unfinished {unfinished:,}")
    joined = "; ".join([*parts, *ends])
    return joined if len(joined) <= room else "; ".join(parts) + "\n" + "; ".join(ends)


def _bins(values: np.ndarray) -> np.ndarray:
    """Return common bin edges over all cutoffs: even steps, or even ratios if the radii span more than tenfold.

    Equal radii get a little room on both sides. A radius of 0 has no ratio, so steps are even then.
    """
    count = int(np.clip(2 * math.sqrt(len(values)), 12, _MOST_BINS))
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-3 * abs(high):
        room = 0.05 * abs(high) or 0.5
        low, high = low - room, high + room
    if low > 0 and high > 10 * low:
        return np.geomspace(low, high, count + 1)
    return np.linspace(low, high, count + 1)


def _is_geometric(edges: np.ndarray) -> bool:
    return bool(edges[-1] - edges[-2] > 1.01 * (edges[1] - edges[0]))


def _draw_rays(figure: FigureBase, radii: Radii) -> None:
    axes = figure.subplots()
    rays = np.unique(radii.profile_ray)
    criterion = radii.config.get("criterion", "loss")
    logarithmic = _wants_log(radii)
    for ray in rays:
        chosen = radii.profile_ray == ray
        r, value = radii.profile_radius[chosen], radii.profile_loss[chosen]
        if not logarithmic or radii.centre > 0:
            r, value = np.r_[0.0, r], np.r_[radii.centre, value]
        axes.plot(r, value, color="0.45", alpha=0.5, linewidth=0.8, marker=".", markersize=4, markeredgewidth=0)
    for cutoff, colour, line in cutoff_styles(radii.cutoffs):
        axes.axhline(cutoff, color=colour, linestyle=line, linewidth=1.5)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(SHORT_NUMBERS)
    axes.set_xlim(left=0)
    axes.set_xlabel(_radius_label(radii))
    axes.set_ylabel(_LOSS_LABELS.get(criterion, criterion) + (", log scale" if logarithmic else ""))
    heights = axes.transAxes.inverted().transform(axes.transData.transform([(0.0, c) for c in radii.cutoffs]))[:, 1]
    for cutoff, height in zip(radii.cutoffs, _apart(heights), strict=True):
        axes.text(1.01, height, f"cutoff {cutoff:g}", transform=axes.transAxes, va="center", fontsize="small")
    shown = "the points evaluated, joined as a guide" if len(rays) else "no evaluation was kept along these rays"
    what = _LOSS_LABELS.get(criterion, criterion)
    title = f"{what[:1].upper()}{what[1:]} along sampled rays: {shown}"
    figure.suptitle(with_checkpoint(title, radii.config), fontsize="medium")
    bare(axes)


def _apart(heights: np.ndarray, gap: float = 0.055) -> np.ndarray:
    """Return ascending heights moved up just enough that neighbours are ``gap`` apart.

    >>> _apart(np.array([0.1, 0.11, 0.9]), gap=0.1).round(2)
    array([0.1, 0.2, 0.9])
    """
    steps = gap * np.arange(len(heights))
    return np.maximum.accumulate(heights - steps) + steps


def _wants_log(radii: Radii) -> bool:
    """Whether the values are positive and span more than a decade and a half."""
    positive = radii.profile_loss[radii.profile_loss > 0]
    return len(positive) == len(radii.profile_loss) > 0 and positive.max() > 30 * positive.min()


def _radius_label(radii: Radii) -> str:
    return _RADIUS_LABELS.get(radii.config.get("metric", ""), "radius r")
