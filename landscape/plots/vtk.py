"""A plane as a VTK file for ParaView: the XML formats ``.vts`` (structured grid) and ``.vtp`` (poly data).

Binary data stand inline. The files are written here, without the vtk package.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

import numpy as np

from landscape.plots.scale import wants_log
from landscape.plots.surface import on_surface, surface_heights, trajectory
from landscape.results import Plane

_HIDDEN = 2  #: vtkGhostType of a point that is not drawn
_TYPES = {"float64": "Float64", "int64": "Int64", "uint8": "UInt8"}


def structured_grid(plane: Plane) -> bytes:
    """Return a ``.vts`` file; points without a height are hidden."""
    heights = surface_heights(plane)
    arrays = _point_arrays(plane)
    if np.isnan(heights).any():
        arrays["vtkGhostType"] = np.where(np.isnan(heights), _HIDDEN, 0).astype(np.uint8).reshape(-1)
    extent = quoteattr(f"0 {len(plane.x) - 1} 0 {len(plane.y) - 1} 0 0")
    points = f"<Points>{_array('points', _points(plane, heights))}</Points>"
    piece = f"<Piece Extent={extent}>{_point_data(arrays)}{points}</Piece>"
    return _file("StructuredGrid", f"<StructuredGrid WholeExtent={extent}>{piece}</StructuredGrid>", plane)


def poly_data(plane: Plane) -> bytes:
    """Return a ``.vtp`` file: the surface as quadrilaterals, the checkpoints as points, a training run as a line."""
    heights = surface_heights(plane)
    index = np.arange(heights.size).reshape(heights.shape)
    corners = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1).reshape(-1, 4)
    way = trajectory(plane)
    marks = on_surface(plane, heights, np.concatenate([plane.points, way]))
    marks[:, 2] += 0.005 * np.ptp(plane.x)  # a little above the surface, so that they are seen
    marked = heights.size + np.arange(len(marks))
    run = marked[len(plane.points) :]
    cells = {
        "Verts": marked[: len(plane.points), None],
        "Lines": run[None, :] if len(run) else run.reshape(0, 2),
        "Strips": corners[:0],
        "Polys": corners[~np.isnan(heights).reshape(-1)[corners].any(axis=1)],
    }
    counts = " ".join(f'NumberOf{kind}="{len(rows)}"' for kind, rows in cells.items())
    points = np.concatenate([_points(plane, heights), marks])
    arrays = {
        name: np.concatenate([values, np.full(len(marks), np.nan)]) for name, values in _point_arrays(plane).items()
    }
    body = "".join(f"<{kind}>{_cells(rows)}</{kind}>" for kind, rows in cells.items())
    points_text = f"<Points>{_array('points', points)}</Points>"
    piece = f'<Piece NumberOfPoints="{len(points)}" {counts}>{_point_data(arrays)}{points_text}{body}</Piece>'
    return _file("PolyData", f"<PolyData>{piece}</PolyData>", plane)


def _points(plane: Plane, heights: np.ndarray) -> np.ndarray:
    """Return the points of the surface, x fastest, shape (points, 3); those without a height lie at 0."""
    x, y = np.meshgrid(plane.x, plane.y)
    return np.stack([x, y, np.nan_to_num(heights)], axis=-1).reshape(-1, 3)


def _point_arrays(plane: Plane) -> dict[str, np.ndarray]:
    arrays = {"loss": plane.loss.reshape(-1)}
    if wants_log(plane.loss):
        with np.errstate(divide="ignore"):
            arrays["log10_loss"] = np.log10(arrays["loss"])
    if not np.isnan(plane.accuracy).all():
        arrays["accuracy"] = plane.accuracy.reshape(-1)
    return arrays


def _file(kind: str, body: str, plane: Plane) -> bytes:
    """Return a VTK XML file, with the settings of the plane as a comment."""
    about = f"loss on a plane ({plane.directions}), n = {plane.dimension}".replace("--", "- -")
    return (
        f'<?xml version="1.0"?>\n<!-- landscape: {about} -->\n'
        f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">{body}</VTKFile>\n'
    ).encode()


def _point_data(arrays: Mapping[str, np.ndarray]) -> str:
    return f'<PointData Scalars="loss">{"".join(_array(name, values) for name, values in arrays.items())}</PointData>'


def _cells(corners: np.ndarray) -> str:
    """Return cells of as many corners each, shape (cells, corners)."""
    offsets = np.arange(1, len(corners) + 1) * corners.shape[1]
    return _array("connectivity", corners.reshape(-1)) + _array("offsets", offsets)


def _array(name: str, values: np.ndarray) -> str:
    """Return one array as base64 of its length in bytes (UInt64) and its bytes, little-endian."""
    kind = _TYPES[values.dtype.name]
    data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()
    text = base64.b64encode(np.array([len(data)], "<u8").tobytes() + data).decode()
    parts = f' NumberOfComponents="{values.shape[1]}"' if values.ndim > 1 else ""
    return f'<DataArray type="{kind}" Name={quoteattr(name)}{parts} format="binary">{text}</DataArray>'
