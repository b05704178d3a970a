"""The flat vector, its layout, and which of its entries are in scope."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from landscape.errors import ObjectiveError
from landscape.objective import Layout, Objective, Scope


class Tied(nn.Module):
    """A language model whose output head is its embedding table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.body(self.table(tokens))))


class HandWritten(nn.Module):
    """Parameters that belong to no module of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.position = nn.Parameter(torch.randn(5, 4))
        self.bias = nn.Parameter(torch.randn(3))


def weights(model: nn.Module) -> list[str]:
    return [entry.name for entry in Scope.select("weights", Layout.of(model)).entries]


def test_flatten_and_views_are_inverse_and_share_memory():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    layout = Layout.of(model)
    named = dict(model.named_parameters())
    theta = layout.flatten(named)
    views = layout.views(theta)
    assert list(views) == list(named)
    assert all(torch.equal(views[name], parameter) for name, parameter in named.items())
    assert len(theta) == layout.size == sum(p.numel() for p in model.parameters())
    theta.zero_()
    assert all(not view.any() for view in views.values())
    assert all(parameter.any() for name, parameter in named.items() if name != "1.bias")


@pytest.mark.parametrize(
    ("dtypes", "flat"),
    [
        ((torch.float16, torch.float16), torch.float32),
        ((torch.bfloat16, torch.float16), torch.float32),
        ((torch.bfloat16, torch.float32), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
    ],
)
def test_flat_vector_is_wide_and_views_are_exact(dtypes, flat):
    model = nn.Sequential(nn.Linear(3, 4).to(dtypes[0]), nn.Linear(4, 2).to(dtypes[1]))
    layout = Layout.of(model)
    theta = layout.flatten(dict(model.named_parameters()))
    assert layout.dtype == theta.dtype == flat
    for name, parameter in model.named_parameters():
        view = layout.views(theta)[name]
        assert view.dtype == parameter.dtype
        assert torch.equal(view, parameter)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Linear(3, 2), ["weight"]),
        (nn.Bilinear(3, 4, 2), ["weight"]),
        (nn.Conv1d(2, 3, 3), ["weight"]),
        (nn.ConvTranspose2d(2, 3, 3), ["weight"]),
        (nn.LSTM(3, 4, proj_size=2), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
        (nn.GRUCell(3, 4), ["weight_ih", "weight_hh"]),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), ["in_proj_weight", "out_proj.weight"]),
        (nn.MultiheadAttention(4, 2, kdim=3), ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]),
        (nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm((3, 4)), nn.PReLU(4), nn.Linear(4, 2)), ["3.weight"]),
        (HandWritten(), ["weight"]),
        (
            nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2))),
            ["0.parametrizations.weight.original0", "0.parametrizations.weight.original1"],
        ),
        (parametrizations.spectral_norm(nn.Linear(3, 2)), ["parametrizations.weight.original"]),
        (torch.jit.script(nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm((3, 4)), nn.Linear(4, 2))), ["2.weight"]),
        (torch.jit.script(nn.Sequential(nn.LSTM(3, 4))), ["0.weight_ih_l0", "0.weight_hh_l0"]),
    ],
)
def test_weights_are_kernels_and_nothing_else(model, expected):
    assert weights(model) == expected


def test_tied_tensor_counts_once_and_is_a_weight_for_its_linear_layer():
    model = Tied()
    layout = Layout.of(model)
    assert [entry.name for entry in layout.entries] == ["table.weight", "body.weight", "body.bias"]
    assert weights(model) == ["table.weight", "body.weight"]
    assert Scope.select("weights", layout).size == 7 * 4 + 4 * 4
    assert Scope.select("all", layout).size == 7 * 4 + 4 * 4 + 4


def test_module_used_under_two_names_counts_once():
    block = nn.Linear(3, 3)
    model = nn.ModuleDict({"first": block, "second": block})
    assert weights(model) == ["first.weight"]


def test_frozen_parameters_are_in_scope():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert weights(model) == ["0.weight", "1.weight"]


def test_scope_by_pattern():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    layout = Layout.of(model)
    scope = Scope.select(r"^1\.|0\.bias", layout)
    assert [entry.name for entry in scope.entries] == ["0.bias", "1.weight", "1.bias"]
    assert scope.size == 4 + 8 + 2
    assert scope.ranges == ((12, 26),)  # merged where they touch
    with pytest.raises(ObjectiveError, match=r"neither 'weights' nor 'all'.*\n.*layer"):
        Scope.select("(", layout)
    with pytest.raises(ObjectiveError, match=r"matches no parameter.*\n.*0\.weight"):
        Scope.select("nothing", layout)


def test_scope_without_weights_names_the_way_out():
    with pytest.raises(ObjectiveError, match="`scope='all'`"):
        Scope.select("weights", Layout.of(nn.BatchNorm1d(3)))


def test_scope_of_empty_tensors_moves_nothing():
    net = nn.Module()
    net.full, net.empty = nn.Parameter(torch.ones(2)), nn.Parameter(torch.empty(0))
    layout = Layout.of(net)
    assert Scope.select("empty|full", layout).size == 2
    with pytest.raises(ObjectiveError, match="matches only empty tensors, so nothing would move"):
        Scope.select("empty", layout)


def test_gather_and_scatter_are_inverse_and_leave_the_rest_alone():
    layout = Layout.from_shapes({"a": (2, 3), "b": (4,), "c": (5, 1)})
    scope = Scope.select("a|c", layout)
    vectors = torch.arange(30.0).reshape(2, 15)
    values = scope.gather(vectors)
    assert values.tolist() == [[*range(6), *range(10, 15)], [*range(15, 21), *range(25, 30)]]
    out = torch.full((2, 15), -1.0)
    assert scope.scatter(values, out) is out
    assert torch.equal(scope.gather(out), values)
    assert (out[:, 6:10] == -1).all()


def test_without_takes_out_exactly_the_marked_positions():
    layout = Layout.from_shapes({"a": (10, 10), "b": (30,), "c": (7, 10)})
    rng = np.random.default_rng(0)
    for share in (0.0, 0.05, 0.5, 0.95, 1.0):
        marked = torch.from_numpy(rng.random(200) < share)
        scope = Scope.select("a|c", layout)
        inside = {i for start, stop in scope.without(marked).ranges for i in range(start, stop)}
        assert inside == {i for i in (*range(100), *range(130, 200)) if not marked[i]}
    assert [entry.name for entry in scope.without(torch.arange(200) < 100).entries] == ["c"]


def test_thousands_of_dead_filters_take_no_time():
    # one entry in two of half a million: a loop over pairs of ranges would not come back
    layout = Layout.from_shapes({"a": (500_000, 1)})
    scope = Scope.select("all", layout).without(torch.arange(500_000) % 2 == 0)
    assert scope.size == 250_000
    assert len(scope.ranges) == 250_000


def filters_of(model: nn.Module, name: str) -> list[set[int]]:
    """Return the positions (within its tensor) of each filter of a parameter, by its entry's own account."""
    entry = next(e for e in Layout.of(model).entries if e.name == name)
    place = torch.arange(entry.size).view(entry.filter_shape)
    outer = [entry.filter_shape[axis] for axis in entry.filter_axes]
    moved = place.movedim(entry.filter_axes, tuple(range(len(outer)))).reshape(int(np.prod(outer)), -1)
    return [set(row.tolist()) for row in moved]


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("scripted", [False, True])
def test_transposed_convolution_has_one_filter_an_output_channel(groups, scripted):
    torch.manual_seed(0)
    module = nn.ConvTranspose1d(6, 12, 3, groups=groups, bias=False)
    model = torch.jit.script(module) if scripted else module
    found = filters_of(model, "weight")
    # an output channel's filter: the entries whose change is seen in that channel
    x = torch.rand(1, 6, 5) + 0.1
    with torch.no_grad():
        before = module(x)
        expected: list[set[int]] = [set() for _ in range(12)]
        flat = module.weight.view(-1)
        for position in range(flat.numel()):
            flat[position] += 1
            changed = (module(x) - before).abs().amax(dim=(0, 2)) > 1e-4
            flat[position] -= 1
            assert int(changed.sum()) == 1
            expected[int(changed.int().argmax())].add(position)
    assert found == expected


