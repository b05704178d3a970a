"""Relative flatness against the closed form of softmax regression, and against the blocks of the whole Hessian."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls

Z = 4.0  # standard errors


def filled(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    return model, generator


def kappa_by_blocks(objective, name, axis=0):
    """Return the sum of <w_s, w_t> Tr H_st from the dense Hessian of a layer."""
    entry = next(entry for entry in objective.layout.entries if entry.name == name)
    hessian = ls.Hessian(objective, scope=f"^{name}$")
    n = entry.size
    dense = (hessian @ torch.eye(n, dtype=torch.float64)).reshape(*entry.shape, *entry.shape)
    weights = objective.theta[entry.start : entry.stop].reshape(entry.shape)
    w = weights.movedim(axis, 0).flatten(1)
    h = dense.movedim((axis, len(entry.shape) + axis), (0, 1)).reshape(len(w), len(w), w.shape[1], w.shape[1])
    return float(((w @ w.T) * h.diagonal(dim1=2, dim2=3).sum(-1)).sum())


@pytest.fixture(scope="module")
def softmax_regression():
    model, generator = filled(nn.Linear(6, 4))
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    y = torch.arange(30) % 4
    w = model.weight.detach()
    p = model(x).softmax(-1).detach()
    spread = p @ w.square().sum(1) - (p @ w).square().sum(1)
    return ls.Objective(model, (x, y)), float((x.square().sum(1) * spread).mean())


def test_softmax_regression_exactly_with_a_probe_per_entry(softmax_regression):
    objective, truth = softmax_regression
    measure = ls.sharpness(objective, "relative-flatness", probes=24)["relative-flatness"]
    assert measure.value == pytest.approx(truth, rel=1e-10)
    assert (measure.verdict, measure.config["layer_taken"]) == ("exact", "weight")


@pytest.mark.parametrize("probes", [4, 12])
def test_softmax_regression_within_the_error_of_few_probes(softmax_regression, probes):
    objective, truth = softmax_regression
    seeds = [ls.sharpness(objective, "relative-flatness", probes=probes, seed=s)["relative-flatness"] for s in range(8)]
    assert all(each.standard_error > 0 for each in seeds)
    mean = np.mean([each.value for each in seeds])
    assert abs(mean - truth) < Z * np.sqrt(np.mean([each.standard_error**2 for each in seeds]) / len(seeds))


@pytest.mark.parametrize("layer", [None, "0.weight"])
def test_a_convolution_counts_as_the_matrix_of_its_filters(layer):
    model, generator = filled(
        nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    )
    x = torch.randn(5, 1, 4, 4, generator=generator, dtype=torch.float64)
    objective = ls.Objective(model, (x, torch.arange(5) % 3))
    measure = ls.sharpness(objective, "relative-flatness", layer=layer)["relative-flatness"]
    assert measure.config["layer_taken"] == (layer or "2.weight")  # the last but one
    assert measure.value == pytest.approx(kappa_by_blocks(objective, measure.config["layer_taken"]), rel=1e-9)


def test_the_units_of_a_transposed_convolution_are_its_output_channels():
    model, generator = filled(
        nn.Sequential(nn.ConvTranspose1d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(15, 2, bias=False))
    )
    x = torch.randn(5, 2, 4, generator=generator, dtype=torch.float64)
    objective = ls.Objective(model, (x, torch.arange(5) % 2))
    measure = ls.sharpness(objective, "relative-flatness", layer="0.weight")["relative-flatness"]
    assert measure.value == pytest.approx(kappa_by_blocks(objective, "0.weight", axis=1), rel=1e-9)


def test_rescaling_whole_layers_leaves_it_unchanged():
    model, generator = filled(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)))
    data = torch.randn(9, 3, generator=generator, dtype=torch.float64), torch.arange(9) % 2
    before = ls.sharpness(ls.Objective(model, data), "relative-flatness")["relative-flatness"].value
    with torch.no_grad():
        for part, factor in ((model[0].weight, 3.0), (model[0].bias, 3.0), (model[2].weight, 2 / 3)):
            part *= factor
        model[2].bias *= 2
        model[4].weight /= 2
    after = ls.sharpness(ls.Objective(model, data), "relative-flatness")["relative-flatness"].value
    assert after == pytest.approx(before, rel=1e-9)


def test_an_unknown_layer_is_a_stated_gap(softmax_regression):
    measure = ls.sharpness(softmax_regression[0], "relative-flatness", layer="bias")["relative-flatness"]
    assert measure.verdict == "failed"
    assert "'bias' is not the weight matrix of a layer. Pass one of weight as" in measure.reasons[0]
