"""Coordinates learnt for narrow basins: exact volumes through them, and caps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume
from helpers.maps import STIFF, body_of, skew
from helpers.z_scores import z_of_weights
from landscape.rays import make_metric
from landscape.volume import log_unit_ball
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.proposals.precondition import learn, refined
from landscape.volume.ray_weights.measure import Lebesgue


@pytest.mark.parametrize("n", [5, 40])  # kept as a whole matrix, and as factors
def test_a_linear_map_is_the_matrix_that_it_says(n: int) -> None:
    linear_map = skew(n)
    matrix = torch.eye(n, dtype=torch.float64) + linear_map.left @ linear_map.right.T
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(3, n)))
    assert linear_map.apply(y).numpy() == pytest.approx((y @ matrix.T).numpy())
    assert linear_map.transpose_apply(y).numpy() == pytest.approx((y @ matrix).numpy())
    assert linear_map.log_determinant == pytest.approx(float(torch.linalg.slogdet(matrix)[1]))


def test_the_volume_through_a_linear_map_that_does_not_fit_is_unbiased() -> None:
    """log det A + E[rho^n] at a single draw each: 4,000 rays, z-gate."""
    curvatures = np.array([0.5, 1.0, 3.0, 4.0, 8.0])
    body = body_of(ellipsoid(curvatures), 0.3, first_step=0.01, preconditioner=skew(5))
    y = sphere(torch.from_numpy(np.random.default_rng(2).normal(size=(4000, 5))))
    with body.objective.running():
        points = body.points_at(y)
    weights = 5 * points.log_radius + body.coordinates.log_determinant
    assert abs(z_of_weights(weights, ellipsoid_log_volume(curvatures, 0.3) - log_unit_ball(5))) < 4
    # and r along the same rays in the coordinates of the metric
    phi = sphere(body.coordinates.apply(y)).numpy()
    assert points.log_radius + body.coordinates.log_lengths(y) == pytest.approx(
        0.5 * np.log(0.6 / (phi**2 @ curvatures)), abs=1e-4
    )


def test_the_cap_is_a_sphere_around_theta_in_any_coordinates() -> None:
    """Nothing but the cap bounds it: |A y| rho = R on every ray, and V = ω_n R^n."""
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), torch.zeros(5, dtype=torch.float64))
    body = body_of(flat, 1.0, max_radius=2.0, first_step=0.01, preconditioner=skew(5))
    y = sphere(torch.from_numpy(np.random.default_rng(3).normal(size=(4000, 5))))
    with flat.running():
        points = body.points_at(y)
    assert points.censored.all()
    assert np.exp(points.log_radius + body.coordinates.log_lengths(y)) == pytest.approx(np.full(4000, 2.0))
    assert abs(z_of_weights(5 * points.log_radius + body.coordinates.log_determinant, 5 * math.log(2.0))) < 4


def test_what_is_learnt_makes_an_ellipsoid_round() -> None:
    body = body_of(ellipsoid(STIFF), 0.3, first_step=0.01)
    with body.objective.running():
        learnt = learn(body, 0, 0)
        assert learnt.points is not None
        y = sphere(torch.from_numpy(np.random.default_rng(5).normal(size=(200, 12))))
        assert (12 * learnt.body.points_at(y).log_radius).std() < 2
    assert 12 * np.log(np.sqrt(0.6 / (y.numpy() ** 2 @ STIFF))).std() > 4


def test_nothing_is_learnt_of_a_ball() -> None:
    ball = body_of(ellipsoid(np.ones(6)), 0.3, first_step=0.01)
    with ball.objective.running():
        learnt = learn(ball, 0, 0)
    assert learnt.body is ball
    assert (learnt.points, learnt.body.preconditioner, ball.preconditioner) == (None, None, None)


def test_a_loss_without_a_gradient_is_one_clear_error() -> None:
    closed = ls.Objective.from_function(
        lambda x: (x.detach() ** 2 * torch.from_numpy(STIFF)).sum(-1), torch.zeros(12, dtype=torch.float64)
    )
    with pytest.raises(ls.LandscapeError, match=r"(?s)needs gradients.*none that torch can follow.*uniform"):
        ls.log_volume(closed, [0.3], metric="identity", estimator="annealed", budget=2000)


def test_noise_is_not_taken_for_a_direction() -> None:
    """200 slopes in 600 dimensions: isotropic but for one axis of 100 times the moment."""
    slopes = torch.from_numpy(np.random.default_rng(6).normal(size=(200, 600)))
    slopes[:, 0] *= 10
    change = refined(slopes, 100)
    assert len(change.stretch) == 1
    assert abs(float(change.vectors[0, 0])) > 0.95
    assert float(change.stretch[0]) == pytest.approx(100**-0.25, rel=0.1)


def test_a_first_step_that_was_given_is_one_of_the_metric_in_any_coordinates() -> None:
    """A wall from 0.1 to 0.13, which steps of 0.02 cannot miss: with A = 50 along an axis those are 0.0004 of rho."""

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        return size + 10 * ((size > 0.1) & (size < 0.13))

    body = ls.Objective.from_function(f, torch.zeros(5, dtype=torch.float64))
    reference_rays = ls.basin_radii(body, [1.0], metric="identity", directions=16, first_step=0.02, step_ratio=1.05)
    metric = make_metric("identity", body.theta, body.scope)
    axis = torch.eye(5, dtype=torch.float64)[0]
    wide = LinearMap.identity(axis).compose(axis[:, None], torch.tensor([50.0], dtype=torch.float64))
    star = replace(StarBody.of(body, metric, reference_rays, 1.0, Lebesgue(5, 0.0)), preconditioner=wide)
    with body.running():
        points = star.points_at(sphere(torch.from_numpy(np.random.default_rng(1).normal(size=(40, 5)))))
    lengths = np.exp(star.coordinates.log_lengths(points.phi))
    assert lengths.max() > 20
    assert np.exp(points.log_radius) * lengths == pytest.approx(0.1, rel=2e-3)


def test_learning_keeps_a_first_step_that_was_given() -> None:
    body = ellipsoid(STIFF)
    steps = []
    for given in (0.001, None):
        reference_rays = ls.basin_radii(body, [0.1], metric="identity", directions=16, first_step=given)
        star = StarBody.of(
            body, make_metric("identity", body.theta, body.scope), reference_rays, 0.1, Lebesgue(12, 0.0)
        )
        with body.running():
            learnt = learn(star, 0, 0)
        assert learnt.points is not None
        steps.append((learnt.body.first_step, reference_rays.config["first_step_taken"]))
    assert steps[0] == (0.001, 0.001)
    assert steps[1][0] != steps[1][1]
