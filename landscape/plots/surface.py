"""A plane as a surface in space, for the viewers that turn it: heights, and points on it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from landscape.plots.scale import Scale
from landscape.results import Plane

HEIGHT = 0.5  #: of the surface in a VTK file, over the width of the plane
_STEPS = 64  #: levels of a surface, at most


def surface_scale(plane: Plane) -> Scale:
    """Return how losses become heights."""
    return Scale.of(plane.loss, _STEPS)


def drawn_heights(plane: Plane) -> np.ndarray:
    """Return the loss as a surface shows it: its log10 if that spans a decade, cut below; NaN if not finite."""
    scale = surface_scale(plane)
    return np.maximum(scale.heights, scale.levels[0]) if scale.logarithmic else scale.heights


def on_surface(plane: Plane, heights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points of the plane, shape (k, 2), with the height of the surface there, bilinear, shape (k, 3).

    In a gap of the surface the height is 0.
    """
    out = np.zeros((len(points), 3))
    for row, (x, y) in zip(out, points, strict=True):
        j = int(np.clip(np.searchsorted(plane.x, x) - 1, 0, len(plane.x) - 2))
        i = int(np.clip(np.searchsorted(plane.y, y) - 1, 0, len(plane.y) - 2))
        u = (x - plane.x[j]) / (plane.x[j + 1] - plane.x[j])
        v = (y - plane.y[i]) / (plane.y[i + 1] - plane.y[i])
        corners = heights[i : i + 2, j : j + 2] * np.outer([1 - v, v], [1 - u, u])
        row[:] = x, y, np.nan_to_num(corners.sum())
    return out


def trajectory(plane: Plane) -> np.ndarray:
    """Return the way along the checkpoints of a training run, shape (k, 2), in steps that follow the surface.

    It is empty for other planes: their checkpoints have no order.
    """
    if plane.directions != "pca":
        return np.zeros((0, 2))
    step = np.array([plane.x[1] - plane.x[0], plane.y[1] - plane.y[0]])
    pieces = [plane.points[:1]]
    for start, stop in pairwise(plane.points):
        parts = max(1, int(np.ceil(2 * np.abs((stop - start) / step).max())))
        pieces.append(start + np.arange(1, parts + 1)[:, None] / parts * (stop - start))
    return np.concatenate(pieces)


def surface_heights(plane: Plane) -> np.ndarray:
    """Return the z coordinate of each point, shape (rows, columns): 0 at the lowest, half the plane's width at the
    highest; NaN if the loss is not finite.
    """
    heights = drawn_heights(plane)
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    width = max(np.ptp(plane.x), np.ptp(plane.y))
    return (heights - low) * (HEIGHT * width / (high - low) if high > low else 0.0)
