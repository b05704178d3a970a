"""Planes written for other programs, read back without this library."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers.slice_results import make_plane, make_run, with_gaps
from landscape.errors import LandscapeError, MissingExtraError
from landscape.plots import export
from landscape.plots.surface import HEIGHT, on_surface, trajectory

TYPES = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a VTK XML file by name, as the format is documented."""
    root = ElementTree.parse(path).getroot()
    assert root.attrib["byte_order"] == "LittleEndian"
    found: dict[str, np.ndarray] = {}
    for parent in root.iter():
        for node in parent.findall("DataArray"):
            raw = base64.b64decode(node.text or "")
            length = int(np.frombuffer(raw[:8], "<u8")[0])
            assert len(raw) == 8 + length
            values = np.frombuffer(raw[8:], TYPES[node.attrib["type"]])
            parts = int(node.attrib.get("NumberOfComponents", 1))
            name = (
                node.attrib["Name"] if parent.tag in ("PointData", "Points") else f"{parent.tag} {node.attrib['Name']}"
            )
            found[name] = values.reshape(-1, parts) if parts > 1 else values
    return found


def test_a_structured_grid(tmp_path: Path) -> None:
    plane = make_plane(7, 5)
    path = export(plane, tmp_path / "plane.vts")
    root = ElementTree.parse(path).getroot()
    assert root.attrib["type"] == "StructuredGrid"
    assert root[0].attrib["WholeExtent"] == root[0][0].attrib["Extent"] == "0 6 0 4 0 0"
    held = arrays(path)
    np.testing.assert_array_equal(held["points"][:, 0].reshape(5, 7), np.tile(plane.x, (5, 1)))
    np.testing.assert_array_equal(held["points"][:, 1].reshape(5, 7), np.tile(plane.y[:, None], (1, 7)))
    np.testing.assert_array_equal(held["loss"].reshape(5, 7), plane.loss)
    np.testing.assert_array_equal(held["accuracy"].reshape(5, 7), plane.accuracy)
    np.testing.assert_array_equal(held["log10_loss"], np.log10(held["loss"]))
    assert "vtkGhostType" not in held
    z = held["points"][:, 2]
    assert z.min() == 0
    assert z.max() == pytest.approx(HEIGHT * 2)
    np.testing.assert_array_equal(np.argsort(z), np.argsort(held["loss"]))


def test_gaps_keep_their_values_and_are_not_drawn(tmp_path: Path) -> None:
    plane = with_gaps(make_plane())
    grid, poly = arrays(export(plane, tmp_path / "plane.vts")), arrays(export(plane, tmp_path / "plane.vtp"))
    strange = ~np.isfinite(plane.loss).reshape(-1)
    for held in (grid, poly):
        np.testing.assert_array_equal(held["loss"], plane.loss.reshape(-1))
        assert np.isfinite(held["points"]).all()
    np.testing.assert_array_equal(grid["vtkGhostType"], np.where(strange, 2, 0))
    assert not strange[poly["Polys connectivity"]].any()
    # 20 x 20 cells, less 5 rows not measured and 4 x 3 cells at the corner
    assert len(poly["Polys offsets"]) == 20 * 20 - 5 * 20 - 4 * 3


def test_poly_data_holds_the_surface_and_the_training_run(tmp_path: Path) -> None:
    plane = make_run()
    held = arrays(export(plane, tmp_path / "plane.vtp"))
    quads = held["Polys connectivity"].reshape(-1, 4)
    assert len(quads) == 400
    corners = held["points"][quads]
    steps = np.roll(corners, -1, axis=1)[..., :2] - corners[..., :2]
    area = 0.5 * (corners[..., 0] * np.roll(corners[..., 1], -1, 1) - np.roll(corners[..., 0], -1, 1) * corners[..., 1])
    np.testing.assert_allclose(np.abs(steps).max(axis=(1, 2)), 0.1)
    np.testing.assert_allclose(area.sum(1), 0.01, err_msg="each cell is one square, its corners in order")
    marks = held["points"][held["Verts connectivity"]]
    np.testing.assert_array_equal(marks[:, :2], plane.points)
    way = held["points"][held["Lines connectivity"]]
    np.testing.assert_allclose(way[[0, -1], :2], plane.points[[0, -1]])
    assert np.abs(np.diff(way[:, :2], axis=0)).max() <= 0.05 + 1e-12
    surface = on_surface(plane, held["points"][:441, 2].reshape(21, 21), way[:, :2])
    np.testing.assert_allclose(way[:, 2] - surface[:, 2], 0.01)


def test_points_on_the_surface_are_bilinear() -> None:
    plane = make_plane(5, 4)
    heights = 2 + 3 * plane.x + plane.y[:, None] - plane.x * plane.y[:, None]
    points = np.array([[0.3, -0.2], [-1, -1], [1, 1], [0.5, 1]])
    expected = 2 + 3 * points[:, 0] + points[:, 1] - points[:, 0] * points[:, 1]
    np.testing.assert_allclose(on_surface(plane, heights, points)[:, 2], expected)


def test_only_a_run_has_a_way() -> None:
    three = make_plane(directions="toward", points=np.array([[0.0, 0], [1, 0], [0, 1]]))
    assert trajectory(three).shape == (0, 2)
    assert len(trajectory(make_run())) > 6


def test_a_flat_plane(tmp_path: Path) -> None:
    held = arrays(export(make_plane(loss=np.full((21, 21), 0.3)), tmp_path / "flat.vts"))
    assert (held["points"][:, 2] == 0).all()
    assert "log10_loss" not in held


def test_the_page_opens_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="the optional extra 'interactive'")
    for plane in (make_run(), with_gaps(make_plane()), make_plane(loss=np.full((21, 21), 0.3))):
        text = export(plane, tmp_path / "plane.html").read_text()
        assert not re.search(r"<(script|link)[^>]*(src|href)=", text)
        assert "Plotly.newPlot" in text
        assert len(text) > 1_000_000, "plotly itself is in the page"
    assert "component 1: 80.0 %" in (export(make_run(), tmp_path / "run.html")).read_text()


def test_the_page_without_plotly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'landscape-lab\[interactive\]'"):
        export(make_plane(), tmp_path / "plane.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [("plane.stl", "Use one of .vts, .vtp, .html"), ("missing/plane.vts", "there is no folder")],
)
def test_names_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(LandscapeError, match=message):
        export(make_plane(), tmp_path / name)


def test_a_plane_without_numbers(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="no finite loss yet"):
        export(make_plane(loss=np.full((21, 21), np.nan)), tmp_path / "plane.vts")
