"""The decision boundary of a net with two inputs -> a figure: which class each point of the plane gets."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage

from landscape.plots.style import CLASSES, WIDTH, Figure
from landscape.results import Boundary


def boundary_figure(boundary: Boundary) -> Figure:
    """Return the class that the net gives each point of the plane, with the training points."""
    figure = Figure(figsize=(WIDTH, 5.6), layout="compressed")
    axes = figure.subplots()
    extent = (float(boundary.x[0]), float(boundary.x[-1]), float(boundary.y[0]), float(boundary.y[-1]))
    draw_boundary(axes, boundary.logit, extent, (boundary.inputs, boundary.targets))
    axes.set_xlabel("first input")
    axes.set_ylabel("second input")
    figure.suptitle(
        f"Decision boundary; margin of {len(boundary.margin):,} training points:\nmedian {boundary.median:.3g}, "
        f"10 % below {boundary.low:.3g}, smallest {boundary.margin.min():.3g}",
        fontsize="medium",
    )
    return figure


def draw_boundary(
    axes: Axes,
    logit: np.ndarray,
    extent: tuple[float, float, float, float],
    data: tuple[np.ndarray, np.ndarray] | None = None,
) -> AxesImage:
    """Draw the class at each point of a square, and the training points if there are any.

    Args:
        axes: where.
        logit: shape (rows, columns).
        extent: left, right, bottom and top of the square.
        data: inputs, shape (N, 2), and their classes, shape (N,).
    """
    drawn = axes.imshow(area_of(logit), extent=extent, origin="lower")
    if data is not None:
        inputs, targets = data
        for value, colour in enumerate(CLASSES):
            chosen = inputs[targets == value]
            axes.plot(
                *chosen.T, "os"[value], color=colour, markersize=2.6, markeredgecolor="white", markeredgewidth=0.3
            )
    return drawn


def area_of(logit: np.ndarray) -> np.ndarray:
    """Return the colour of the class at each point, shape (rows, columns, 3)."""
    return np.where(logit[..., None] > 0, _pale(CLASSES[1]), _pale(CLASSES[0]))


def _pale(colour: str) -> np.ndarray:
    return 0.45 * np.array(to_rgb(colour)) + 0.55
