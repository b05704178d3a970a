"""Critical sharpness against quadratics and a known crossing."""

import math

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.measures.critical import crossing


def bowl(scale=1.0, offset=0.0):
    generator = np.random.default_rng(2)
    factor = generator.standard_normal((8, 8))
    hessian = torch.from_numpy(factor @ factor.T * scale)
    point = torch.from_numpy(generator.standard_normal(8))
    return ls.Objective.from_function(lambda x: ((x @ hessian) * x).sum(-1) / 2 + offset, point), hessian


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_critical_is_the_curvature_along_the_gradient_of_a_quadratic(scale):
    objective, hessian = bowl(scale)
    g = hessian @ objective.theta
    measure = ls.sharpness(objective, "critical")["critical"]
    truth = float(g @ hessian @ g / (g @ g))
    assert measure.value == pytest.approx(truth, rel=1e-6)
    assert 0 < measure.standard_error < 0.02 * truth
    rounding, gradient = 4, 3
    assert measure.cost.evaluations <= 6 + rounding + gradient


def test_the_error_holds_the_crossing_of_a_loss_that_is_no_quadratic():
    objective = ls.Objective.from_function(
        lambda x: (x.square() - 1).square().sum(-1), torch.tensor([1.2], dtype=torch.float64)
    )
    slope = 4 * 1.2 * (1.2**2 - 1)
    left = math.sqrt(2 - 1.2**2)  # (x² - 1)² is the same at 1.2 and at sqrt(2 - 1.44)
    measure = ls.sharpness(objective, "critical")["critical"]
    assert abs(measure.value - 2 * slope / (1.2 - left)) <= measure.standard_error


@pytest.mark.parametrize("root", [1e-9, 0.5, 1e9])
@pytest.mark.parametrize("shape", [1, 3])
def test_a_crossing_is_found_from_any_first_step(root, shape):
    calls = []

    def excess(eta):
        calls.append(eta)
        return (eta / root) ** shape - 1

    low, high, middle = crossing(excess, -1.0, 1.0)
    assert low <= root <= high <= 1.021 * low
    assert low <= middle <= high
    assert len(calls) < 20


def test_infinite_and_nan_losses_count_as_a_rise():
    for bad in (math.inf, math.nan):
        objective = ls.Objective.from_function(
            lambda x, bad=bad: torch.where(x.sum(-1) < -1, bad, x.sum(-1)), torch.zeros(4, dtype=torch.float64)
        )
        measure = ls.sharpness(objective, "critical")["critical"]
        assert abs(measure.value - 2 / 0.25) <= measure.standard_error  # the sum falls by 4 eta


@pytest.mark.parametrize(
    ("function", "words"),
    [(lambda x: x.sum(-1), "does not rise"), (lambda x: 0 * x.sum(-1), "gradient at the trained point is 0")],
)
def test_without_a_crossing_it_is_a_stated_gap(function, words):
    measure = ls.sharpness(ls.Objective.from_function(function, torch.ones(3)), "critical")["critical"]
    assert measure.verdict == "failed"
    assert words in measure.reasons[0]


def test_a_fall_below_rounding_says_so():
    objective, _ = bowl(1e-18, offset=1.0)
    assert ls.sharpness(objective, "critical")["critical"].verdict in ("below rounding", "failed")
