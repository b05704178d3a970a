"""Margins have a closed form on simple boundaries; what is kept is not measured again; what is left out is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from landscape.recipes import load_recipe
from landscape.reproduce import basins
from landscape.reproduce.boundaries import good_and_bad, plane_of
from landscape.reproduce.margin import REACH, measure_boundary
from landscape.reproduce.study import Keep, Net, Study, load_nets
from landscape.store import Store
from landscape.training import Member

TINY = Study(
    factors=(0.0, 0.3), seeds=1, steps=60, pixels=21, plane=5, rays=8, cutoffs=(0.1, 1.0), annealed=(), probes=4
)


def margins(logit: Callable[[Tensor], Tensor], points: Any, targets: Any = None, angles: int = 64) -> np.ndarray:
    inputs = torch.tensor(points, dtype=torch.float32)
    wanted = (logit(inputs) > 0).float() if targets is None else torch.tensor(targets)
    return measure_boundary(logit, inputs, wanted, pixels=3, angles=angles).margin


def test_the_margin_of_a_straight_boundary_is_the_distance_to_the_line() -> None:
    normal, offset = torch.tensor([3.0, 4.0]), 2.0
    points = np.random.default_rng(0).uniform(-5, 5, (50, 2)).astype(np.float32)
    exact = np.abs(points @ normal.numpy() + offset) / 5
    found = margins(lambda x: x @ normal + offset, points)
    assert (found >= exact * (1 - 1e-4)).all()
    assert (found <= exact / math.cos(math.pi / 64) * (1 + 1e-3) + 1e-4).all()


def test_the_margin_inside_a_circle_is_the_distance_to_it() -> None:
    found = margins(lambda x: x.square().sum(1) - 4, [[0.0, 0.0], [1.0, 0.0], [0.0, -1.9], [5.0, 0.0]])
    assert found == pytest.approx([2.0, 1.0, 0.1, 3.0], rel=2e-3)


def test_a_point_on_the_wrong_side_has_a_negative_margin_and_one_without_a_boundary_the_reach() -> None:
    assert margins(lambda x: x[:, 0], [[2.0, 0.0], [2.0, 0.0]], [1.0, 0.0]) == pytest.approx([2.0, -2.0], rel=2e-3)
    assert margins(lambda x: torch.ones(len(x)), [[0.0, 0.0]]) == pytest.approx([REACH])


def test_margins_agree_with_the_nearest_point_of_another_class_on_a_fine_grid() -> None:
    def logit(x: Tensor) -> Tensor:
        return x[:, 0].sin() + x[:, 1].cos() - 0.2

    side = np.arange(-7, 7, 0.02)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    classes = (logit(torch.from_numpy(grid)) > 0).numpy()
    points = np.random.default_rng(1).uniform(-3, 3, (20, 2)).astype(np.float32)
    found = margins(logit, points)
    for point, margin in zip(points, found, strict=True):
        own = bool(logit(torch.from_numpy(point[None]))[0] > 0)
        nearest = np.linalg.norm(grid[classes != own] - point, axis=1).min()
        assert abs(nearest - margin) < 0.03


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nets that are trained to the end without poison, and two with poison that are not."""
    out = tmp_path_factory.mktemp("nets")
    recipe = load_recipe("swiss-roll")
    for poison, steps in ((0.0, None), (0.3, 60)):
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
        first = plane_of(nets[0], TINY, Keep(store, made.append))
        again = plane_of(nets[0], TINY, Keep(store, made.append))
        assert made == ["plane-poison-0-seed-0"]
        assert np.array_equal(first.loss, again.loss)
        assert plane_of(nets[0], replace(TINY, span=0.25), Keep(store, made.append)).x[-1] == 0.25
        assert len(made) == 2
        with torch.no_grad():
            next(nets[1].model.parameters()).mul_(1.5)
        moved = replace(nets[1], path=nets[0].path)  # other weights under the same name
        plane_of(moved, replace(TINY, span=0.25), Keep(store, made.append))
        assert len(made) == 3


def test_both_planes_share_their_directions_and_colours(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        panel = good_and_bad([nets[0], nets[2]], TINY, Keep(store))
    assert len(panel.rows) == 2 * 5 * 5
    centre = [row for row in panel.rows if row[1] == row[2] == 0]
    assert [row[3] for row in centre] == pytest.approx([n.summary.train_loss for n in (nets[0], nets[2])], rel=1e-3)
    assert panel.figure is not None
    drawn = [axes.collections[0].norm for axes in panel.figure.axes[2:4]]
    assert (drawn[0].vmin, drawn[0].vmax) == (drawn[1].vmin, drawn[1].vmax)


def test_a_net_above_the_cutoff_is_left_out_of_the_volumes_and_said(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        panel = basins.volume_figure(nets, TINY, Keep(store))
        assert basins.polar_figure([nets[0], nets[2]], TINY, Keep(store)) is None
    assert {row[0] for row in panel.rows} == {"poison-0-seed-0", "poison-0-seed-1"}
    assert "Left out" in panel.caption
    assert "β = 0.3, seed 1" in panel.caption
    assert all(row[-1] == "lower bound" for row in panel.rows)
    # the mark of a lower bound is open and stands at the bound, not at the collapsed estimate
    lines = panel.figure.axes[0].lines if panel.figure else []
    marks = [line for line in lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in marks] == ["white", "white"]
    assert [float(line.get_ydata()[0]) for line in marks] == pytest.approx(
        [row[5] for row in panel.rows if row[2] == 0.1]
    )


def test_the_polar_plot_holds_the_radii_of_the_same_rays(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        panel = basins.polar_figure(nets[:2], TINY, Keep(store))
        radii = basins.radii_of(nets[0], TINY, Keep(store))
    assert panel is not None
    assert radii is not None
    assert [row[1] for row in panel.rows] == radii.radii[:, 0].tolist()


def test_only_the_chosen_factors_are_annealed(nets: list[Net], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(objective: Any, cutoffs: Any, **settings: Any) -> Any:
        assert settings["estimator"] == "annealed"
        return replace(
            basins.volume_from_radii(basins.basin_radii(objective, cutoffs, directions=5)), estimator="annealed"
        )

    monkeypatch.setattr(basins, "log_volume", short)
    with Store(tmp_path / "study.h5", write=True) as store:
        panel = basins.volume_figure(nets, replace(TINY, annealed=(0.0, 0.3)), Keep(store))
    assert [row[0] for row in panel.rows if row[3] == "annealed"] == ["poison-0-seed-0"]
