"""A plane as an interactive page: plotly, an optional extra, draws it and is written into the page."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colormaps

from landscape.errors import MissingExtraError
from landscape.plots.slices import COLOURS, Scale, plane_labels
from landscape.results import Plane

_SHADES = 16
_STEPS = 64  #: levels of a surface, at most


def drawn_heights(plane: Plane) -> np.ndarray:
    """Return the loss as a surface shows it: its log10 where that spans a decade, cut below; NaN where not finite."""
    scale = Scale.of(plane.loss, _STEPS)
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

    It is empty for the checkpoints of other planes, which are in no order.
    """
    if plane.directions != "pca":
        return np.zeros((0, 2))
    step = np.array([plane.x[1] - plane.x[0], plane.y[1] - plane.y[0]])
    pieces = [plane.points[:1]]
    for start, stop in pairwise(plane.points):
        parts = max(1, int(np.ceil(2 * np.abs((stop - start) / step).max())))
        pieces.append(start + np.arange(1, parts + 1)[:, None] / parts * (stop - start))
    return np.concatenate(pieces)


def need_plotly() -> Any:
    """Return the module ``plotly.graph_objects``.

    Raises:
        MissingExtraError: without plotly.
    """
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise MissingExtraError("plotly", "interactive", "an interactive page (.html)") from error
    return go


def interactive_page(plane: Plane) -> bytes:
    """Return one HTML page with the surface to turn and read; it needs nothing else to open.

    Raises:
        MissingExtraError: without plotly.
    """
    go = need_plotly()
    figure = go.Figure([go.Surface(**_surface(plane)), *(go.Scatter3d(**marks) for marks in _checkpoints(plane))])
    scale = Scale.of(plane.loss, _STEPS)
    labels = plane_labels(plane)
    figure.update_layout(
        title={"text": f"Loss on a plane ({plane.directions}), n = {plane.dimension:,}"},
        scene={
            "xaxis": {"title": {"text": labels[0]}},
            "yaxis": {"title": {"text": labels[1]}},
            "zaxis": {"title": {"text": scale.name("loss")}, **_ticks(scale)},
            "aspectratio": {"x": 1, "y": 1, "z": 0.7},
        },
        margin={"l": 0, "r": 0, "b": 0, "t": 50},
        legend={"x": 0, "y": 1},
    )
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="plane")
    return page.encode()


def _surface(plane: Plane) -> dict[str, Any]:
    scale = Scale.of(plane.loss, _STEPS)
    shades = (colormaps[COLOURS](i / _SHADES)[:3] for i in range(_SHADES + 1))
    colours = [[i / _SHADES, "rgb({},{},{})".format(*(int(255 * c) for c in shade))] for i, shade in enumerate(shades)]
    told = np.array(
        [
            [f"loss {loss:.6g}" + ("" if np.isnan(share) else f"<br>accuracy {share:.4g}") for loss, share in rows]
            for rows in np.stack([plane.loss, plane.accuracy], axis=-1)
        ]
    )
    return {
        "x": plane.x,
        "y": plane.y,
        "z": drawn_heights(plane),
        "colorscale": colours,
        "colorbar": {"title": {"text": scale.name("loss")}, **_ticks(scale)},
        "text": told,
        "hovertemplate": "x %{x:.4g}<br>y %{y:.4g}<br>%{text}<extra></extra>",
        "contours": {"z": {"show": True, "usecolormap": False, "color": "rgba(0,0,0,0.3)", "width": 1}},
    }


def _checkpoints(plane: Plane) -> list[dict[str, Any]]:
    """Return the checkpoints, and the way between those of a training run, as scatter traces."""
    heights = drawn_heights(plane)
    looks: list[tuple[np.ndarray, dict[str, Any]]] = [
        (plane.points, {"mode": "markers", "name": "checkpoints", "marker": {"color": "black", "size": 4}}),
        (trajectory(plane), {"mode": "lines", "name": "training run", "line": {"color": "black", "width": 5}}),
    ]
    traces = []
    for points, look in looks:
        if len(points):
            x, y, z = on_surface(plane, heights, points).T
            traces.append({"x": x, "y": y, "z": z, **look})
    return traces


def _ticks(scale: Scale) -> dict[str, Any]:
    if not scale.logarithmic:
        return {}
    return {"tickvals": scale.ticks, "ticktext": [scale.text(level) for level in scale.ticks]}
