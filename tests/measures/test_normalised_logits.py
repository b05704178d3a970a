"""Normalised logits: the loss by its formula, and no trace of the logits' scale."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.measures.normalised_logits import with_normalised_logits


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4)).double()


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.arange(12) % 4


def test_the_loss_is_that_of_centred_logits_of_norm_1(data):
    model = net()
    objective = ls.Objective(model, data)
    logits = model(data[0])
    centred = logits - logits.mean(1, keepdim=True)
    truth = F.cross_entropy(centred / centred.norm(dim=1, keepdim=True), data[1]).item()
    assert with_normalised_logits(objective).centre == pytest.approx(truth, rel=1e-12)
    assert objective.centre == pytest.approx(F.cross_entropy(logits, data[1]).item(), rel=1e-12)  # as it was


def test_class_axis_in_second_place():
    torch.manual_seed(0)
    model = nn.Conv1d(2, 4, 1).double()
    inputs, target = torch.randn(3, 2, 5, dtype=torch.float64), torch.randint(4, (3, 5))
    logits = model(inputs)
    centred = logits - logits.mean(1, keepdim=True)
    truth = F.cross_entropy(centred / centred.norm(dim=1, keepdim=True), target).item()
    assert with_normalised_logits(ls.Objective(model, (inputs, target))).centre == pytest.approx(truth, rel=1e-12)


def test_scaled_logits_give_the_same_sharpness(data):
    model, other = net(), net()
    with torch.no_grad():
        for parameter in other[2].parameters():
            parameter *= 7
    names = ["average-case", "trace"]
    own, scaled = (
        ls.sharpness(ls.Objective(m, data), names, metric="adaptive", normalise_logits=True) for m in (model, other)
    )
    for name in names:
        assert scaled[name].value == pytest.approx(own[name].value, rel=1e-9)
    plain, other_plain = (ls.sharpness(ls.Objective(m, data), "trace", metric="adaptive") for m in (model, other))
    assert other_plain["trace"].value != pytest.approx(plain["trace"].value, rel=0.1)


def test_a_loss_without_logits_is_refused(data):
    objective = ls.Objective(net(), (data[0], torch.zeros(12, 4, dtype=torch.float64)), "mse")
    with pytest.raises(ls.LandscapeError, match=r"(?s)mse does not say.*cross_entropy"):
        ls.sharpness(objective, "trace", normalise_logits=True)
