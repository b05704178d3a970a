"""Figures of log-volumes show what the results hold."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import landscape as ls
from helpers.bodies import ellipsoid
from helpers.commands import run
from landscape.plots import rounds_of_islands, volumes_by_estimator
from landscape.results import AnnealedVolume

BODY = ellipsoid(np.array([0.02, 0.1, 1.0, 4.0]))


def annealed(cap: float | None = None) -> AnnealedVolume:
    """Three rounds at one cutoff and one at another, made up, under a cap or without."""
    uniform = ls.log_volume(BODY, [0.1, 0.4], estimator="uniform", metric="identity", directions=20, max_radius=cap)
    settled = replace(uniform.results[0], verdict="settled", interval=(-1.0, 1.0), log_volume=0.2)
    trail = np.array(
        [
            [0, 1.0, 20, -1.0, 0.9, 1.5, 0.3, 1.0],
            [0, 2.0, 40, -0.2, 0.6, np.inf, 0.2, 1.0],
            [0, 4.0, 80, 0.2, 0.4, 0.6, 0.1, 1.0],
            [1, 1.0, 30, 2.0, 0.7, 2.5, 0.1, 1.0],
        ]
    )
    rows = (settled, replace(uniform.results[1], cutoff=0.4))
    return AnnealedVolume(rows, np.zeros((8, 2)), "annealed", 4, 8, uniform.config, uniform.cost, trail)


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("cap", [None, 3.0])
def test_rounds_are_drawn_out_and_back_against_their_levels(cap: float | None) -> None:
    volume = annealed(cap)
    (axes,) = rounds_of_islands(volume).axes
    ball = volume.log_cap_ball if cap else 0.0
    out, back, other, _ = axes.lines
    assert out.get_xdata().tolist() == [20, 40, 80]
    assert out.get_ydata() == pytest.approx(np.array([-1.0, -0.2, 0.2]) - ball)
    assert back.get_xdata().tolist() == [20, 80]  # a way back that failed is not drawn
    assert other.get_xdata().tolist() == [30]
    assert out.get_label() == "0.1, out (settled)"
    assert axes.get_ylabel() == ("nats below the ball of radius 3" if cap else "log V, nats")


def test_estimators_stand_side_by_side_and_a_bound_is_no_point() -> None:
    volumes = {
        "volume": ls.log_volume(BODY, [0.1], estimator="uniform", metric="identity", directions=20),
        "annealed": replace(annealed(), results=annealed().results[:1]),
        "laplace": ls.log_volume(BODY, [0.1], metric="identity", estimator="laplace"),
    }
    assert [volume.results[0].verdict for volume in volumes.values()] == ["lower bound", "settled", "approximation"]
    figure = volumes_by_estimator(volumes)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["uniform", "annealed", "laplace"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(points) == 2
    row, bound = volumes["annealed"].results[0], volumes["volume"].results[0]
    assert float(points[0].get_xdata()[0]) == pytest.approx(row.log_volume)
    words = [text for text in labels(figure) if text]
    assert words[0] == f">= {bound.bound:.1f} nats (log10 V >= {bound.bound / math.log(10):.2f})  lower bound"
    assert axes.get_xlabel() == "log V, nats (an arrow begins at a lower bound)"
    chance = ls.log_volume(
        BODY, [0.1], estimator="uniform", metric="identity", directions=20, measure="gaussian", sigma=0.5
    )
    drawn = volumes_by_estimator({"volume": chance})
    assert "log P under N(0, 0.5²), nats" in drawn.axes[0].get_xlabel()
    with pytest.raises(ls.LandscapeError, match="no log-volumes"):
        volumes_by_estimator({})


def test_with_a_cap_the_figure_counts_nats_below_its_ball() -> None:
    """A disc of radius 2 under the cap 4 is 2 log 2 below its ball; rays without length have no bound."""
    disc = ls.volume_from_radii(np.full(200, 2.0), n=2, max_radius=4.0, cutoffs=[0.1])
    nothing = ls.volume_from_radii(np.zeros(200), n=2, max_radius=4.0, cutoffs=[0.1])
    (axes,) = volumes_by_estimator({"disc": disc, "nothing": nothing}).axes
    assert axes.get_xlabel() == "nats below the ball of radius 4 (an arrow begins at a lower bound)"
    (point,) = [line for line in axes.lines if line.get_marker() == "o"]
    x = float(point.get_xdata()[0])
    assert x == pytest.approx(-2 * math.log(2))
    assert axes.xaxis.get_major_formatter()(x, 0) == "1.38629"
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        "1.39 nats (log10 V 1.10)  reliable",
        "no bound",
    ]


def test_the_command_draws_islands_and_estimators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ls.Store("run.h5", write=True) as store:
        store["annealed"] = annealed()
    assert run("plot run.h5").stdout.split() == ["run-annealed.png"]
    with ls.Store("run.h5", write=True) as store:
        store["laplace"] = ls.log_volume(BODY, [0.1, 0.4], metric="identity", estimator="laplace")
    assert run("plot run.h5 --format svg").stdout.split() == ["run-volumes.svg", "run-annealed.svg", "run-laplace.svg"]