@pytest.mark.parametrize("module", [nn.Linear(4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.GRUCell(2, 3)])
def test_row_zero_counts_filters(module):
    name = next(iter(dict(module.named_parameters())))
    weight = module.get_parameter(name)
    each = weight[0].numel()
    assert filters_of(module, name) == [set(range(i * each, (i + 1) * each)) for i in range(len(weight))]


@pytest.mark.parametrize("kind", [nn.Linear, nn.ConvTranspose1d])
def test_parametrised_kernel_has_the_filters_of_its_layer(kind):
    plain = kind(4, 3, **({"kernel_size": 2} if kind is nn.ConvTranspose1d else {}))
    expected = filters_of(plain, "weight")
    normed = parametrizations.weight_norm(plain, dim=1 if kind is nn.ConvTranspose1d else 0)
    assert filters_of(normed, "parametrizations.weight.original1") == expected


def test_tensor_of_one_dimension_is_a_single_filter():
    assert filters_of(nn.BatchNorm1d(5), "weight") == [set(range(5))]


# Scopes of several parts


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (["0.weight", "2.bias"], ["0.weight", "2.bias"]),
        (("2.bias", "0.weight"), ["0.weight", "2.bias"]),
        (["weights", r"0\.bias"], ["0.weight", "0.bias", "2.weight"]),
        (["all"], ["0.weight", "0.bias", "2.weight", "2.bias"]),
        (["0", "0.weight"], ["0.weight", "0.bias"]),
    ],
)
def test_a_scope_may_have_several_parts(scope, names):
    layout = Layout.of(small())
    selected = Scope.select(scope, layout)
    assert [entry.name for entry in selected.entries] == names
    assert Scope.select(selected.name, layout).ranges == selected.ranges  # the name selects it again


