"""Margins have a closed form on simple boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from landscape.reproduce.decision_boundary import FARTHEST, measure_boundary


def margins(logit: Callable[[Tensor], Tensor], points: Any, targets: Any = None, angles: int = 64) -> np.ndarray:
    inputs = torch.tensor(points, dtype=torch.float32)
    wanted = (logit(inputs) > 0).float() if targets is None else torch.tensor(targets)
    return measure_boundary(logit, inputs, wanted, pixels=3, angles=angles).margin


def test_the_margin_of_a_straight_boundary_is_the_distance_to_the_line() -> None:
    normal, offset = torch.tensor([3.0, 4.0]), 2.0
    points = np.random.default_rng(0).uniform(-5, 5, (50, 2)).astype(np.float32)
    exact = np.abs(points @ normal.numpy() + offset) / 5
    distances = margins(lambda x: x @ normal + offset, points)
    assert (distances >= exact * (1 - 1e-4)).all()
    assert (distances <= exact / math.cos(math.pi / 64) * (1 + 1e-3) + 1e-4).all()


def test_the_margin_inside_a_circle_is_the_distance_to_it() -> None:
    distances = margins(lambda x: x.square().sum(1) - 4, [[0.0, 0.0], [1.0, 0.0], [0.0, -1.9], [5.0, 0.0]])
    assert distances == pytest.approx([2.0, 1.0, 0.1, 3.0], rel=2e-3)


def test_a_point_on_the_wrong_side_has_a_negative_margin_and_one_without_a_boundary_the_reach() -> None:
    assert margins(lambda x: x[:, 0], [[2.0, 0.0], [2.0, 0.0]], [1.0, 0.0]) == pytest.approx([2.0, -2.0], rel=2e-3)
    assert margins(lambda x: torch.ones(len(x)), [[0.0, 0.0]]) == pytest.approx([FARTHEST])


def test_margins_agree_with_the_nearest_point_of_another_class_on_a_fine_grid() -> None:
    def logit(x: Tensor) -> Tensor:
        return x[:, 0].sin() + x[:, 1].cos() - 0.2

    side = np.arange(-7, 7, 0.02)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    classes = (logit(torch.from_numpy(grid)) > 0).numpy()
    points = np.random.default_rng(1).uniform(-3, 3, (20, 2)).astype(np.float32)
    distances = margins(logit, points)
    for point, margin in zip(points, distances, strict=True):
        own = bool(logit(torch.from_numpy(point[None]))[0] > 0)
        nearest = np.linalg.norm(grid[classes != own] - point, axis=1).min()
        assert abs(nearest - margin) < 0.03
