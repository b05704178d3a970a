"""Every invariance that any measure claims, on nets with and without BatchNorm, in float64: a false claim fails.

Measures see the same net twice: as it is, and after a change that leaves its function as it is. Probes are so many that
traces are exact. Draws keep their random numbers, so rescaling moves them along; after an exchange of units each weight
gets another random number, and only means can agree.
"""

import math

import pytest
import torch

import landscape as ls
from helpers.relu_nets import data_for, louder, norm_net, permuted, plain_net, rescaled
from landscape.measures import INVARIANCES, REGISTRY
from landscape.objective import Objective

Z = 4.5  # standard errors; about 200 comparisons
EXACT = 1e-6  # relative: rounding in float64, magnified by iterations
PROBES = 400  # more than any of the nets has weights
NETS = {"plain": plain_net, "norm": norm_net}
CHANGES = {"relu-rescaling": rescaled, "permutation": permuted, "logit-scale": louder}
CLAIMS = [
    (name, metric, word)
    for name, definition in REGISTRY.items()
    for metric in ("identity", "adaptive")
    for word in definition.invariances(metric)
    if metric == "identity" or word in definition.adaptive
]


def measured(name, metric, model, data, batch_size=None):
    objective = Objective(model, data, batch_size=batch_size)
    return ls.sharpness(
        objective, name, metric=metric, probes=PROBES, start=torch.zeros_like(objective.theta),
        cutoff=2 * objective.centre, volume_budget=400, chains=4, steps=100,
    )[name]  # fmt: skip


def assert_agree(first, second):
    """Compare two measures with other random numbers: bounds by their intervals, others within their errors."""
    if first.verdict == "lower bound" and math.isnan(first.standard_error):
        (low, high), (other_low, other_high) = (each.config["volume_interval"] for each in (first, second))
        assert low <= other_high
        assert other_low <= high
    else:
        assert abs(second.value - first.value) <= Z * math.hypot(first.standard_error, second.standard_error)


def test_the_changes_leave_the_function_as_it_is():
    for make in NETS.values():
        model = make().eval()
        x, _ = data_for(model)
        logits = model(x)
        for change in (rescaled, permuted):
            other = change(model)
            assert not torch.allclose(other[0].weight, model[0].weight)
            assert torch.allclose(other(x), logits, rtol=1e-10)
        assert torch.allclose(louder(model)(x), 3 * logits, rtol=1e-10)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("name", "metric", "word"), CLAIMS)
def test_what_a_measure_claims_holds(name, metric, word, net):
    assert word in INVARIANCES
    model = NETS[net]()
    data = data_for(model)
    first = measured(name, metric, model, data)
    if word == "batch-size":
        second = measured(name, metric, model, data, batch_size=5)
    else:
        second = measured(name, metric, CHANGES[word](model), data)
    assert math.isfinite(first.value), first.reasons
    if word == "permutation" and first.standard_error:
        assert_agree(first, second)
    else:
        assert abs(second.value - first.value) <= EXACT * abs(first.value)


def test_a_false_claim_would_fail():
    with pytest.raises(AssertionError):
        test_what_a_measure_claims_holds("trace", "identity", "relu-rescaling", "plain")
    with pytest.raises(AssertionError):
        test_what_a_measure_claims_holds("worst-case-l2", "identity", "batch-size", "norm")
    with pytest.raises(AssertionError):
        test_what_a_measure_claims_holds("margin", "identity", "logit-scale", "plain")
