"""Measures of a user's own: what they return, what they raise, and that they change nothing."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.measures import REGISTRY


@pytest.fixture
def bowl():
    return ls.Objective.from_function(lambda x: x.square().sum(-1) / 2, torch.ones(4, dtype=torch.float64))


@pytest.fixture
def taken(bowl):
    def take(function):
        ls.measure("own", larger="sharper")(function)
        return ls.sharpness(bowl, ["own", "gradient-norm"])["own"]

    yield take
    REGISTRY.pop("own", None)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "returned NoneType"),
        (1 + 2j, "returned complex"),
        (np.arange(3), "returned ndarray"),
        (torch.arange(3), "returned Tensor"),
        (10**400, "returned int"),
        ((1.0, 2.0, 3.0), "returned tuple"),
        ((1.0, -0.1), "the standard error -0.1, below 0"),
        (math.nan, "its value is NaN"),
    ],
)
def test_what_is_no_number_is_a_stated_gap(taken, returned, words):
    measure = taken(lambda objective, draws: returned)
    assert (measure.verdict, math.isnan(measure.value)) == ("failed", True)
    assert words in measure.reasons[0]


def test_an_infinite_value_is_not_called_exact(taken):
    measure = taken(lambda objective, draws: math.inf)
    assert (measure.value, measure.verdict, measure.reasons) == (math.inf, "unknown", ("its value is infinite",))


def test_an_exception_is_a_stated_gap_with_file_and_line(taken):
    def broken(objective, draws):
        return {}["a key"]

    measure = taken(broken)
    line = broken.__code__.co_firstlineno + 1
    assert measure.verdict == "failed"
    assert f"test_own.py, line {line}, in broken: KeyError: 'a key'" in measure.reasons[0]


def test_an_error_inside_the_library_names_the_line_that_called_it(taken):
    def careless(objective, draws):
        return float(draws.rises("large").mean())

    line = careless.__code__.co_firstlineno + 1
    assert f"test_own.py, line {line}, in careless" in taken(careless).reasons[0]


def test_a_function_of_another_signature_is_a_stated_gap(taken):
    assert "TypeError" in taken(lambda objective: 1.0).reasons[0]


def test_changed_weights_are_put_back(bowl, taken):
    def careless(objective, draws):
        objective.theta.mul_(3)
        return 1.0

    measure = taken(careless)
    assert "changed objective.theta" in measure.reasons[0]
    assert bowl.theta.tolist() == [1.0] * 4
    assert ls.sharpness(bowl, "gradient-norm")["gradient-norm"].value == 2.0


def test_a_gradient_by_theta_leaves_no_trace(bowl, taken):
    def slope(objective, draws):
        theta = objective.theta.requires_grad_()
        return float(torch.autograd.grad(theta.square().sum(), theta)[0].norm())

    assert taken(slope).value == 4.0
    assert not bowl.theta.requires_grad


def test_global_random_numbers_are_keyed_by_the_seed_and_left_alone(taken):
    def noisy(objective, draws):
        return float(torch.rand(())) + random.random() + np.random.rand()  # noqa: NPY002

    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()]  # noqa: NPY002
    first = taken(noisy).value
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    torch.rand(3)
    assert taken(noisy).value == first


def test_the_margin_of_a_single_class_is_a_stated_gap():
    objective = ls.Objective(
        nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, dtype=torch.long)), loss="cross_entropy"
    )
    margin = ls.sharpness(objective, "margin")["margin"]
    assert "returns only one" in margin.reasons[0]


def test_a_refusal_of_its_own_stays_as_it_is():
    @ls.measure("own-refusal", larger="sharper")
    def refusing(objective, draws):
        raise ls.LandscapeError("this net has no such layer")

    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.ones(4))
    try:
        measure = ls.sharpness(bowl, "own-refusal")["own-refusal"]
    finally:
        del REGISTRY["own-refusal"]
    assert (measure.verdict, measure.reasons) == ("failed", ("this net has no such layer",))
