"""Every kind of result draws itself, by the functions that ``landscape plot`` uses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from helpers.every_kind import AVERAGE, EXACT, RESULTS, SHOWN, VOLUME, llc
from helpers.figures import assert_nothing_is_cut_off, no_warnings, words
from landscape import plots
from landscape.errors import LandscapeError
from landscape.results import Result

WITHOUT = ("hits", "islands")


def test_the_helper_has_every_kind() -> None:
    kinds = {kind for kind, cls in Result._kinds.items() if cls.__module__.startswith("landscape.")}
    assert {result.kind for result in RESULTS.values()} == kinds - {""}


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in WITHOUT])
def test_every_kind_draws_itself_and_nothing_is_cut_off(name: str) -> None:
    with no_warnings():
        figure = SHOWN[name].plot()
        assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("name", ["volume", "plane", "ranking"])
def test_a_notebook_shows_the_figure(name: str) -> None:
    figure = SHOWN[name].plot()
    data, size = figure._repr_png_()  # type: ignore[attr-defined]
    assert data.startswith(b"\x89PNG")
    assert size["width"] == round(100 * figure.get_size_inches()[0])


@pytest.mark.parametrize("name", WITHOUT)
def test_a_kind_without_a_figure_says_what_has_one(name: str) -> None:
    with pytest.raises(LandscapeError, match=r"there is no figure of \w+: .*plot\(\)\.$"):
        SHOWN[name].plot()


def test_a_result_with_nothing_in_it_says_so() -> None:
    boundary, diagonal, pairs = (RESULTS[name] for name in ("boundary", "diagonal", "eigenpairs"))
    none = np.zeros(0)
    for empty in (
        EXACT,
        replace(VOLUME, results=()),
        replace(boundary, inputs=np.zeros((0, 2)), targets=none, margin=none),  # type: ignore[call-arg]
        replace(diagonal, values=np.full(7, np.nan)),  # type: ignore[call-arg]
        replace(pairs, values=none, residuals=none, converged=none > 0),  # type: ignore[call-arg]
        replace(llc(), samples=np.full(200, np.nan)),
    ):
        with pytest.raises(LandscapeError, match=r"print\(result\) shows all of it"):
            empty.plot()


def test_a_figure_is_chosen_by_name() -> None:
    plane = SHOWN["plane"]
    assert words(plane.plot("contour")) == words(plots.contour_figure(plane))  # type: ignore[arg-type]
    assert words(plane.plot()) == words(plots.filled_figure(plane))  # type: ignore[arg-type]
    with pytest.raises(LandscapeError, match=r"no figure 'top'\. Pass `figure=\.\.\.` as one of contour"):
        plane.plot("top")
    with pytest.raises(LandscapeError, match="no figure 3"):
        plane.plot(3)  # type: ignore[arg-type]


def test_the_answer_of_a_comparison_and_open_ends_are_drawn() -> None:
    figure = SHOWN["comparison"].plot()
    assert "first is larger (settled)" in words(figure)
    assert "cannot tell (settled)" in words(figure)
    (axes,) = figure.axes
    (arrow,) = [line for line in axes.lines if line.get_marker() == "<"]
    assert arrow.get_xdata()[0] == axes.get_xlim()[0]  # type: ignore[index]


def test_a_ranking_is_drawn_best_first_with_its_numbers() -> None:
    ranking = RESULTS["ranking"]
    (axes,) = ranking.plot().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["average-case", "l2-norm *"]
    (good, bad) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (good.get_xdata()[0], bad.get_xdata()[0]) == (0.5, -0.2)  # type: ignore[index]
    assert bad.get_markerfacecolor() == "white"


def test_the_samples_behind_a_mean_are_all_there() -> None:
    trace = RESULTS["trace"]
    (axes,) = trace.plot().axes
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    assert np.array_equal(dots.get_ydata(), trace.samples)  # type: ignore[attr-defined]
    assert "10 ± 0.4" in words(trace.plot())


def test_a_notebook_shows_the_picture_though_pyplot_is_not_there() -> None:
    pytest.importorskip("IPython", reason="a notebook")
    from IPython.core.formatters import DisplayFormatter  # a test of the real thing: no stub of it

    shown, about = DisplayFormatter().format(SHOWN["trace"].plot())
    assert shown["image/png"].startswith(b"\x89PNG")
    assert about["image/png"]["width"] == 640


def test_a_run_of_one_volume_keeps_the_names_of_its_files() -> None:
    assert set(plots.figures_of_run({"volume": RESULTS["volume"]})) == {"weights"}
    assert set(plots.figures_of_run({"annealed": RESULTS["annealed"]})) == {"annealed"}
    assert set(plots.figures_of_run({"laplace": RESULTS["laplace"]})) == {"laplace"}


def test_measures_of_one_net_share_a_figure() -> None:
    run = {"sharpness-a": AVERAGE, "sharpness-b": EXACT}
    assert set(plots.figures_of_run(run)) == {"sharpness"}
    told = words(plots.one_figure(run))
    assert "0.5  estimate" in told
    assert "12.5  exact" in told
    assert "\na\nb\n" in told


def test_a_benchmark_gets_its_family_and_its_ranking_but_no_figure_of_each_net() -> None:
    bench = {"net-a": RESULTS["net"], "net-b": RESULTS["net"], "runs": RESULTS["runs"], "ranking": RESULTS["ranking"]}
    assert set(plots.figures_of_run(bench)) == {"runs", "ranking"}
    assert words(plots.one_figure(bench)) == words(RESULTS["ranking"].plot())
    assert set(plots.figures_of_run({"net-a": RESULTS["net"]})) == {"net-a"}


def test_no_window_and_no_pyplot() -> None:
    code = (
        "import sys, landscape as ls, numpy as np; from landscape.results import Diagonal, NOTHING\n"
        "assert 'matplotlib' not in sys.modules\n"
        "figure = Diagonal(np.ones(3), np.zeros(3), True, 3, {}, NOTHING).plot()\n"
        "print(type(figure).__mro__[1], 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "<class 'matplotlib.figure.Figure'> False"
