"""What a pilot chooses: starts on either side, step sizes, trajectories, preconditioners."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.measures.draws import Draws
from landscape.measures.llc.measure import chosen_gamma, chosen_settings
from landscape.measures.llc.pilot import StepSearch, leaps_of, rmsprop_scale, run_pilot, starts
from landscape.measures.llc.posterior import Minibatches, Posterior
from landscape.measures.settings import Settings

H = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def bowl():
    return ls.Objective.from_function(lambda x: (x.square() * H).sum(-1) / 2, torch.zeros(3, dtype=torch.float64))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    data = (torch.randn(90, 4), torch.arange(90) % 3)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), data


def test_chains_start_at_the_trained_point_and_outside(bowl):
    posterior = Posterior(Draws(bowl, Settings()), 100.0, 1.0)
    x, _ = starts(posterior, 7, seed=0)
    energies = posterior.energies(x)
    assert np.array_equal(energies[:4], np.zeros(4))
    assert ((energies[4:] > 1.5) & (energies[4:] <= 3)).all()  # above the mean, n / 2


def test_the_search_finds_the_step_of_an_acceptance():
    search = StepSearch(1.0)
    for _ in range(300):
        search.learn(math.exp(-search.step_size / 0.04), 0.6)
    assert search.settled == pytest.approx(-0.04 * math.log(0.6), rel=0.1)


@pytest.mark.parametrize(("step_size", "gamma", "steps", "leaps"), [(0.01, 4.0, 1000, 12), (0.01, 4.0, 200, 5),
                         (0.01, 0.0, 400, 10), (1.0, 100.0, 1000, 1), (1e-8, 1.0, 10**6, 128)])  # fmt: skip
def test_trajectories_turn_a_quarter_if_there_are_steps_for_it(step_size, gamma, steps, leaps):
    assert leaps_of(step_size, gamma, steps) == leaps


def test_the_bias_of_a_step_is_foreseen(bowl):
    """On a quadratic the bias is ε nβ tr H / 8, to first order."""
    posterior = Posterior(Draws(bowl, Settings()), 100.0, 300.0)
    tuned = run_pilot(posterior, Settings(sampler="sgld", chains=400, steps=100, step_size=1e-4), lambda: False)
    assert tuned.kernel.step_size == 1e-4
    assert tuned.step_bias == pytest.approx(1e-4 * 100 * float(H.sum()) / 8, rel=0.25)


def test_sgld_gets_a_step_of_small_bias(bowl):
    posterior = Posterior(Draws(bowl, Settings()), 100.0, 1.0)
    tuned = run_pilot(posterior, Settings(sampler="sgld", chains=100, steps=100), lambda: False)
    exact = float((100 * H / (100 * H + 1)).sum() / 2)
    assert 0 < tuned.step_bias <= 0.06 * exact


def test_the_preconditioner_is_one_for_a_typical_weight_and_bounded():
    scale = rmsprop_scale(torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=torch.float64))
    assert scale[1:3].tolist() == pytest.approx([1.0, 1.0])
    assert scale[0] == pytest.approx(11.0)
    assert scale[3] < 1


def test_minibatches_are_a_partition_whose_mean_is_the_loss(net):
    model, data = net
    objective = ls.Objective(model, data, scope="all")
    posterior = Posterior(Draws(objective, Settings()), 20.0, 1.0)
    with objective.running():
        minibatches = Minibatches.of(posterior, 40, seed=0)
        x = 0.1 * torch.randn(3, objective.dimension)
        whole = posterior.at(x)
        parts = [posterior.on(minibatches, which, x) for which in range(len(minibatches))]
    assert [len(each.batches[0].target) for each in minibatches.programs] == [40, 40, 10]
    assert not torch.equal(minibatches.programs[0].batches[0].target, data[1][:40])
    for name in ("rise", "gradient"):
        terms = [torch.as_tensor(getattr(part, name)) for part in parts]
        mean = sum(share * term for share, term in zip(minibatches.shares, terms, strict=True))
        torch.testing.assert_close(mean, torch.as_tensor(getattr(whole, name)), rtol=1e-4, atol=1e-5)


def test_small_nets_get_exact_chains_and_large_ones_minibatches(net):
    model, data = net
    chosen = {lanes: chosen_settings(ls.Objective(model, data, lanes=lanes), Settings()) for lanes in (None, 1)}
    assert (chosen[None].sampler, chosen[None].steps) == ("hmc", 1_000)
    assert (chosen[1].sampler, chosen[1].steps) == ("sgld", 200)
    asked = chosen_settings(ls.Objective(model, data, lanes=1), Settings(sampler="mala", steps=30))
    assert (asked.sampler, asked.steps) == ("mala", 30)


def test_the_pull_follows_the_scale_of_the_weights(bowl):
    wide = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.full((5,), 3.0))
    assert chosen_gamma(wide, None) == pytest.approx(10 / 9)
    assert chosen_gamma(bowl, None) == 1.0
    assert chosen_gamma(wide, 0.0) == 0.0
