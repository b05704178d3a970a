"""Lines and planes -> figures: units, what was measured, and where the loss is not a number.

Losses that span more than a decade are drawn on a log scale, and every axis says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from landscape.plots.scale import Scale, log_levels, wants_log
from landscape.plots.style import (
    COLOURS,
    METRIC_UNITS,
    SHORT_NUMBERS,
    WIDTH,
    Figure,
    bare,
    number,
    shades,
    with_checkpoint,
)
from landscape.results import Line, Plane
from landscape.results.table import percent

_BANDS = 16  #: of a filled contour, at most
_LINES = 9  #: of a contour, at most
_MEAN_UNITS = {**METRIC_UNITS, "filter": "1 = filters' norms on average", "layer": "1 = layers' norms on average"}
_NAMES = {
    "random": "random directions",
    "li2018": "filter-normalised directions",
    "hessian": "the top two eigenvectors of the Hessian",
    "toward": "the plane through three checkpoints",
    "pca": "the main plane of a training run",
    "given": "given directions",
}


def line_figure(line: Line) -> Figure:
    """Return loss, accuracy and curvature against x, one panel for each that was measured."""
    panels = [("loss", line.loss), ("accuracy", line.accuracy), ("second derivative\nof the loss by x", line.curvature)]
    panels = [panels[0], *((label, values) for label, values in panels[1:] if not np.isnan(values).all())]
    heights = [3.2, *(1.7 for _ in panels[1:])]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout="constrained")
    drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (label, values) in zip(drawn, panels, strict=True):
        finite = np.where(np.isfinite(values), values, np.nan)
        axes.plot(line.x, finite, color="0.15", linewidth=1.4, marker=".", markersize=4)
        logarithmic = label == "loss" and wants_log(values)
        if logarithmic:
            _log_axis(axes, values)
        axes.set_ylabel(f"{label}, log scale" if logarithmic else label)
        bare(axes)
        if label.startswith("second"):
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    _mark_strange(figure, drawn[0], line)
    named = {0.0: "this checkpoint", 1.0: "the other"} if len(line.points) else {0.0: "trained point"}
    for point, name in named.items():
        for axes in drawn:
            axes.axvline(point, color="0.5", linestyle=":", linewidth=1.2, zorder=0)
        place = {"xycoords": drawn[0].get_xaxis_transform(), "textcoords": "offset points", "xytext": (0, 2)}
        drawn[0].annotate(name, (point, 1.0), ha="center", va="bottom", fontsize="small", **place)
    drawn[-1].set_xlabel(_line_label(line))
    title = f"Loss along a line: {_measured(line)}, n = {line.dimension:,}"
    figure.suptitle(with_checkpoint(title, line.config), fontsize="medium")
    return figure


def contour_figure(plane: Plane) -> Figure:
    """Return labelled contour lines of the loss, with the checkpoints if there are any."""
    figure, axes = _plane_axes(plane, "Loss")
    scale = Scale.of(plane.loss, _LINES)
    if _has_area(plane):
        colours = shades(len(scale.levels))
        drawn = axes.contour(plane.x, plane.y, scale.heights, levels=scale.levels, colors=colours, linewidths=1.2)
        axes.clabel(drawn, levels=scale.labelled, fontsize="x-small", fmt=scale.text)
    if scale.logarithmic:
        axes.set_title("loss on the lines; levels in even ratios", fontsize="small", loc="right")
    _finish(figure, axes, plane)
    return figure


def filled_figure(plane: Plane) -> Figure:
    """Return filled contours of the loss, on log levels if it spans more than a decade."""
    figure, axes = _plane_axes(plane, "Loss")
    _fill(figure, axes, plane, plane.loss, "loss")
    _finish(figure, axes, plane)
    return figure


def accuracy_figure(plane: Plane) -> Figure:
    """Return filled contours of the accuracy."""
    figure, axes = _plane_axes(plane, "Accuracy")
    _fill(figure, axes, plane, plane.accuracy, "accuracy")
    _finish(figure, axes, plane)
    return figure


def plane_labels(plane: Plane) -> tuple[str, str]:
    """Return what x and y are, with their units."""
    if plane.directions == "pca":
        first, second = (
            f"component {i}: {percent(share)} of the variance" for i, share in enumerate(plane.explained, 1)
        )
        return f"{first} (Euclidean distance)", f"{second} (Euclidean distance)"
    if plane.directions == "toward":
        away = ", less its part along x" if plane.config.get("orthogonal") else ""
        return "toward checkpoint 2 (1 = there)", f"toward checkpoint 3 (1 = there{away})"
    unit = _unit(plane.directions, plane.config)
    if plane.directions == "hessian":
        return f"{_eigenvector(plane.config, 0)}\n({unit})", f"{_eigenvector(plane.config, 1)}\n({unit})"
    return f"along direction 1 ({unit})", f"along direction 2 ({unit})"


def _unit(directions: str, config: dict[str, Any]) -> str:
    if directions == "li2018":
        return METRIC_UNITS["filter"]
    if directions == "hessian":  # an eigenvector moves some filters far and others hardly
        return _MEAN_UNITS[config["metric"]]
    return METRIC_UNITS.get(config.get("metric", ""), "1 = the direction as given")


def _line_label(line: Line) -> str:
    if line.direction == "toward":
        return f"x, from this checkpoint to the other (Euclidean distance {line.length:.3g})"
    if line.direction == "hessian":
        return f"x along Hessian {_eigenvector(line.config, 0)}\n({_unit(line.direction, line.config)})"
    kind = {"random": "a random direction", "li2018": "a filter-normalised direction"}
    return f"x along {kind.get(line.direction, 'the direction given')} ({_unit(line.direction, line.config)})"


def _eigenvector(config: dict[str, Any], axis: int) -> str:
    converged = config["converged"][axis]
    value = f"eigenvalue {number(config['eigenvalues'][axis])}" if converged else "NOT converged"
    return f"eigenvector {axis + 1}, {value}"


def _measured(result: Line | Plane) -> str:
    what = "points" if isinstance(result, Line) else "rows"
    done, total = int(result.done.sum()), len(result.done)
    return f"{total} {what}" if done == total else f"{done} of {total} {what} measured so far"


def plane_title(plane: Plane, what: str) -> str:
    """Return what the figure of a plane shows: of which loss, how many points, and of which checkpoint."""
    size = f"{len(plane.y)} × {len(plane.x)} points" if plane.done.all() else _measured(plane)
    title = f"{what} on {_NAMES.get(plane.directions, plane.directions)}: {size}, n = {plane.dimension:,}"
    return with_checkpoint(title, plane.config)


def _plane_axes(plane: Plane, what: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 5.4), layout="compressed")
    axes = figure.subplots()
    figure.suptitle(plane_title(plane, what), fontsize="medium")
    x_label, y_label = plane_labels(plane)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))  # more would run into each other where the span is small
    axes.set_xlim(plane.x[0], plane.x[-1])
    axes.set_ylim(plane.y[0], plane.y[-1])
    ratio = np.ptp(plane.x) / np.ptp(plane.y)
    if plane.directions != "toward" and 1 / 3 < ratio < 3:
        axes.set_aspect("equal")
    return figure, axes


def _has_area(plane: Plane) -> bool:
    """Whether enough is measured to draw areas and lines between points."""
    return int(plane.done.sum()) > 1 and bool(np.isfinite(plane.loss).any())


def _fill(figure: Figure, axes: Axes, plane: Plane, values: np.ndarray, name: str) -> None:
    if not _has_area(plane):
        return
    scale = Scale.of(values, _BANDS)
    extend = "min" if scale.clipped else "neither"
    grid = (plane.x, plane.y, scale.heights)
    drawn = axes.contourf(*grid, levels=scale.levels, norm=scale.norm, cmap=COLOURS, extend=extend)
    drawn.set_edgecolor("face")  # else thin gaps show between the bands in vector formats
    bar = figure.colorbar(drawn, ax=axes, label=scale.name(name))
    bar.set_ticks(scale.ticks)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(scale.text))
    bar.ax.yaxis.set_minor_locator(NullLocator())


def _finish(figure: Figure, axes: Axes, plane: Plane) -> None:
    """Draw what every flat picture of a plane has: trained point, checkpoints, and where the loss is not a number."""
    style: dict[str, Any] = {
        "color": "black",
        "linestyle": "",
        "markeredgecolor": "white",
        "clip_on": False,
        "zorder": 6,
    }
    handles: list[Any] = axes.plot([0.0], [0.0], marker="*", markersize=13, label="this checkpoint", **style)
    if plane.directions == "pca":
        xs, ys = plane.points.T
        axes.plot(xs, ys, color="white", linewidth=3.2, zorder=4)
        way: dict[str, Any] = {"color": "black", "linewidth": 1.4, "marker": "o", "markersize": 3.5, "zorder": 5}
        far = f"checkpoints of the run, at most {number(plane.off_plane.max())} off the plane"
        handles += axes.plot(xs, ys, label=far, **way)
        handles += axes.plot(xs[:1], ys[:1], marker="s", markersize=8, label="the first", **style)
    elif len(plane.points):
        for kind, name, (x, y) in zip("os", ("checkpoint 2", "checkpoint 3"), plane.points[1:], strict=True):
            handles += axes.plot([x], [y], marker=kind, markersize=8, label=name, **style)
    strange = plane.done[:, None] & ~np.isfinite(plane.loss)
    if strange.any():
        # behind the colours, and as far as they leave free
        levels = [1e-9, 2.0]
        area = axes.contourf(plane.x, plane.y, strange, levels=levels, colors="white", hatches=["xxxx"], zorder=0.9)
        area.set_edgecolor("0.6")
        handles.append(Patch(facecolor="white", edgecolor="0.6", hatch="xxxx", label="NaN or infinite"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="small", frameon=False)


def _log_axis(axes: Axes, values: np.ndarray) -> None:
    """Give the axis a log scale with plain numbers, even if it holds no power of ten; zeros lie below it."""
    axes.set_yscale("log", nonpositive="clip")
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = float(positive.min()), float(positive.max())
    axes.set_ylim((low / (high / low) ** 0.05, high * (high / low) ** 0.05))
    axes.yaxis.set_major_locator(FixedLocator(log_levels(low, high, 7).tolist()))
    axes.yaxis.set_major_formatter(SHORT_NUMBERS)
    axes.yaxis.set_minor_locator(NullLocator())


def _mark_strange(figure: Figure, axes: Axes, line: Line) -> None:
    """Mark the points whose loss is NaN or infinite along the lower edge: a gap in the curve alone is easily missed."""
    strange = line.x[line.done & ~np.isfinite(line.loss)]
    if len(strange):
        low = np.full(len(strange), 0.03)
        style: dict[str, Any] = {
            "color": "0.15",
            "linestyle": "",
            "marker": "x",
            "transform": axes.get_xaxis_transform(),
        }
        mark = axes.plot(strange, low, label=f"NaN or infinite ({len(strange)} points)", **style)
        figure.legend(handles=mark, loc="outside lower center", fontsize="small", frameon=False)
