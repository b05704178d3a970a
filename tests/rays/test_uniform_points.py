"""Points drawn uniformly in a ball."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import landscape as ls
from landscape.rays import make_metric
from landscape.rays.uniform_points import UniformPoints


def points_in(n: int, *, seed: int = 0, dtype: torch.dtype = torch.float64, radius: float = 1.0) -> UniformPoints:
    plane = ls.Objective.from_function(lambda x: x.sum(-1), torch.zeros(n, dtype=dtype))
    return UniformPoints(make_metric("identity", plane.theta, plane.scope), seed, plane.theta, radius)


def test_directions_are_uniform_on_the_sphere() -> None:
    n, count = 6, 20_000
    phi = points_in(n).steps(range(count)).numpy()
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1.0, rtol=1e-6)
    # E phi = 0, E phi phi' = 1/n, E phi_i^4 = 3 / n (n + 2), and squares have a beta distribution
    assert np.abs(phi.mean(axis=0) * np.sqrt(n * count)).max() < 4.5
    products = phi[:, :, None] * phi[:, None, :]
    z = (products.mean(axis=0) - np.eye(n) / n) / (products.std(axis=0) / np.sqrt(count))
    assert np.abs(z).max() < 4.5
    fourth = phi**4
    assert np.abs((fourth.mean(axis=0) - 3 / (n * (n + 2))) / (fourth.std(axis=0) / np.sqrt(count))).max() < 4.5
    assert kstest(phi[:, 0] ** 2, "beta", args=(0.5, (n - 1) / 2)).pvalue > 1e-4


def test_radii_to_the_power_n_are_uniform() -> None:
    radii = points_in(40, radius=3.0).radii(range(20_000))
    assert kstest((radii / 3) ** 40, "uniform").pvalue > 1e-4
    assert radii.max() < 3.0


def test_rays_beside_each_other_and_their_radii_are_independent() -> None:
    n, count = 5, 20_000
    points = points_in(n)
    phi, shares = points.steps(range(count)).numpy(), points.radii(range(count)) ** n
    for lag in (1, 32, 64):
        cosines = (phi[lag:] * phi[:-lag]).sum(axis=1)
        assert abs(cosines.mean() * np.sqrt(n * len(cosines))) < 4.5
    correlation = np.corrcoef(phi[:, 0], shares)[0, 1]
    assert abs(correlation * np.sqrt(count)) < 4.5


@pytest.mark.parametrize("n", [1, 3, 5000])
def test_each_point_depends_on_its_index_alone(n: int) -> None:
    points = points_in(n, dtype=torch.float32)
    together, radii = points.steps(range(200)), points.radii(range(200))
    for chosen in ([3], [199, 0, 64, 63], list(range(60, 140))):
        assert torch.equal(points_in(n, dtype=torch.float32).steps(chosen), together[chosen])
        assert np.array_equal(points.radii(chosen), radii[chosen])
    assert not torch.equal(points_in(n, seed=1, dtype=torch.float32).steps(range(200)), together)


def test_the_metric_scales_a_step_and_what_does_not_move_stays() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 4)
    objective = ls.Objective(net, (torch.randn(8, 3), torch.randint(0, 4, (8,))), "cross_entropy")
    points = UniformPoints(make_metric("filter", objective.theta, objective.scope), 0, objective.theta, 1.0)
    steps = points.steps(range(2000))
    views = objective.layout.views(steps[0])
    assert (views["bias"] == 0).all()
    lengths = torch.stack([objective.layout.views(step)["weight"].norm(dim=1) for step in steps])
    ratio = (lengths / net.weight.detach().norm(dim=1)).square()
    assert ((ratio.mean(0) - 1) / (ratio.std(0) / len(ratio) ** 0.5)).abs().max() < 4.5
