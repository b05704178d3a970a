"""What all bodies share: shares of the unit ball between walls, rotations and frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import betainc

from benchmarks.bodies.body import frame, log_share_of_ball, rotation


@pytest.mark.parametrize("n", [3, 4, 30, 200, 5000])
@pytest.mark.parametrize("height", [0.001, 0.1, 0.9])
def test_the_share_between_two_walls_is_a_beta_function(n: int, height: float) -> None:
    """x_1^2 of a uniform point of the ball has the law Beta(1/2, (n + 1) / 2)."""
    expected = math.log(betainc(0.5, (n + 1) / 2, height**2))
    assert log_share_of_ball(n, -height, height) == pytest.approx(expected, abs=1e-7)
    assert log_share_of_ball(n, 0.0, height) == pytest.approx(expected - math.log(2), abs=1e-7)


def test_the_share_between_several_walls_is_that_of_random_points() -> None:
    """Hit or miss, number of points fixed, gate |z| < 4."""
    n, points, low, high = 12, 200_000, np.array([-0.1, -math.inf, 0.05]), np.array([0.3, 0.1, math.inf])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(points, n))
    x *= rng.random((points, 1)) ** (1 / n) / np.linalg.norm(x, axis=1, keepdims=True)
    hits = np.count_nonzero(((low < x[:, :3]) & (x[:, :3] < high)).all(1))
    share = math.exp(log_share_of_ball(n, low, high))
    assert abs(hits - points * share) < 4 * math.sqrt(points * share * (1 - share))


def test_the_share_behind_twenty_walls_through_the_centre_is_two_to_minus_twenty() -> None:
    assert log_share_of_ball(30, np.full(20, -math.inf), 0.0) == pytest.approx(-20 * math.log(2), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 7, 48])
def test_rotations_and_frames_are_orthonormal(n: int) -> None:
    matrix = rotation(n, seed=3)(torch.eye(n, dtype=torch.float64))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(n), atol=1e-12)
    assert n < 7 or matrix.abs().max() < 0.9  # every coordinate is mixed
    columns = frame(n, (n + 1) // 2)
    np.testing.assert_allclose(columns.T @ columns, np.eye((n + 1) // 2), atol=1e-12)
