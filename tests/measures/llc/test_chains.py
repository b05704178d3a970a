"""Chains under a given kernel: the stationary variance of each sampler, and the burn-in that is dropped."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.measures.draws import Draws
from landscape.measures.llc.chains import run_chains
from landscape.measures.llc.diagnostics import standard_error
from landscape.measures.llc.pilot import Tuned
from landscape.measures.llc.posterior import Minibatches, Posterior
from landscape.measures.llc.samplers import Kernel
from landscape.measures.settings import Settings

NBETA, GAMMA = 100.0, 20.0
H = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)
A = NBETA * H + GAMMA


def never():
    return False


@pytest.fixture(scope="module")
def posterior():
    bowl = ls.Objective.from_function(lambda x: (x.square() * H).sum(-1) / 2, torch.zeros(3, dtype=torch.float64))
    return Posterior(Draws(bowl, Settings()), NBETA, GAMMA)


@pytest.mark.parametrize("scale", [None, torch.tensor([4.0, 2.0, 0.8], dtype=torch.float64)], ids=["sgld", "rmsprop"])
def test_each_direction_has_the_variance_of_its_own_step(posterior, scale):
    factors = torch.ones(3) if scale is None else scale
    step = 1.5 / float((A * factors).max())
    kernel = Kernel("rmsprop-sgld", step, 1, scale, Minibatches.of(posterior, None, 0))
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)).double() / A.sqrt()
    chains = run_chains(posterior, Tuned(kernel, posterior.at(x), 0.0), 0, 30, 80, never)
    values = NBETA * chains.rises
    truth = float((NBETA * H / A / (1 - step * factors * A / 4)).sum()) / 2
    assert standard_error(values) < 0.03 * truth
    assert abs(values.mean() - truth) < 4 * standard_error(values)


def test_the_burn_in_is_dropped(posterior):
    kernel = Kernel("sgld", 0.5 / float(A.max()), 1, None, Minibatches.of(posterior, None, 0))
    far = Tuned(kernel, posterior.at(torch.full((4, 3), 50.0, dtype=torch.float64)), 0.0)
    with_it = run_chains(posterior, far, 0, 0, 10, never)
    without = run_chains(posterior, far, 0, 100, 10, never)
    assert (with_it.rises[:, 0] > 100).all()
    assert (without.rises < 1).all()
    assert (with_it.burn_in, without.burn_in) == (0, 100)


def test_draws_stop_when_it_gets_late(posterior):
    calls = iter(range(100))
    kernel = Kernel("mala", 0.01)
    chains = run_chains(
        posterior, Tuned(kernel, posterior.at(posterior.origin(2)), 0.0), 0, 5, 50, lambda: next(calls) > 12
    )
    assert chains.stopped
    assert chains.rises.shape == chains.distances.shape == (2, 8)  # 13 calls, 5 of them for the burn-in
    assert np.isfinite(chains.ends).all()
