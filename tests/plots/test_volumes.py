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
from landscape.plots import log_density_curve, volumes_by_estimator
from landscape.results import AnnealedVolume
from landscape.volume import annealed_volume

BODY = ellipsoid(np.array([0.02, 0.1, 1.0, 4.0]))


def annealed(path: str = "radius") -> AnnealedVolume:
    return annealed_volume(BODY, [0.1, 0.4], metric="identity", chains=16, temperatures=8, path=path)


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_log_density_curve_by_radius_is_drawn_against_temperature() -> None:
    volume = annealed()
    top, below = log_density_curve(volume).axes
    assert len(top.lines) == 2
    for column, line in enumerate(top.lines):
        assert line.get_xdata() == pytest.approx(volume.inverse_temperature[:, column])
        assert line.get_ydata() == pytest.approx(volume.log_density[:, column])
    assert len(below.lines) == 4
    assert below.lines[1].get_ydata() == pytest.approx(volume.correlation[:, 0], nan_ok=True)
    assert "inverse temperature" in below.get_xlabel()


@pytest.mark.parametrize("path", ["soft", "growth"])
def test_smooth_paths_are_drawn_against_the_target(path: str) -> None:
    volume = annealed(path)
    top, below = log_density_curve(volume).axes
    assert np.isfinite(top.lines[0].get_ydata()).all()
    assert "smooth path" in below.get_xlabel()
    assert top.lines[0].get_xdata()[-1] == len(volume.log_density) - 1
    assert "learnt" not in top.get_ylabel()
    shaped = replace(volume, config={**volume.config, "preconditioners": ["0a", None]})
    assert "learnt coordinates" in log_density_curve(shaped).axes[0].get_ylabel()


def test_estimators_stand_side_by_side_and_a_bound_is_no_point() -> None:
    volumes = {
        "volume": ls.log_volume(BODY, [0.1], metric="identity", directions=20),
        "annealed": annealed_volume(BODY, [0.1], metric="identity", chains=64, temperatures=100),
        "laplace": ls.log_volume(BODY, [0.1], metric="identity", estimator="laplace"),
    }
    assert [volume.results[0].verdict for volume in volumes.values()] == ["lower bound", "reliable", "approximation"]
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
    chance = ls.log_volume(BODY, [0.1], metric="identity", directions=20, measure="gaussian", sigma=0.5)
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


def test_the_command_draws_chains_and_estimators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ls.Store("run.h5", write=True) as store:
        store["annealed"] = annealed()
    assert run("plot run.h5").stdout.split() == ["run-annealed.png"]
    with ls.Store("run.h5", write=True) as store:
        store["laplace"] = ls.log_volume(BODY, [0.1, 0.4], metric="identity", estimator="laplace")
    assert run("plot run.h5 --format svg").stdout.split() == ["run-volumes.svg", "run-annealed.svg", "run-laplace.svg"]
