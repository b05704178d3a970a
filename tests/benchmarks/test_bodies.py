"""The bodies of benchmarks/bodies.py are what they are said to be: their losses and their volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dct

from benchmarks.bodies import CUTOFF, SPIKE, Body, bodies, rotated_ellipsoid

POINTS = 100_000


@pytest.mark.parametrize("n", [1, 2, 5, 6, 501])
def test_the_rotated_ellipsoid_is_a_cosine_transform_away_from_its_axes(n: int) -> None:
    points = torch.randn(4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    signs = np.random.default_rng(3).choice([-1.0, 1.0], size=n)
    along_axes = dct(signs * points.numpy(), norm="ortho")
    objective, log_volume = rotated_ellipsoid(n, seed=3)
    losses = 0.5 * (along_axes**2 / np.arange(1, n + 1)).sum(1)
    np.testing.assert_allclose(objective.loss_at(points), losses, rtol=1e-13)
    axes = np.sqrt(2 * CUTOFF * np.arange(1, n + 1))
    ball = n / 2 * math.log(math.pi) - math.lgamma(n / 2 + 1)
    assert log_volume == pytest.approx(ball + np.log(axes).sum(), abs=1e-9)


@pytest.mark.parametrize("body", bodies(3), ids=lambda body: body.name)
def test_the_volume_of_a_body_is_the_share_of_a_cube_that_rays_see(body: Body) -> None:
    """Hit or miss in three dimensions, n fixed, gate |z| < 4; a point counts if nothing before it on its ray is out."""
    generator = torch.Generator().manual_seed(0)
    reach = 3.0 if body.name == SPIKE else 1.5  # no body leaves the cube of this half-side around its centre
    steps = (2 * torch.rand(POINTS, 3, dtype=torch.float64, generator=generator) - 1) * reach
    inside = torch.linalg.vector_norm(steps, dim=1) <= body.max_radius
    for share in torch.linspace(0.05, 1, 20, dtype=torch.float64):
        points = body.objective.theta + share * steps
        inside &= torch.from_numpy(body.objective.loss_at(points) < body.cutoff)
    hits, chance = int(inside.sum()), math.exp(body.truth) / (2 * reach) ** 3
    assert abs(hits - POINTS * chance) < 4 * math.sqrt(POINTS * chance * (1 - chance))
