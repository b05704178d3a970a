"""Figures of slices: what a reader must find on them, and nothing cut off."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers.figures import assert_nothing_is_cut_off, assert_tick_labels_stay_apart, laid_out, no_warnings, words
from helpers.slice_results import make_line, make_plane, make_run, with_gaps
from landscape import plots
from landscape.results import Line, Plane

FLAT = np.full((21, 21), 0.3)
THREE = np.array([[0, 0], [0.8, 0], [0.3, 0.9]])
BENT = {"metric": "filter", "eigenvalues": [4.0249, 0.0333], "converged": [True, False]}
RESULTS: dict[str, Line | Plane] = {
    "hessian line": make_line(direction="hessian", config={**BENT, "converged": [False]}),
    "hessian": make_plane(directions="hessian", config=BENT),
    "line": make_line(),
    "line of one panel": make_line(accuracy=np.full(21, np.nan), curvature=np.full(21, np.nan)),
    "line toward": make_line(direction="toward", points=np.array([0.0, 1.0]), x=np.linspace(-0.2, 1.2, 21), config={}),
    "line with gaps": make_line(loss=np.where(np.arange(21) > 15, np.nan, 2.0 + np.arange(21))),
    "line of zeros": make_line(loss=np.where(np.arange(21) < 10, 0.0, 10.0 ** np.arange(21))),
    "flat line": make_line(loss=np.full(21, 0.5)),
    "line not begun": make_line(loss=np.full(21, np.nan), done=np.zeros(21, dtype=bool)),
    "plane": make_plane(),
    "li2018": make_plane(directions="li2018", config={}),
    "given": make_plane(directions="given", config={}),
    "identity": make_plane(config={"metric": "identity"}),
    "run": make_run(),
    "long run": make_run(x=np.linspace(-1, 40, 21)),
    "toward": make_plane(directions="toward", points=THREE, config={"orthogonal": True}),
    "gaps": with_gaps(make_plane()),
    "deep": make_plane(loss=10.0 ** make_plane().loss / 1e9),
    "zeros": make_plane(loss=np.maximum(make_plane().loss - 0.5, 0)),
    "negative": make_plane(loss=make_plane().loss - 7),
    "flat": make_plane(loss=FLAT, accuracy=np.full((21, 21), np.nan)),
    "nowhere a number": make_plane(loss=FLAT * np.nan, accuracy=FLAT * np.nan),
    "one row": make_plane(done=np.arange(21) < 1, loss=np.where(np.arange(21)[:, None] < 1, FLAT, np.nan)),
}
RENAMED = ("li2018", "given", "identity")


@cache
def drawn(name: str) -> dict[str, Figure]:
    """The figures of a result, which tests only look at."""
    return plots.figures_of(RESULTS[name])


@pytest.mark.parametrize("name", RESULTS)
def test_every_figure_is_drawn_and_nothing_is_cut_off(name: str) -> None:
    with no_warnings():
        # these differ from "plane" in the title and the names of the axes alone, which all four figures have
        figures = {"filled": plots.filled_figure(RESULTS[name])} if name in RENAMED else drawn(name)
        assert figures
        for figure in figures.values():
            assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("span", [1.0, 0.02, 0.00037, 40.0])
def test_tick_labels_do_not_run_into_each_other(span: float) -> None:
    figure = plots.filled_figure(make_plane(x=np.linspace(-span, span, 21), y=np.linspace(-span, span, 21)))
    assert_tick_labels_stay_apart(figure, least=3)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_every_format_is_written(tmp_path: Path, suffix: str) -> None:
    for name in ("filled", "surface"):
        plots.save(drawn("run")[name], tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"{name}.{suffix}").stat().st_size > 2000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("line", ["loss, log scale", "accuracy", "second derivative", "1 = each filter's own norm", "n = 12,345"]),
        ("line toward", ["this checkpoint", "the other", "Euclidean distance 3"]),
        ("line with gaps", ["NaN or infinite (5 points)"]),
        ("line not begun", ["0 of 21 points measured so far"]),
        (
            "plane",
            [
                "\n0.1\n",
                "\n1\n",
                "\n10\n",
                "loss, log scale",
                "21 × 21 points",
                "1 = each filter's own norm",
                "this checkpoint",
            ],
        ),
        ("identity", ["Euclidean distance"]),
        ("run", ["component 1: 80.0 % of the variance", "component 2: 12.3 %", "at most 0.072 off the plane"]),
        ("toward", ["toward checkpoint 2", "less its part along x", "checkpoint 3"]),
        (
            "hessian",
            [
                "the top two eigenvectors of the Hessian",
                "eigenvector 1, eigenvalue 4.02\n(1 = filters' norms on average)",
                "eigenvector 2, NOT converged\n(1 = filters' norms on average)",
            ],
        ),
        ("hessian line", ["x along Hessian eigenvector 1, NOT converged\n"]),
        ("gaps", ["16 of 21 rows measured so far", "NaN or infinite"]),
    ],
)
def test_a_figure_says_what_it_shows(name: str, expected: list[str]) -> None:
    figures = drawn(name)
    told = words(figures.get("filled") or figures["line"])
    for text in expected:
        assert text in told, told


def test_the_surface_counts_what_it_leaves_out_and_cuts() -> None:
    assert "12 points are NaN or infinite and left out" in words(drawn("gaps")["surface"])
    assert "are drawn at" in words(drawn("deep")["surface"])
    assert "drawn at" not in words(drawn("plane")["surface"])


@pytest.mark.parametrize("size", [21, 151])
def test_a_facet_that_looks_higher_is_higher(size: int) -> None:
    """The lightness of a facet never falls as its mean height grows, and marks do not count."""
    x = np.linspace(-1, 1, size)
    loss = 10.0 ** (1.5 * np.sin(5 * x) * np.cos(4 * x[:, None]))
    figure = plots.surface_figure(make_plane(size, size, loss=loss))
    (surface,) = figure.axes[0].collections
    laid_out(figure)
    facets = surface.get_paths()  # as they are drawn: the one furthest away first
    colours = surface._original_facecolor if hasattr(surface, "_original_facecolor") else surface.get_facecolor()
    lightness = np.asarray(colours)[:, :3] @ [0.2126, 0.7152, 0.0722]
    every = -(-(size - 1) // 100)
    patches = [
        np.log10(loss[i : i + every + 1, j : j + every + 1]).mean()
        for i in range(0, size - 1, every)
        for j in range(0, size - 1, every)
    ]
    assert len(facets) == len(lightness) == len(patches)
    assert (np.diff(lightness[np.argsort(patches)]) > -1e-9).all()


def test_the_trained_point_is_marked_on_the_surface_at_its_height() -> None:
    axes: Any = plots.surface_figure(make_plane(loss=np.full((21, 21), 3.0) + np.linspace(0, 2, 21))).axes[0]
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    x, y, z = (float(values[0]) for values in star.get_data_3d())
    assert (x, y) == (0, 0)
    assert 4.0 < z < 4.05
    told = words(drawn("run")["surface"])
    assert "this checkpoint" in told
    assert "training run" in told


def test_decades_are_the_ticks_of_log_surfaces_and_colour_bars() -> None:
    plane = make_plane()  # 0.01 to 32
    axes: Any = plots.surface_figure(plane).axes[0]
    assert axes.get_zticks().tolist() == [-2, -1, 0, 1]
    bar = plots.filled_figure(plane).axes[1]
    assert bar.get_yticks().tolist() == [-2, -1, 0, 1]
    narrow = plots.filled_figure(make_plane(loss=np.linspace(0.3, 6, 441).reshape(21, 21))).axes[1]
    shown = [label.get_text() for label in narrow.get_yticklabels()]
    assert shown == ["0.5", "1", "2", "5"]


def test_the_title_names_the_checkpoint_if_it_is_known() -> None:
    config = {"metric": "filter", "checkpoint": "nets/good.pt"}
    for result in (make_line(config=config), make_plane(config=config)):
        for figure in plots.figures_of(result).values():
            assert "nets/good.pt" in words(figure)
            assert_nothing_is_cut_off(figure)


def test_the_picture_is_not_transposed_or_mirrored() -> None:
    """The lowest loss lies at x = 0.2, y = -0.5: the darkest pixels must be there."""
    x, y = np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)
    plane = make_plane(41, 41, loss=1 + (x - 0.2) ** 2 + (y[:, None] + 0.5) ** 2)
    figure = plots.filled_figure(plane)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(float)
    axes = figure.axes[0]

    def colour(at: tuple[float, float]) -> float:
        column, row = axes.transData.transform(at)
        return float(pixels[int(pixels.shape[0] - row), int(column)].sum())

    found: dict[Any, float] = {
        at: colour(at) for at in [(0.2, -0.5), (-0.5, 0.2), (0.2, 0.5), (-0.2, -0.5), (-0.2, 0.5)]
    }
    assert min(found, key=lambda at: found[at]) == (0.2, -0.5)
