"""Random directions: uniform on the sphere, and keyed by (seed, index) alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.errors import ObjectiveError
from landscape.objective import Layout, Scope
from landscape.rays import RandomDirections, make_metric
from landscape.rays.directions import check_seed, gaussians


def rays(theta: torch.Tensor, metric: str = "identity", scope: str = "all", seed: int = 0) -> RandomDirections:
    layout = Layout.from_shapes({"a": (2, 3), "b": (5,), "c": (3, 4)}, theta.dtype)
    return RandomDirections(make_metric(metric, theta, Scope.select(scope, layout)), seed, theta)


THETA = torch.linspace(-1, 2, 23, dtype=torch.float64)


def test_direction_depends_on_seed_and_index_alone():
    together = rays(THETA).steps(range(40))
    apart = [rays(THETA).steps([index])[0] for index in reversed(range(40))][::-1]
    shuffled = rays(THETA).steps([7, 3, 39, 0])
    assert torch.equal(together, torch.stack(apart))
    assert torch.equal(shuffled, together[[7, 3, 39, 0]])
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    rays(THETA).steps([5])
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_the_stream_of_a_key_stays_what_it_is():
    # stored runs continue only as long as (seed, index) gives the same ray in every version
    assert gaussians(5, [7], 3)[0].tolist() == pytest.approx([1.3912764, -0.27758887, -0.5126015], rel=1e-7)


def test_seeds_and_indices_never_share_a_stream():
    keys = [(s, i) for s in (0, 1, 2, 2**63, 2**64 - 1) for i in (0, 1, 2, 10**9)]
    assert len({gaussians(s, [i], 4).tobytes() for s, i in keys}) == len(keys)


def test_float32_and_float64_centres_see_the_same_ray():
    wide, narrow = rays(THETA).steps(range(5)), rays(THETA.float()).steps(range(5))
    assert narrow.dtype == torch.float32
    assert torch.allclose(wide, narrow.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scope", ["all", "a|c", "b"])
def test_steps_are_unit_vectors_within_the_scope(scope):
    source = rays(THETA, scope=scope)
    steps = source.steps(range(50))
    assert torch.allclose(steps.norm(dim=1), torch.ones(50).double(), rtol=1e-14)
    outside = torch.ones(23, dtype=torch.bool)
    for start, stop in source.metric.scope.ranges:
        outside[start:stop] = False
    assert not steps[:, outside].any()
    assert steps[:, ~outside].all()


def test_metric_scales_the_unit_vector():
    source = rays(THETA, "filter", "a|c")
    unit = rays(THETA, "identity", "a|c").steps(range(9))
    gathered = source.metric.scope.gather(source.steps(range(9)))
    assert torch.allclose(gathered, source.metric.scope.gather(unit) * source.metric.scale, rtol=1e-14)


def test_uniform_on_the_sphere():
    n, k = 6, 20_000
    phi = gaussians(11, range(k), n).astype(np.float64)
    phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    # moments of the uniform distribution: E x = 0, E x_i x_j = delta / n, E x_i^4 = 3 / (n (n + 2))
    z = phi.mean(0) * math.sqrt(k * n)
    assert np.abs(z).max() < 4.5
    products = (phi[:, :, None] * phi[:, None, :]).reshape(k, -1)
    z = (products.mean(0) - np.eye(n).ravel() / n) / (products.std(0) / math.sqrt(k))
    assert np.abs(z).max() < 4.5
    fourth = phi**4
    z = (fourth.mean(0) - 3 / (n * (n + 2))) / (fourth.std(0) / math.sqrt(k))
    assert np.abs(z).max() < 4.5


def test_dead_filters_shift_no_other_entry_of_the_stream():
    theta = THETA.clone()
    theta[:3] = 0
    source = rays(theta, "filter")
    (step,) = source.steps([4])
    normal = torch.from_numpy(gaussians(0, [4], 20)[0]).double()
    assert not step[:3].any()
    assert torch.allclose(step[3:], normal / normal.norm() * source.metric.scale, rtol=1e-14)


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.int64(7)])
def test_any_whole_number_is_a_seed(seed):
    assert check_seed(seed) == int(seed)
    assert type(check_seed(seed)) is int


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ObjectiveError, match="whole number from 0"):
        check_seed(seed)
