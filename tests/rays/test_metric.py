"""The metric: what a filter is, how far it moves, and what becomes of those without a norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from landscape.errors import ObjectiveError
from landscape.objective import Layout, Scope
from landscape.rays import make_metric


def net(*modules: nn.Module) -> tuple[torch.Tensor, Layout]:
    layout = Layout.of(model := nn.Sequential(*modules))
    return layout.flatten(dict(model.named_parameters())), layout


def small(scope: str = "all"):
    torch.manual_seed(0)
    theta, layout = net(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Linear(5, 4))
    theta = theta.double()
    return theta, Scope.select(scope, layout)


@pytest.mark.parametrize("scope", ["all", "weights", r"^2\."])
def test_filter_metric_against_its_formula(scope):
    theta, chosen = small(scope)
    theta += 0.01  # no dead bias
    metric = make_metric("filter", theta, chosen)
    n = chosen.size
    expected = torch.zeros_like(theta)
    for entry in chosen.entries:
        w = theta[entry.start : entry.stop].view(entry.shape)
        s = torch.empty_like(w)
        if entry.name == "2.weight":  # (4 inputs, 3 outputs in each of 2 groups, 2, 2)
            for group in range(2):
                for out in range(3):
                    f = w[2 * group : 2 * group + 2, out]
                    s[2 * group : 2 * group + 2, out] = f.norm() / math.sqrt(f.numel())
        elif w.dim() == 1:
            s[:] = w.norm() / math.sqrt(w.numel())
        else:
            for out in range(len(w)):
                s[out] = w[out].norm() / math.sqrt(w[out].numel())
        expected[entry.start : entry.stop] = math.sqrt(n) * s.reshape(-1)
    assert metric.scope.size == n
    assert torch.allclose(metric.scale, chosen.gather(expected), rtol=1e-14)
    assert metric.log_scale_sum == pytest.approx(float(metric.scale.log().sum()), rel=1e-14)
    assert metric.dead == ()
    assert metric.relative


def test_layer_metric_against_its_formula():
    theta, scope = small("weights")
    metric = make_metric("layer", theta, scope)
    parts = [theta[e.start : e.stop] for e in scope.entries]
    expected = torch.cat([torch.full_like(p, math.sqrt(scope.size / p.numel()) * float(p.norm())) for p in parts])
    assert torch.allclose(metric.scale, expected, rtol=1e-14)


def test_r_1_moves_every_filter_by_about_its_own_norm():
    theta, scope = small("weights")
    metric = make_metric("filter", theta, scope)
    phi = torch.randn(4000, scope.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    steps = scope.scatter(phi / phi.norm(dim=1, keepdim=True) * metric.scale, torch.zeros(4000, len(theta)).double())
    conv = slice(0, 18)  # the first filter of the first convolution
    moved = steps[:, conv].square().sum(1)
    z = (moved.mean() / theta[conv].square().sum() - 1) / (moved.std() / moved.mean() / math.sqrt(4000))
    assert abs(float(z)) < 4


def test_identity_is_euclidean_and_keeps_dead_filters():
    theta, scope = small()
    theta.zero_()
    metric = make_metric("identity", theta, scope)
    assert (metric.scale, metric.log_scale_sum, metric.dead, metric.scope) == (None, 0.0, (), scope)
    assert not metric.relative


def test_dead_filters_leave_the_scope_and_are_named():
    theta, layout = net(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    views = layout.views(theta)
    views["0.weight"][[1, 3]] = 0
    views["0.bias"][:] = 0
    views["1.weight"][:] = 0
    views["1.bias"][0] = 0  # not dead: the whole bias is one filter, and its other entry is not zero
    scope = Scope.select("all", layout)
    metric = make_metric("filter", theta, scope)
    assert metric.dead == ("0.weight[1]", "0.weight[3]", "0.bias", "1.weight")
    assert metric.scope.size == scope.size - 6 - 4 - 8 == len(metric.scale)
    assert torch.isfinite(metric.scale.log()).all()
    assert math.isfinite(metric.log_scale_sum)
    # the others' scale is that of a net that never had the dead ones: sqrt(n) with the smaller n
    row = views["0.weight"][0]
    assert float(metric.scale[0]) == pytest.approx(math.sqrt(metric.scope.size / 3) * float(row.norm()), rel=1e-6)
    inside = torch.zeros(layout.size)
    metric.scope.scatter(torch.ones(metric.scope.size), inside)
    moving = {name: bool(view.any()) for name, view in layout.views(inside).items()}
    assert moving == {
        "0.weight": True, "0.bias": False, "1.weight": False, "1.bias": True, "2.weight": True, "2.bias": True,
    }  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
def test_dead_output_channel_of_a_transposed_convolution(groups):
    theta, layout = net(nn.ConvTranspose1d(4, 6, 3, groups=groups, bias=False))
    weight = layout.views(theta)["0.weight"]
    if groups == 2:
        weight[2:, 1] = 0  # channel 1 of the second group: output channel 3 + 1
    else:
        weight[:, 4] = 0
    metric = make_metric("filter", theta, Scope.select("weights", layout))
    assert metric.dead == ("0.weight[4]",)
    assert metric.scope.size == layout.size - 12 // groups


def test_dead_whole_tensor_under_the_layer_metric():
    theta, layout = net(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    layout.views(theta)["0.weight"][1] = 0
    assert make_metric("layer", theta, Scope.select("all", layout)).dead == ()
    layout.views(theta)["0.weight"][:] = 0
    metric = make_metric("layer", theta, Scope.select("all", layout))
    assert (metric.dead, metric.scope.size) == (("0.weight",), 8)


def test_adaptive_scales_each_weight_by_itself_and_zeros_stay():
    theta, layout = net(nn.Linear(2, 2, bias=False))
    theta[:] = torch.tensor([1.0, -2.0, 0.0, 3.0])
    metric = make_metric("adaptive", theta, Scope.select("all", layout))
    assert metric.scale.tolist() == [1.0, 2.0, 3.0]
    assert metric.dead == ("1 weights of 0.weight",)
    assert metric.log_scale_sum == pytest.approx(math.log(6))


def test_filter_so_small_that_its_square_underflows_is_alive():
    theta, layout = net(nn.Linear(2, 2, bias=False))
    theta[:] = torch.tensor([1e-30, 1e-30, 1.0, 1.0])
    metric = make_metric("filter", theta, Scope.select("all", layout))
    assert metric.dead == ()
    assert metric.scale.tolist() == pytest.approx([2e-30, 2e-30, 2.0, 2.0])


def test_nothing_left_to_move_is_refused():
    theta, layout = net(nn.Linear(2, 2))
    for name in ("filter", "layer", "adaptive"):
        with pytest.raises(ObjectiveError, match=r"every weight in scope 'weights' is zero.*\n.*identity"):
            make_metric(name, torch.zeros_like(theta), Scope.select("weights", layout))


def test_unknown_metric_is_refused():
    theta, scope = small()
    with pytest.raises(ObjectiveError, match="filter, layer, identity"):
        make_metric("euclid", theta, scope)
