"""Figures of curvature: what a reader must find on them, nothing cut off, and readable in grey."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers.curvature_results import OP, make_density, make_traces, results
from helpers.figures import assert_nothing_is_cut_off, assert_tick_labels_stay_apart, no_warnings, words
from helpers.spectra import Spectrum
from landscape import plots
from landscape.curvature import spectral_density, top_eigenpairs
from landscape.results import Eigenpairs, LayerTraces, SpectralDensity

MADE = results()
PAIRS = top_eigenpairs(OP, 5)
SOME: Any = MADE["unconverged"]
RNG = np.random.default_rng(0)
RESULTS: dict[str, SpectralDensity | LayerTraces | Eigenpairs] = {
    "eigenpairs": PAIRS,
    "unconverged": SOME,
    "smallest": top_eigenpairs(OP, 3, which="smallest"),
    "log": top_eigenpairs(Spectrum(10.0 ** np.arange(6)), 6),
    "one": top_eigenpairs(OP, 1),
    "zero pairs": top_eigenpairs(Spectrum(np.zeros(9)), 3),
    "layers": make_traces(np.array([3.0, 4.0, 2.0, 5.0])),
    "decades": make_traces(10.0 ** np.arange(5)),
    "signs": make_traces(np.array([3.0, -1.0, 0.0, 0.2])),
    "one tensor": make_traces(np.array([3.0])),
    "long names": make_traces(np.arange(1.0, 5.0), ["transformer.encoder.layers.0.self_attention.in_proj_weight"] * 4),
    "many": make_traces(RNG.uniform(1, 5, 150)),
    "exact layers": make_traces(np.array([3.0, 4.0]), exact=True, standard_errors=np.zeros(2)),
    "zero layers": make_traces(np.zeros(3)),
    "density": spectral_density(OP, 5, 40),
    "exact": spectral_density(OP, 120, 40),
    "identity": spectral_density(Spectrum(np.full(50, 3.0)), 4),
    "zero": spectral_density(Spectrum(np.zeros(50)), 4),
    "wide": make_density(RNG.standard_normal((4, 60)) * np.append(np.ones(59), 1e4), np.full((4, 60), 1 / 60)),
    "tiny": make_density(1e-7 * RNG.standard_normal((4, 60)), np.full((4, 60), 1 / 60)),
}


@cache
def drawn(name: str) -> dict[str, Figure]:
    """The figures of a result, which tests only look at."""
    return plots.figures_of(RESULTS[name], PAIRS if name in ("density", "exact") else None)


@pytest.mark.parametrize("name", RESULTS)
def test_every_figure_is_drawn_and_nothing_is_cut_off(name: str) -> None:
    figures = drawn(name)
    assert figures
    with no_warnings():
        for figure in figures.values():
            assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("name", RESULTS)
def test_tick_labels_do_not_run_into_each_other(name: str) -> None:
    for figure in drawn(name).values():
        assert_tick_labels_stay_apart(figure, least=1)


@pytest.mark.parametrize("name", RESULTS)
def test_every_figure_is_grey(name: str) -> None:
    """Nothing is told by hue: what is different differs in lightness, fill or shape."""
    for figure in drawn(name).values():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        red, green, blue, _ = np.moveaxis(np.asarray(canvas.buffer_rgba()), -1, 0)
        assert (red == green).all()
        assert (green == blue).all()
        assert red.min() < 50


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eigenpairs", ["5 largest eigenvalues of the Dense operator", "all converged", "± residual", "n = 120"]),
        ("unconverged", ["of 4 NOT converged", "an eigenvalue lies within the bar"]),
        ("smallest", ["most negative"]),
        ("log", ["eigenvalue, log scale"]),
        (
            "layers",
            ["Trace of the Hessian by parameter tensor", "30 probes, bars ± standard error", "all 14", "layer3.weight"],
        ),
        ("decades", ["trace, log scale", "trace / entries, log scale"]),
        ("many", ["the 90 smallest left out"]),
        ("exact layers", ["exact, by unit vectors"]),
        (
            "density",
            [
                "5 probes of 40 Lanczos steps",
                "standard error between probes",
                "the 5 largest eigenvalues",
                "log scale",
                "below 0",
            ],
        ),
        ("exact", ["120 unit vectors"]),
        ("wide", ["log scale beyond", "Gauss-Newton matrix in filter metric", "n = 1,000,000"]),
        ("zero", ["0 to rounding: 100.0 %"]),
    ],
)
def test_a_figure_says_what_it_shows(name: str, expected: list[str]) -> None:
    (figure,) = drawn(name).values()
    told = words(figure)
    for text in expected:
        assert text in told, told


def test_what_did_not_converge_is_hollow() -> None:
    (figure,) = plots.figures_of(RESULTS["density"], SOME).values()
    faces = {
        line.get_markerfacecolor(): len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "v"
    }
    assert faces["white"] == (~SOME.converged).sum() > 0
    assert sum(faces.values()) == 4
    (figure,) = drawn("unconverged").values()
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in hollow) == (~SOME.converged).sum()


def test_the_bars_are_the_numbers() -> None:
    traces = RESULTS["signs"]
    assert isinstance(traces, LayerTraces)
    (figure,) = drawn("signs").values()
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == traces.values.tolist()  # type: ignore[attr-defined]
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], traces.values / traces.sizes)  # type: ignore[attr-defined]
    assert left.get_ylim()[0] > left.get_ylim()[1], "the first tensor is on top"


def test_the_curve_is_the_density() -> None:
    density = RESULTS["density"]
    assert isinstance(density, SpectralDensity)
    (figure,) = drawn("density").values()
    curve = figure.axes[0].lines[0]
    np.testing.assert_array_equal(curve.get_xdata(), density.grid())
    np.testing.assert_array_equal(curve.get_ydata(), density.density())
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_every_format_is_written(tmp_path: Path, suffix: str) -> None:
    for name in ("eigenpairs", "layers", "density"):
        for kind, figure in drawn(name).items():
            plots.save(figure, tmp_path / f"{kind}.{suffix}")
            assert (tmp_path / f"{kind}.{suffix}").stat().st_size > 2000


def test_a_figure_names_the_net_that_the_file_knows() -> None:
    for name in ("eigenpairs", "layers", "density"):
        result = RESULTS[name]
        path = "runs/of/a/long/experiment/poison-0.4-seed-3/" * 2 + "ckpt.pt"
        known = replace(result, config={**result.config, "checkpoint": path, "scope": "weights"})
        (figure,) = plots.figures_of(known).values()
        told = words(figure)
        assert "on-0.4-seed-3/ckpt.pt, scope weights, n = " in told
        (before,) = plots.figures_of(result).values()
        assert "ckpt.pt" not in words(before)
