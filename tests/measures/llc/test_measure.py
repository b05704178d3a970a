"""The local learning coefficient against its closed forms, with a fixed number of draws, and its verdicts."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls

Z = 4.0  # standard errors
NBETA, GAMMA = 300.0, 2.0
CURVATURES = torch.tensor([0.02, 0.03, 0.05, 0.1, 0.3, 1.0], dtype=torch.float64)
A = NBETA * CURVATURES + GAMMA


@pytest.fixture(scope="module")
def bowl():
    """Return the quadratic 1/2 sum of h (w - w*)²."""
    centre = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)
    return ls.Objective.from_function(lambda x: ((x - centre).square() * CURVATURES).sum(-1) / 2, centre)


def taken(objective, **options):
    return ls.sharpness(objective, "llc", **options)["llc"]


@pytest.mark.parametrize("sampler", ["hmc", "mala"])
def test_exact_chains_on_a_quadratic(bowl, sampler):
    measure = taken(bowl, nbeta=NBETA, gamma=GAMMA, sampler=sampler, chains=24, steps=240)
    truth = float((NBETA * CURVATURES / A).sum()) / 2
    assert measure.verdict == "estimate", measure.reasons
    assert 0 < measure.standard_error < 0.1 * truth
    assert abs(measure.value - truth) < Z * measure.standard_error


def test_sgld_on_a_quadratic_has_the_bias_of_its_step(bowl):
    step = 1.6 / float(A.max())
    measure = taken(bowl, nbeta=NBETA, gamma=GAMMA, sampler="sgld", step_size=step, chains=128, steps=200)
    exact = float((NBETA * CURVATURES / A).sum()) / 2
    truth = float((NBETA * CURVATURES / A / (1 - step * A / 4)).sum()) / 2
    assert measure.verdict == "estimate", measure.reasons
    assert truth - exact > 1.5 * Z * measure.standard_error  # the bias can be told from no bias
    assert abs(measure.value - truth) < Z * measure.standard_error


def test_rmsprop_sgld_has_the_bias_of_its_scaled_step():
    """With one curvature everywhere the preconditioner is 1, up to the noise of the squared gradients."""
    objective = ls.Objective.from_function(lambda x: x.square().sum(-1) / 2, torch.zeros(4, dtype=torch.float64))
    step = 1 / 300.0
    measure = taken(objective, nbeta=300.0, gamma=0.0, sampler="rmsprop-sgld", step_size=step, chains=400, steps=100)
    assert abs(measure.value - 2 / (1 - step * 300.0 / 4)) < Z * measure.standard_error + 0.05
    assert measure.standard_error < 0.1


class Mean(nn.Module):
    """The inputs minus a vector: least squares whose curvature is the same on every minibatch."""

    def __init__(self, centre):
        super().__init__()
        self.weight = nn.Parameter(centre.clone())

    def forward(self, inputs):
        return inputs - self.weight


def test_the_noise_of_minibatches_heats_sgld_as_predicted():
    inputs = torch.from_numpy(np.random.default_rng(3).standard_normal((60, 2)) * 3)
    model = Mean(inputs.mean(0)).train()
    objective = ls.Objective(model, (inputs, torch.zeros_like(inputs)), "mse", scope="all")
    measure = taken(objective, gamma=5.0, sampler="sgld", step_size=0.04, minibatch=10, chains=64, steps=150)
    nbeta = 60 / math.log(60)
    assert measure.config["nbeta_taken"] == nbeta
    assert measure.config["minibatch_taken"] == 10
    # mse averages two outputs, so h = 1; the shuffled minibatches are not known here, their mean squared noise is
    noise = (inputs.var(0, unbiased=True) / 10 * (1 - 10 / 60)).numpy()
    a, step = nbeta + 5.0, 0.04
    truth = float(np.sum(nbeta / a * (1 + step * nbeta**2 * noise / 4) / (1 - step * a / 4)) / 2)
    unheated = nbeta / a / (1 - step * a / 4)
    assert truth > 1.3 * unheated
    assert measure.value == pytest.approx(truth, rel=0.25)
    assert model.training  # as the caller left it


def test_beta_comes_from_the_number_of_samples(bowl):
    measure = taken(bowl)
    assert measure.verdict == "failed"
    assert "Pass `nbeta=1000`" in measure.reasons[0]


def test_a_lower_loss_than_at_the_trained_point_is_said_and_not_clipped():
    slope = ls.Objective.from_function(lambda x: (x - 1).square().sum(-1), torch.zeros(3, dtype=torch.float64))
    measure = taken(slope, nbeta=100.0, gamma=1.0, chains=8, steps=200)
    assert measure.value < -100
    assert "no minimum: chains found a loss lower by" in " ".join(measure.reasons)


def test_chains_that_have_not_mixed_say_so(bowl):
    measure = taken(bowl, nbeta=NBETA, gamma=1e-3, sampler="mala", steps=40)
    assert measure.verdict == "not mixed"
    assert "R-hat" in " ".join(measure.reasons)


def test_a_moment_is_too_short_for_chains(bowl):
    measure = taken(bowl, nbeta=NBETA, gamma=GAMMA, steps=10**6, budget="0.5s")
    assert measure.cost.seconds < 2
    assert "the budget ended" in measure.reasons[0]
    assert measure.verdict in ("not mixed", "failed")  # the latter if not even one draw was made


def test_the_same_seed_gives_the_same_chains(bowl):
    first, again, other = (taken(bowl, nbeta=NBETA, steps=40, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "gibbs"}, "'gibbs' is not known. Pass one of auto, hmc"),
        ({"chains": 1}, "`chains` must be a whole number of at least 2"),
        ({"steps": 2}, "`steps` must be a whole number of at least 8"),
        ({"step_size": 0.0}, "`step_size` must be a positive number"),
        ({"minibatch": 0}, "`minibatch` must be a whole number of at least 1"),
    ],
)
def test_misuse_is_one_clear_error(bowl, options, words):
    with pytest.raises(ls.LandscapeError, match=words):
        taken(bowl, nbeta=NBETA, **options)


def test_transformer_layers_have_gradients_at_many_points():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.1)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(8, 2))
    objective = ls.Objective(model, (torch.randn(6, 2, 4), torch.tensor([0, 1] * 3)), loss="cross_entropy")
    measure = ls.sharpness(objective, "llc", steps=8)["llc"]
    assert math.isfinite(measure.value), measure.reasons
    assert torch.backends.mha.get_fastpath_enabled()
