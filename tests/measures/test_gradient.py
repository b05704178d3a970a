"""Gradient norm and noise scale against linear regression, where both have closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.measures import gradient

SAMPLES = 40


@pytest.fixture(scope="module")
def regression():
    """Return a linear model, its data, and the gradients of the samples, shape (samples, weights)."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(SAMPLES, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + torch.randn(SAMPLES, generator=generator)
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.3, 0.1, 0.2]]))
    residuals = (x @ model.weight.detach()[0] - y).numpy()
    return model, (x, y[:, None]), 2 * residuals[:, None] * x.numpy()


def test_gradient_norm_and_noise_scale_of_linear_regression(regression):
    model, data, gradients = regression
    mean, covariance = gradients.mean(0), np.cov(gradients.T)
    table = ls.sharpness(ls.Objective(model, data, "mse", batch_size=16), ["gradient-norm", "noise-scale"])
    assert table["gradient-norm"].value == pytest.approx(np.linalg.norm(mean), rel=1e-12)
    assert table["noise-scale"].value == pytest.approx(np.trace(covariance) / (mean @ mean), rel=1e-12)
    assert table["noise-scale"].verdict == "exact"
    assert table["noise-scale"].cost.evaluations == pytest.approx(3)  # the gradient itself is shared


def test_a_part_of_the_samples_gives_the_noise_scale_with_an_error(regression, monkeypatch):
    model, data, gradients = regression
    monkeypatch.setattr(gradient, "SAMPLES", 20)
    mean = gradients.mean(0)
    truth = np.trace(np.cov(gradients.T)) / (mean @ mean)
    objective = ls.Objective(model, data, "mse")
    parts = [ls.sharpness(objective, "noise-scale", seed=seed)["noise-scale"] for seed in range(30)]
    assert len({part.value for part in parts}) > 1
    error = np.sqrt(np.mean([part.standard_error**2 for part in parts]) / len(parts))
    assert abs(np.mean([part.value for part in parts]) - truth) < 4 * error


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (lambda: ls.Objective.from_function(lambda x: x.sum(-1), torch.ones(3)), "a plain function has none"),
        (lambda: ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3)), "gradient .* is 0"),
        (lambda: ls.Objective(nn.Linear(2, 1), (torch.ones(1, 2), torch.ones(1, 1)), "mse"), "only one"),
    ],
)
def test_no_noise_scale_is_a_stated_gap(objective, words):
    measure = ls.sharpness(objective(), "noise-scale")["noise-scale"]
    assert measure.verdict == "failed"
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(measure.reasons[0])


def test_each_token_counts_in_the_gradient_of_its_sample():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, 3, generator=generator, dtype=torch.float64)  # samples, positions, features
    y = torch.randint(0, 2, (6, 4), generator=generator)
    y[0, :3] = -100  # one of its four positions counts
    model = nn.Linear(3, 2, bias=False).double()
    totals = []
    for i in range(6):
        loss = nn.functional.cross_entropy(model(x[i]), y[i], reduction="sum")
        totals.append(torch.autograd.grad(loss, model.weight)[0].numpy().ravel() * 6 / 21)
    gradients = np.stack(totals)
    mean = gradients.mean(0)
    objective = ls.Objective(model, (x, y))
    table = ls.sharpness(objective, ["gradient-norm", "noise-scale"])
    assert table["gradient-norm"].value == pytest.approx(np.linalg.norm(mean), rel=1e-10)
    assert table["noise-scale"].value == pytest.approx(np.trace(np.cov(gradients.T)) / (mean @ mean), rel=1e-10)
