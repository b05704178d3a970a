"""A plane -> a picture of its surface in space, for print; interactive.py has the one that turns."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from landscape.plots.scale import Scale
from landscape.plots.slices import plane_labels, plane_title
from landscape.plots.style import COLOURS, WIDTH, Figure
from landscape.plots.surface import on_surface, trajectory
from landscape.results import Plane

_BANDS = 16
_FACETS = 100  #: along each side, at most
_ABOVE = 0.01  #: marks lie above the surface by this share of its height, so that they are seen


def surface_figure(plane: Plane) -> Figure:
    """Return the loss as a surface over the plane; its height is the log of the loss if that spans a decade.

    A facet has the colour of its mean height and no other shade, so one that looks higher is higher.
    """
    figure = Figure(figsize=(WIDTH, 5.6))
    axes: Any = figure.add_axes((0.03, 0.06, 0.84, 0.92), projection="3d", computed_zorder=False)
    scale = Scale.of(plane.loss, _BANDS)
    height = np.maximum(scale.heights, scale.levels[0])
    x, y = np.meshgrid(plane.x, plane.y)
    strides = [-(-(count - 1) // _FACETS) for count in height.shape]
    colours = facet_colours(height, scale, *strides)
    size = {"rstride": strides[0], "cstride": strides[1]}
    axes.plot_surface(x, y, height, facecolors=colours, shade=False, linewidth=0.3, zorder=1, **size)
    _mark(axes, plane, height)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(labelsize="small")
    axes.zaxis.set_major_locator(FixedLocator(scale.ticks))
    axes.zaxis.set_major_formatter(FuncFormatter(scale.text))
    x_label, y_label = (label.replace(" (", "\n(", 1) for label in plane_labels(plane))
    axes.set_xlabel(x_label, labelpad=14, fontsize="small")
    axes.set_ylabel(y_label, labelpad=14, fontsize="small")
    axes.zaxis.set_rotate_label(False)
    axes.set_zlabel(scale.name("loss"), labelpad=10, rotation=90, fontsize="small")
    axes.view_init(elev=30, azim=-125)
    axes.set_box_aspect((1, 1, 0.75), zoom=0.86)
    title = plane_title(plane, "Loss")
    figure.text(0.5, 0.985, title, ha="center", va="top", fontsize="medium")
    notes = "; ".join(_notes(plane, scale))
    figure.text(0.5, 0.94 - 0.035 * title.count("\n"), notes, ha="center", va="top", fontsize="small")
    figure.legend(loc="lower center", ncols=2, fontsize="small", frameon=False)
    return figure


def facet_colours(height: np.ndarray, scale: Scale, row_stride: int, column_stride: int) -> np.ndarray:
    """Return a colour for each facet, shape (rows, columns, 4), at the corner from which matplotlib reads it.

    matplotlib alone would take the height of that one corner, so a facet could look lower than one below it.
    """
    means = np.full(height.shape, np.nan)
    for row in range(0, height.shape[0] - 1, row_stride):
        for column in range(0, height.shape[1] - 1, column_stride):
            means[row, column] = height[row : row + row_stride + 1, column : column + column_stride + 1].mean()
    colours: np.ndarray = colormaps[COLOURS](scale.norm(np.nan_to_num(means, nan=scale.levels[0])))
    return colours


def _mark(axes: Any, plane: Plane, height: np.ndarray) -> None:
    """Mark the trained point, and the way of a training run."""
    above = _ABOVE * float(np.ptp(height[np.isfinite(height)])) if np.isfinite(height).any() else 0.0
    if len(way := trajectory(plane)):
        xs, ys, zs = on_surface(plane, height, way).T
        axes.plot(xs, ys, zs + above, color="white", linewidth=3.0, zorder=2)
        axes.plot(xs, ys, zs + above, color="black", linewidth=1.4, zorder=3, label="training run")
    ((x, y, z),) = on_surface(plane, height, np.zeros((1, 2)))
    style = {"color": "black", "markeredgecolor": "white", "linestyle": "", "zorder": 4}
    axes.plot([x], [y], [z + above], marker="*", markersize=13, label="this checkpoint", **style)


def _notes(plane: Plane, scale: Scale) -> list[str]:
    strange = int((~np.isfinite(plane.loss[plane.done])).sum())
    notes = [f"{strange:,} points are NaN or infinite and left out"] if strange else []
    if scale.clipped:
        least = scale.text(scale.levels[0])
        notes.append(f"losses below {least} are drawn at {least}")
    return notes
