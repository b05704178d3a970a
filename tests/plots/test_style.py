"""Colours and files of all figures: told apart in greyscale, written without a display."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure

from helpers.slice_results import make_plane
from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots import style
from landscape.plots.style import COLOURS, cutoff_styles, save, shades


def small_figure() -> Figure:
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    for cutoff, colour, line in cutoff_styles([0.1, 1.0]):
        axes.axhline(cutoff, color=colour, linestyle=line)
    return figure


def test_colours_are_read_in_greyscale() -> None:
    """The luminance (Rec. 709, linear light) rises all along the colour map."""
    rgb = colormaps[COLOURS](np.linspace(0, 1, 64))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    lightness = 116 * np.cbrt(luminance) - 16
    assert np.ptp(np.diff(lightness)[2:-2]) < 1.0, "even steps of lightness"


def test_colours_get_lighter_with_the_cutoff() -> None:
    """In greyscale too the cutoffs are told apart: their luminance rises in even steps, far from white."""
    grey = np.array(shades(5))[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert np.diff(grey).min() > 0.08
    assert grey.max() < 0.75


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files_of_each_format(tmp_path: Path, ending: str, magic: bytes) -> None:
    path = tmp_path / "new" / f"figure.{ending}"
    save(small_figure(), path)
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_file_is_drawn_once_and_is_the_one_of_matplotlib(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> tuple[bytes, int]:
        """The file, and how often its background was drawn."""
        figure, count = plots.filled_figure(make_plane()), 0
        draw = figure.patch.draw

        def counted(*args: object) -> None:
            nonlocal count
            count += 1
            draw(*args)

        figure.patch.draw = counted  # type: ignore[method-assign]
        with mpl.rc_context({"svg.hashsalt": "same"}):
            figure.savefig(file := io.BytesIO(), format=ending, metadata={"Date": None} if ending == "svg" else None)
        return file.getvalue(), count

    ours, drawn = written()
    monkeypatch.setattr(style.Figure, "draw", Figure.draw)
    assert (ours, drawn) == (written()[0], 1)


def test_an_unwritable_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LandscapeError, match="cannot be written"):
        save(small_figure(), tmp_path / "file" / "figure.png")


def test_the_global_state_of_matplotlib_stays_as_it_was(tmp_path: Path) -> None:
    settings, backend = dict(mpl.rcParams), mpl.get_backend()
    save(small_figure(), tmp_path / "all.png")
    assert dict(mpl.rcParams) == settings
    assert mpl.get_backend() == backend
