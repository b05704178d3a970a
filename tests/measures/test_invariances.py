"""Every invariance that any measure claims, on nets with and without BatchNorm, in float64: a false claim fails.

Measures see the same net twice: as it is, and after a change that leaves its function as it is. Draws keep their random
numbers, so rescaling moves them along; after an exchange of units each weight gets another random number, and only
means can agree.
"""

import pytest
import torch

from landscape.measures import INVARIANCES, REGISTRY
from landscape.measures.claims.check import NETS, ClaimNets, check, claims_of
from landscape.measures.claims.relu_nets import data_for, louder, permuted, rescaled

CLAIMS = [(d.name, metric, word) for d in REGISTRY.values() for metric, word in claims_of(d)]


@pytest.fixture(scope="module")
def nets() -> ClaimNets:
    return ClaimNets()


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
def test_what_a_measure_claims_holds(name, metric, word, net, nets):
    assert word in INVARIANCES
    claim = check(name, metric, word, net, nets)
    assert claim.holds, claim


@pytest.mark.parametrize(
    ("name", "word", "net"),
    [("trace", "relu-rescaling", "plain"), ("worst-case-l2", "batch-size", "norm"), ("margin", "logit-scale", "plain")],
)
def test_a_false_claim_fails(name, word, net, nets):
    assert not check(name, "identity", word, net, nets).holds
