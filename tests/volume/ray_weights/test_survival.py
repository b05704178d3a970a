"""The share of a volume that a finer grid leaves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

import landscape as ls
from landscape.rays import RandomDirections, make_metric


def half_walled(n: int) -> ls.Objective:
    """Return the unit ball with a wall from 0.7 to 0.85 for x_1 > 0, between the points 0.54 and 1.08 of a grid."""

    def f(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        return torch.where((x[..., 0] > 0) & (r > 0.7) & (r < 0.85), 2.0, r)

    return ls.Objective.from_function(f, torch.zeros(n, dtype=torch.float64))


@pytest.mark.parametrize("measure", [{}, {"measure": "gaussian", "sigma": 0.4, "measure_centre": "theta"}])
def test_a_wall_between_the_points_of_the_grid_takes_its_share(measure: dict) -> None:
    n = 3
    volume = ls.log_volume(
        half_walled(n), [1.0], estimator="uniform", metric="identity", directions=64, first_step=0.54, **measure
    )
    radii = ls.basin_radii(half_walled(n), [1.0], metric="identity", directions=64, first_step=0.54)
    assert radii.radii == pytest.approx(1.0), "the grid of the run does not see the wall"
    objective = half_walled(n)
    metric = make_metric("identity", objective.theta, objective.scope)
    walled = (RandomDirections(metric, 0, objective.theta).steps(range(64))[:, 0] > 0).double().mean().item()
    lost = chi2.cdf(0.7**2 / 0.4**2, n) / chi2.cdf(1 / 0.4**2, n) if measure else 0.7**n
    row = volume.results[0]
    assert row.survives == pytest.approx(1 - walled * (1 - lost), rel=5e-3)
    assert row.resolution == 2.0
    assert volume.config["finer_step_ratio"] == 1.1


def test_a_ball_survives_whole_at_every_cutoff_and_what_was_looked_at_is_counted() -> None:
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(4, dtype=torch.float64))
    options = {"metric": "identity", "directions": 40}
    volume, radii = (
        ls.log_volume(bowl, [1.0, 4.0], estimator="uniform", **options),
        ls.basin_radii(bowl, [1.0, 4.0], **options),
    )
    assert [row.survives for row in volume.results] == [1.0, 1.0]
    assert volume.cost.calls > radii.cost.calls + 2 * 40
    assert all(math.isnan(row.survives) for row in ls.volume_from_radii(radii).results)


def test_importance_rays_are_looked_at_too() -> None:
    h = torch.tensor([1.0, 100.0], dtype=torch.float64)
    bowl = ls.Objective.from_function(lambda x: (h * x.square()).sum(-1), torch.zeros(2, dtype=torch.float64))
    volume = ls.log_volume(bowl, [4.0], estimator="importance", proposal="diagonal", metric="identity", directions=30)
    assert volume.results[0].survives == 1.0
    assert np.isfinite(volume.config["finer_step_ratio"])
