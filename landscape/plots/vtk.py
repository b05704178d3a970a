"""Planes for other programs: VTK files for ParaView, and an interactive page.

The VTK files are the XML formats ``.vts`` (structured grid) and ``.vtp`` (poly data), binary data inline, written here
without the vtk package.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from landscape.errors import LandscapeError
from landscape.plots.interactive import drawn_heights, interactive_page, need_plotly, on_surface, trajectory
from landscape.plots.slices import wants_log
from landscape.results import Plane

FORMATS = (".vts", ".vtp", ".html")
HEIGHT = 0.5  #: of the drawn surface, over the width of the plane
_HIDDEN = 2  #: vtkGhostType of a point that is not drawn
_TYPES = {"float64": "Float64", "int64": "Int64", "uint8": "UInt8"}


def export(plane: Plane, path: str | os.PathLike[str]) -> Path:
    """Write a plane in the format that the ending of ``path`` names, and return the path.

    ``.vts``: a structured grid, each point of the plane a point, with the arrays ``loss``, ``log10_loss`` and
    ``accuracy``. ``.vtp``: the same surface as quadrilaterals, with the checkpoints on it. ``.html``: an interactive
    page, which opens without a network. The z coordinate is the loss, or its log10 where that spans a decade (cut four
    decades below the largest), scaled to half the width of the plane; the arrays hold the loss itself. Points that are
    NaN or infinite keep their value in the arrays and are left out of the surface.

    Raises:
        LandscapeError: for another ending, a folder that does not exist, or a plane with no number in it.
        MissingExtraError: for ``.html`` without plotly.
    """
    target = check_export(path)
    writers: dict[str, Callable[[Plane], bytes]] = {".vts": _vts, ".vtp": _vtp, ".html": interactive_page}
    if not np.isfinite(plane.loss).any():
        raise LandscapeError("the plane holds no finite loss yet, so there is no surface to write.")
    _write(target, writers[target.suffix.lower()](plane))
    return target


def check_export(path: str | os.PathLike[str]) -> Path:
    """Return the path if a plane can be written there, or say before hours of work why it cannot.

    Raises:
        LandscapeError, MissingExtraError: as for :func:`export`.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise LandscapeError(
            f"a plane cannot be written to {target.name}: the ending says the format. Use one of {', '.join(FORMATS)}."
        )
    if target.suffix.lower() == ".html":
        need_plotly()
    if not target.parent.is_dir():
        raise LandscapeError(
            f"{target} cannot be written: there is no folder {target.parent}. Make it, or use another."
        )
    return target


def surface_heights(plane: Plane) -> np.ndarray:
    """Return the z coordinate of each point, shape (rows, columns): 0 at the lowest, half the plane's width at the
    highest; NaN where the loss is not finite.
    """
    heights = drawn_heights(plane)
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    width = max(np.ptp(plane.x), np.ptp(plane.y))
    return (heights - low) * (HEIGHT * width / (high - low) if high > low else 0.0)


def _vts(plane: Plane) -> bytes:
    heights = surface_heights(plane)
    arrays = _point_arrays(plane)
    if np.isnan(heights).any():
        arrays["vtkGhostType"] = np.where(np.isnan(heights), _HIDDEN, 0).astype(np.uint8).reshape(-1)
    extent = quoteattr(f"0 {len(plane.x) - 1} 0 {len(plane.y) - 1} 0 0")
    points = f"<Points>{_array('points', _points(plane, heights))}</Points>"
    piece = f"<Piece Extent={extent}>{_point_data(arrays)}{points}</Piece>"
    return _file("StructuredGrid", f"<StructuredGrid WholeExtent={extent}>{piece}</StructuredGrid>", plane)


def _vtp(plane: Plane) -> bytes:
    heights = surface_heights(plane)
    index = np.arange(heights.size).reshape(heights.shape)
    corners = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1).reshape(-1, 4)
    way = trajectory(plane)
    marks = on_surface(plane, heights, np.concatenate([plane.points, way]))
    marks[:, 2] += 0.005 * np.ptp(plane.x)  # a hair above the surface, so that they are seen
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


def _write(path: Path, content: bytes) -> None:
    """Bring the bytes under the name only when all are written."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LandscapeError(f"{path} cannot be written ({error.strerror}). Pass a folder that exists.") from error
