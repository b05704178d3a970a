"""Figures of the study: a stored measurement is not repeated, colours are shared, and nets left out are listed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.studies import TINY
from landscape.recipes import load_recipe
from landscape.reproduce import basin, volume
from landscape.reproduce.boundaries import boundaries_figure, plane_of
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net, load_nets
from landscape.store import Store
from landscape.training import Member


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nets that are trained to the end without poison, and two with poison that are not."""
    out = tmp_path_factory.mktemp("nets")
    recipe = load_recipe("swiss-roll")
    for poison, steps in ((0.0, 1000), (0.3, 60)):
        members = [Member(seed, poison) for seed in (0, 1)]
        for member, trained in zip(members, recipe.training(members, steps=steps).run(), strict=True):
            trained.save(out / f"poison-{poison:g}-seed-{member.seed}.pt")
    return out


@pytest.fixture
def nets(folder: Path) -> list[Net]:
    return load_nets(folder, replace(TINY, seeds=2))


def test_a_net_is_read_with_its_weights_and_numbers(nets: list[Net]) -> None:
    net = nets[0]
    inputs, targets = net.data
    right = ((net.model(inputs)[:, 0] > 0) == (targets > 0.5)).double().mean()
    assert float(right) == net.summary.train_accuracy == 1
    assert net.objective.dimension == 3457
    assert net.fitted
    assert not nets[-1].fitted
    assert net.gap == pytest.approx(1 - net.summary.test_accuracy)


def test_a_measurement_is_made_once_and_again_for_other_settings_or_weights(nets: list[Net], tmp_path: Path) -> None:
    made: list[str] = []
    with Store(tmp_path / "study.h5", write=True) as store:
        first = plane_of(nets[0], TINY, MeasurementCache(store, made.append))
        again = plane_of(nets[0], TINY, MeasurementCache(store, made.append))
        assert made == ["plane-poison-0-seed-0"]
        assert np.array_equal(first.loss, again.loss)
        assert plane_of(nets[0], replace(TINY, span=0.25), MeasurementCache(store, made.append)).x[-1] == 0.25
        assert len(made) == 2
        with torch.no_grad():
            next(nets[1].model.parameters()).mul_(1.5)
        moved = replace(nets[1], path=nets[0].path)  # other weights under the same name
        plane_of(moved, replace(TINY, span=0.25), MeasurementCache(store, made.append))
        assert len(made) == 3


def test_both_planes_share_their_directions_and_colours(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        figure = boundaries_figure([nets[0], nets[2]], TINY, MeasurementCache(store))
    assert len(figure.rows) == 2 * 5 * 5
    centre = [row for row in figure.rows if row[1] == row[2] == 0]
    assert [row[3] for row in centre] == pytest.approx([n.summary.train_loss for n in (nets[0], nets[2])], rel=1e-3)
    assert figure.figure is not None
    drawn = [axes.collections[0].norm for axes in figure.figure.axes[2:4]]
    assert (drawn[0].vmin, drawn[0].vmax) == (drawn[1].vmin, drawn[1].vmax)
    figure.figure.draw_without_rendering()
    above, below = (figure.figure.axes[row].get_position() for row in (0, 2))
    assert 0 < above.y0 - below.y1 < 0.05, "no gap between the boundaries and the planes"


def test_a_net_above_the_cutoff_is_left_out_of_the_volumes_and_said(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        figure = volume.volume_figure(nets, TINY, MeasurementCache(store))
        assert basin.basin_figure([nets[0], nets[2]], TINY, MeasurementCache(store)) is None
    assert {row[0] for row in figure.rows} == {"poison-0-seed-0", "poison-0-seed-1"}
    assert "Left out" in figure.caption
    assert "β = 0.3, seed 1" in figure.caption
    assert all(row[-1] == "lower bound" for row in figure.rows)
    # the mark of a lower bound is open and stands at the bound, not at the collapsed estimate
    lines = figure.figure.axes[0].lines if figure.figure else []
    marks = [line for line in lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in marks] == ["white", "white"]
    assert [float(line.get_ydata()[0]) for line in marks] == pytest.approx(
        [row[5] for row in figure.rows if row[2] == 0.1]
    )


def test_volumes_of_nets_that_are_all_fitted_end_with_the_larger_basin(nets: list[Net], tmp_path: Path) -> None:
    """Both are the same net here, under two poison factors, so that bounds cannot tell which is larger."""
    first = nets[0]
    member = replace(first.member, poison=0.5)
    second = replace(first, member=member, summary=replace(first.summary, poison=0.5), path=tmp_path / "wide.pt")
    with Store(tmp_path / "study.h5", write=True) as store:
        figure = volume.volume_figure([first, second], TINY, MeasurementCache(store))
    assert "No net is left out." in figure.caption
    assert "Larger basin at cutoff 0.1, β = 0 or 0.5: cannot tell. Rank" in figure.caption


def test_the_polar_plot_holds_the_radii_of_the_same_rays(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        figure = basin.basin_figure(nets[:2], TINY, MeasurementCache(store))
        radii = basin.radii_of(nets[0], TINY, MeasurementCache(store))
    assert figure is not None
    assert radii is not None
    assert [row[1] for row in figure.rows] == radii.radii[:, 0].tolist()


def test_only_the_chosen_factors_are_annealed(nets: list[Net], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(objective: Any, cutoffs: Any, **settings: Any) -> Any:
        assert settings["estimator"] == "annealed"
        return replace(
            volume.volume_from_radii(basin.basin_radii(objective, cutoffs, directions=5)), estimator="annealed"
        )

    monkeypatch.setattr(volume, "log_volume", short)
    with Store(tmp_path / "study.h5", write=True) as store:
        figure = volume.volume_figure(nets, replace(TINY, annealed=(0.0, 0.3)), MeasurementCache(store))
    assert [row[0] for row in figure.rows if row[3] == "annealed"] == ["poison-0-seed-0"]
