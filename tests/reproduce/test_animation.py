"""Animations and the minefield: closed forms on bowls and planes, the Hessian's eigenvalue, and what a GIF holds."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import landscape as ls
from landscape.recipes import load_recipe
from landscape.reproduce.animation import animated_gif, coefficients, direction_of, line_along, line_of
from landscape.reproduce.curvature import eigenpairs_of
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.minefield import embed
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.store import Store
from landscape.training import Member, TrainingSummary

TINY = Study(frames=5, frame_pixels=11, span=0.5)


def test_along_a_line_in_a_bowl_loss_and_curvature_are_known() -> None:
    scales = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    bowl = ls.Objective.from_function(lambda x: (scales * x.square()).sum(-1), torch.zeros(3, dtype=torch.float64))
    way = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    line = line_along(bowl, way, "given", frames=7, span=2.0)
    assert line.x == pytest.approx(np.array([-1, -((2 / 3) ** 5), -((1 / 3) ** 5), 0, (1 / 3) ** 5, (2 / 3) ** 5, 1]))
    assert line.loss == pytest.approx(17 * line.x**2)
    assert line.curvature == pytest.approx(np.full(7, 34.0))


@pytest.fixture(scope="module")
def nets() -> list[Net]:
    """A net of the swiss roll after a few steps, twice."""
    trained = load_recipe("swiss-roll").train(0, steps=200)
    task = load_recipe("swiss-roll").task(0)
    task.model.load_state_dict(trained.state)
    net = Net(Member(0), trained.summary, Path("good.pt"), task.model, task.data, str(task.loss), "swiss-roll")
    return [net, replace(net, path=Path("other.pt"))]


def test_the_second_derivative_along_the_top_eigenvector_is_its_eigenvalue(nets: list[Net], tmp_path: Path) -> None:
    with Store(tmp_path / "study.h5", write=True) as store:
        cache = MeasurementCache(store)
        top = float(eigenpairs_of(nets[0], cache).values[0])
        line = line_of(nets[0], "hessian", TINY, cache)
        random = line_of(nets[0], "random", TINY, cache)
    assert line.curvature[2] == pytest.approx(top, rel=1e-3)
    assert abs(random.curvature[2]) < top


def test_an_animation_has_a_frame_for_each_step_and_ends_elsewhere_than_it_begins(
    nets: list[Net], tmp_path: Path
) -> None:
    study = replace(TINY, span=4.0)
    with Store(tmp_path / "study.h5", write=True) as store:
        cache = MeasurementCache(store)
        lines = [line_of(net, "random", study, cache) for net in nets]
        ways = [direction_of(net, "random", cache) for net in nets]
    image = Image.open(io.BytesIO(animated_gif(nets, lines, ways, "random", study)))
    assert getattr(image, "n_frames", 1) == len(coefficients(5, 4.0)) == 5
    frames = []
    for number in range(5):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")).copy())
    upper = [frame[: len(frame) // 2] for frame in frames]
    assert (upper[0] != upper[2]).any(-1).mean() > 0.05


def test_checkpoints_in_a_plane_keep_their_distances_there() -> None:
    """Four points of a plane in space of three dimensions: nothing is left off it, and shares add up to 1."""
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, bias=False))
    objective = ls.Objective(net, (torch.ones(2, 1), torch.ones(2, 1)), "mse", scope="all")
    ways = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    places = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    thetas = list(objective.theta + places @ ways)
    found = embed(objective, thetas, "digest")
    exact = torch.cdist(torch.stack(thetas), torch.stack(thetas)).numpy()
    mine = np.linalg.norm(found.points[:, None] - found.points[None], axis=-1)
    assert mine == pytest.approx(exact, abs=1e-5)
    assert found.distance == pytest.approx(exact[0], abs=1e-5)
    assert found.off_plane == pytest.approx(np.zeros(4), abs=1e-5)
    assert found.explained.sum() == pytest.approx(1)
    assert found.explained[0] > found.explained[1]


def test_a_net_of_images_is_fitted_from_99_per_cent_and_one_of_the_spirals_when_all_are_right(nets: list[Net]) -> None:
    def fitted(recipe: str, accuracy: float) -> bool:
        summary = TrainingSummary(accuracy, 0.5, 0.01, 0.1, 0, 10, 1.0)
        return replace(nets[0], recipe=recipe, summary=summary).fitted

    assert [fitted("mnist", 0.989), fitted("mnist", 0.99)] == [False, True]
    assert [fitted("swiss-roll", 0.995), fitted("swiss-roll", 1.0)] == [False, True]
