"""Every body is what it is said to be: its volume is that of random rays, and torch can differentiate its loss."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from benchmarks.bodies import CATALOGUE, Body, build
from benchmarks.bodies.catalogue import KINDS
from landscape.errors import LandscapeError
from landscape.objective.evaluate import run_backward

RAYS = 3000
SMALL = (
    *("ellipsoid4", "decades3,2", "off-centre3,30,0.9", "off-centre4,1,0.3", "slab5", "slabs4,2,0.1", "wedge3,2"),
    *("halfcut3,2,30", "halfmild4,2,30", "room3", "lp3,0.7", "lp4,4", "cross-polytope4", "cube3,5", "cube4"),
    *("simplex4", "box3", "spike4", "spikes3,0.3,0.9", "funnel4", "two-balls2,1,0.3", "linear-net2"),
    *("off-centre-squared3,30,0.6", "off-centre-log4,9,0.7", "off-centre-lp3,4,30,0.7", "lens4,0.6"),
    "off-centre-cut3,1,30,0.6",
    *("off-centre3,30,0.9@2", "cylinder4,2,0.5"),
)


def first_crossings(body: Body, directions: torch.Tensor) -> np.ndarray:
    """Return the radius along each ray by a march in steps of 10 % and bisection."""

    def inside(radii: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
        points = body.objective.theta + radii[:, None] * directions[rays]
        return torch.from_numpy(body.objective.loss_at(points) < body.cutoff)

    low, rays = torch.zeros(len(directions), dtype=torch.float64), torch.arange(len(directions))
    for radius in 0.01 * 1.1 ** np.arange(90):  # up to 50
        if len(rays) == 0:
            break
        rays = rays[inside(torch.full((len(rays),), radius), rays)]
        low[rays] = radius
    high = (1.1 * low).clamp(min=0.01)
    for _ in range(10):
        middle = (low + high) / 2
        fits = inside(middle, torch.arange(len(low)))
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return low.clamp(max=body.max_radius).numpy()


@pytest.mark.parametrize("name", SMALL)
def test_the_volume_of_a_body_is_that_of_random_rays(name: str) -> None:
    """The mean of r^n over uniform directions, number of rays fixed, gate |z| < 4."""
    body = build(name)
    directions = torch.randn(RAYS, body.n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    radii = first_crossings(body, directions)
    n = body.n
    log_ball = n / 2 * math.log(math.pi) - math.lgamma(n / 2 + 1)
    ratio = radii**n * math.exp(log_ball - body.truth)
    error = ratio.std() / math.sqrt(RAYS)
    assert error < 0.1
    assert abs(ratio.mean() - 1) < 4 * error + 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_of_a_loss_is_that_of_its_differences(name: str) -> None:
    body = build(name)
    generator = torch.Generator().manual_seed(1)
    points, steps = 0.2 * torch.randn(2, 6, body.n, dtype=torch.float64, generator=generator)
    points += body.objective.theta
    losses, gradients = run_backward(body.objective.program, points)
    np.testing.assert_array_equal(losses, body.objective.loss_at(points))
    rises = body.objective.loss_at(points + 1e-6 * steps) - body.objective.loss_at(points - 1e-6 * steps)
    assert rises.any()
    np.testing.assert_allclose((gradients * steps).sum(1), rises / 2e-6, rtol=1e-5, atol=1e-7)


def test_every_family_is_measured_and_checked() -> None:
    families = {family for families in KINDS.values() for family in families}
    for names in (CATALOGUE, SMALL):
        assert {re.sub(r"[\d.,@]*$", "", name) for name in names} == families
    assert len(set(CATALOGUE)) == len(CATALOGUE)


def test_a_body_knows_its_name_its_kind_and_its_dimension() -> None:
    body = build("off-centre20,30,0.6")
    assert (body.name, body.kind, body.n) == ("off-centre20,30,0.6", "off centre", 20)
    assert body.objective.centre == pytest.approx(0.36)  # theta is 0.6 of the way to the wall
    assert (build("off-centre20,30,0.6@3").max_radius, body.max_radius) == (3.0, math.inf)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if "@" in name])
def test_a_cap_that_is_added_lies_beyond_the_body(name: str) -> None:
    """All is outside at the cap, along random rays and along those that go down from there."""
    body = build(name)
    points = torch.randn(64, body.n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(300):
        points *= body.max_radius / torch.linalg.vector_norm(points, dim=1, keepdim=True)
        losses, gradients = run_backward(body.objective.program, points)
        assert losses.min() > body.cutoff
        points -= torch.as_tensor((losses - 1) / gradients.square().sum(1).numpy())[:, None] * gradients / 2


@pytest.mark.parametrize("name", ["halfcut", "no-such-body3", "", "cube3;4"])
def test_an_unknown_body_is_an_error_that_names_the_families(name: str) -> None:
    with pytest.raises(LandscapeError, match=r"The families: ellipsoid, decades, cylinder"):
        build(name)
