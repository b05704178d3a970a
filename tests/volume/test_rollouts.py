"""Radii from published rollouts: made ones with a closed form, and the paper authors' own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io

import landscape as ls
from landscape.results import RayStatus

DATA = Path(__file__).parents[3] / "shared" / "data" / "huang2019_rollouts"
SVHN_WEIGHTS = 268_336


def test_both_sides_of_a_line_and_a_centre_on_the_grid() -> None:
    grid = np.linspace(-1, 1, 21)
    curvature = np.array([[4.0], [16.0]])
    found = ls.radii_from_rollouts(grid, curvature * grid**2, [0.1, 1.0])
    assert found.radii.shape == (4, 2)
    # log-linear interpolation between grid points: within the cell that holds the crossing
    truth = np.sqrt(np.array([0.1, 1.0]) / np.tile(curvature, (2, 1)))
    assert ((found.lower <= truth + 1e-12) & (truth <= found.upper + 1e-12)).all()
    np.testing.assert_allclose(found.radii, truth, atol=0.1)


def test_log_linear_interpolation_is_exact_for_an_exponential() -> None:
    grid = np.linspace(0.1, 1, 10)
    found = ls.radii_from_rollouts(grid, np.exp(3 * grid)[None, :], [2.0, 5.0])
    np.testing.assert_allclose(found.radii[0], np.log([2.0, 5.0]) / 3, rtol=1e-12)


def test_what_the_grid_cannot_tell() -> None:
    grid = np.array([0.1, 0.2, 0.3])
    losses = np.array([[9.0, 9.0, 9.0], [0.1, 0.2, 0.3], [0.1, np.nan, 0.1], [0.1, 0.2, np.inf]])
    found = ls.radii_from_rollouts(grid, losses, 1.0)
    assert found.status[:, 0].tolist() == [
        RayStatus.UNFINISHED,
        RayStatus.CENSORED,
        RayStatus.CROSSED,
        RayStatus.CROSSED,
    ]
    np.testing.assert_allclose(found.radii[:, 0], [0.0, 0.3, 0.1, 0.2])
    np.testing.assert_allclose(found.upper[:, 0], [0.1, np.inf, 0.2, 0.3])
    assert found.nonfinite.tolist() == [0, 0, 1, 1]
    volume = ls.volume_from_radii(found, n=2).results[0]
    assert volume.log_volume == pytest.approx(math.log(math.pi * (0.09 + 0.01 + 0.04) / 4))


def test_cutoffs_that_no_line_can_reach_from_below() -> None:
    with pytest.raises(ls.LandscapeError, match="the cutoffs must be positive numbers"):
        ls.radii_from_rollouts([0.0, 0.1], np.ones((1, 2)), [0.0, 1.0])
    with pytest.raises(ls.LandscapeError, match="the loss at the centre is 2, not below the cutoff 1: no basin"):
        ls.radii_from_rollouts([0.0, 0.1], np.full((1, 2), 2.0), 1.0)


@pytest.mark.parametrize(
    ("grid", "losses"),
    [
        ([0.1, 0.2], np.ones((3, 3))),
        ([0.0], np.ones((3, 1))),
        ([0.1, np.nan], np.ones((3, 2))),
        ([0.1], np.ones((0, 1))),
    ],
)
def test_shapes_that_do_not_fit(grid: list[float], losses: np.ndarray) -> None:
    with pytest.raises(ls.LandscapeError):
        ls.radii_from_rollouts(grid, losses, 1.0)


@pytest.mark.skipif(not DATA.exists(), reason="the paper authors' rollouts are not in ../shared/data")
@pytest.mark.parametrize(("net", "thousands"), [("clean", -75.8), ("poison", -125.5)])
def test_the_published_rollouts_collapse_to_one_ray(net: str, thousands: float) -> None:
    losses = scipy.io.loadmat(DATA / f"surface1d_{net}_xent.mat")["mat"]
    found = ls.radii_from_rollouts(np.linspace(-1, 1, 30), losses, [0.1, 0.5, 1.0, 2.0])
    volume = ls.volume_from_radii(found, n=SVHN_WEIGHTS)
    for row in volume.results:
        assert row.ess == pytest.approx(1.0, abs=0.05)
        assert row.verdict == "lower bound"
    row = volume.results[2]
    log10_mean = row.log10_volume - ls.volume_from_radii(np.ones(1), n=SVHN_WEIGHTS).results[0].log10_volume
    assert log10_mean == pytest.approx(thousands * 1000, abs=100)