@pytest.mark.parametrize("scope", [["0.weight", "9.weight"], ["("], [], [7], None])
def test_every_part_of_a_scope_must_match(scope):
    with pytest.raises(ObjectiveError, match=r"matches no parameter|expression it fails|must be a string or a list"):
        Scope.select(scope, Layout.of(small()))


class Experts(nn.Module):
    """Kernels of a mixture of experts, as transformers keeps them: three dimensions, and no 'weight' in the name."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.gate_up_proj = nn.Linear(4, 2), nn.Parameter(torch.randn(2, 4, 8))
        self.head, self.shift = nn.Linear(8, 3), nn.Parameter(torch.zeros(1, 3))

    def forward(self, x):
        mixed = torch.einsum("ne,eio,ni->no", self.router(x).softmax(-1), self.gate_up_proj, x)
        return self.head(mixed) + self.shift


def test_large_tensors_that_stay_fixed_are_named():
    torch.manual_seed(0)
    data = torch.randn(12, 4), torch.arange(12) % 3
    objective = Objective(Experts(), data)
    (note,) = objective.notes
    assert note.startswith("the scope weights keeps gate_up_proj (64) fixed")
    assert "`scope=['weights', 'gate_up_proj']`" in note
    assert (
        "32 of 104 parameters in scope 'weights'; fixed: gate_up_proj (64), shift (3), head.bias (3) and 1 more>"
        in (repr(objective))
    )
    moved = Objective(Experts(), data, scope=["weights", "gate_up_proj"])
    assert moved.dimension == 32 + 64
    assert not any("gate_up_proj" in note for note in moved.notes)
    assert Objective(small(), data).notes == []


def test_frozen_tensors_that_move_are_named():
    data = torch.randn(12, 4), torch.arange(12) % 3
    model = small()
    model[0].requires_grad_(False)
    (note,) = Objective(model, data).notes
    assert note == "the scope moves tensors that are frozen (requires_grad=False): 0.weight (24)"
    assert Objective(model, data, scope="2").notes == []
    assert Objective(model.requires_grad_(False), data).notes == []  # frozen as a whole, to be used only
