"""A plane as an interactive page (.html). plotly, an optional extra, draws it and is written into the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.errors import MissingExtraError
from landscape.plots.scale import Scale
from landscape.plots.slices import plane_labels
from landscape.plots.style import shades
from landscape.plots.surface import drawn_heights, on_surface, surface_scale, trajectory
from landscape.results import Plane

_FLAT = {"ambient": 1.0, "diffuse": 0.0, "specular": 0.0, "fresnel": 0.0}  #: a colour means a height, not a slope
_SHADES = 16  #: colours between which the page mixes
_TRAINED = {"color": "black", "size": 6, "symbol": "diamond", "line": {"color": "white", "width": 1}}


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
    scale = surface_scale(plane)
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
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="plane", default_height="96vh")
    return page.encode()


def _surface(plane: Plane) -> dict[str, Any]:
    scale = surface_scale(plane)
    colours = [
        [i / _SHADES, "rgb({},{},{})".format(*(int(255 * c) for c in shade[:3]))]
        for i, shade in enumerate(shades(_SHADES + 1, lightest=1.0))
    ]
    labels = np.array(
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
        "text": labels,
        "hovertemplate": "x %{x:.4g}<br>y %{y:.4g}<br>%{text}<extra></extra>",
        "lighting": _FLAT,
        "contours": {"z": {"show": True, "usecolormap": False, "color": "rgba(0,0,0,0.3)", "width": 1}},
    }


def _checkpoints(plane: Plane) -> list[dict[str, Any]]:
    """Return the trained point and the checkpoints, and the way between those of a training run, as scatter traces."""
    heights = drawn_heights(plane)
    layers: list[tuple[np.ndarray, dict[str, Any]]] = [
        (np.zeros((1, 2)), {"mode": "markers", "name": "this checkpoint", "marker": _TRAINED}),
        (plane.points, {"mode": "markers", "name": "checkpoints", "marker": {"color": "black", "size": 4}}),
        (trajectory(plane), {"mode": "lines", "name": "training run", "line": {"color": "black", "width": 5}}),
    ]
    traces = []
    for points, style in layers:
        if len(points):
            x, y, z = on_surface(plane, heights, points).T
            traces.append({"x": x, "y": y, "z": z, **style})
    return traces


def _ticks(scale: Scale) -> dict[str, Any]:
    if not scale.logarithmic:
        return {}
    return {"tickvals": scale.ticks, "ticktext": [scale.text(level) for level in scale.ticks]}
