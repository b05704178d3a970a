"""Fisher-Rao norm, margins and norms of layers against closed forms and independent sums."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.measures.claims.relu_nets import data_for, filled, norm_net, plain_net


def value(name, model, data, loss="cross_entropy", **options):
    return ls.sharpness(ls.Objective(model, data, loss), name, **options)[name]


@pytest.fixture(scope="module")
def bias_free():
    return filled(
        nn.Sequential(*[nn.Linear(4, 5, False), nn.ReLU(), nn.Linear(5, 6, False), nn.ReLU(), nn.Linear(6, 3, False)])
    )


def test_fisher_rao_is_the_form_of_the_empirical_fisher_matrix(bias_free):
    x, y = data_for(bias_free)
    weights = list(bias_free.parameters())
    forms = []
    for i in range(len(x)):
        gradients = torch.autograd.grad(F.cross_entropy(bias_free(x[i : i + 1]), y[i : i + 1]), weights)
        forms.append(float(sum((g * w).sum() for g, w in zip(gradients, weights, strict=True))) ** 2)
    measure = value("fisher-rao", bias_free, (x, y))
    assert measure.value == pytest.approx(np.mean(forms), rel=1e-10)
    assert (measure.config["matrix"], measure.config["depth"], measure.verdict) == ("empirical Fisher", 3, "exact")


def test_the_gauss_newton_form_is_another_number(bias_free):
    data = data_for(bias_free)
    objective = ls.Objective(bias_free, data)
    form = float(ls.GaussNewton(objective).forms(objective.theta[:, None]))
    assert abs(form - value("fisher-rao", bias_free, data).value) > 0.01 * form


def test_margins_keep_their_sign_and_left_out_samples_do_not_count():
    model = nn.Linear(3, 3, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
    x = torch.tensor([[3.0, 1, 0], [0, 5, 1], [2, 1, 0], [9, 9, 9]], dtype=torch.float64)
    measure = value("margin", model, (x, torch.tensor([0, 1, 1, -100])))
    assert sorted(measure.samples) == [-1, 2, 4]
    assert measure.value == pytest.approx(np.percentile([-1, 2, 4], 10))
    assert measure.larger == "flatter"


def test_one_logit_for_yes_or_no_counts_as_two_classes():
    model = filled(nn.Sequential(nn.Linear(4, 5, False), nn.ReLU(), nn.Linear(5, 1, False)))
    x = data_for(filled(nn.Sequential(nn.Linear(4, 3))))[0]
    y = (torch.arange(len(x)) % 2).double()
    logit, sign = model(x)[:, 0].detach(), 2 * y - 1
    for target in (y, y[:, None]):
        measure = value("margin", model, (x, target), "binary_cross_entropy")
        assert measure.value == pytest.approx(np.percentile((sign * logit).numpy(), 10), rel=1e-12)
    weights, forms = list(model.parameters()), []
    for i in range(len(x)):
        loss = F.binary_cross_entropy_with_logits(model(x[i : i + 1])[:, 0], y[i : i + 1])
        gradients = torch.autograd.grad(loss, weights)
        forms.append(sum(float((g * w).detach().sum()) for g, w in zip(gradients, weights, strict=True)) ** 2)
    measure = value("fisher-rao", model, (x, y), "binary_cross_entropy")
    assert measure.value == pytest.approx(np.mean(forms), rel=1e-10)
    soft = value("margin", model, (x, 0.8 * y), "binary_cross_entropy")
    assert soft.verdict == "failed"


@pytest.mark.parametrize("name", ["margin", "fisher-rao"])
def test_a_loss_without_logits_of_classes_is_a_stated_gap(name):
    model = nn.Linear(3, 1).double()
    measure = value(name, model, (torch.ones(4, 3, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)), "mse")
    assert measure.verdict == "failed"
    assert "needs logits of classes" in measure.reasons[0]


def test_products_over_layers_of_a_linear_net(bias_free):
    data = data_for(bias_free)
    matrices = [layer.weight.detach().numpy() for layer in bias_free if isinstance(layer, nn.Linear)]
    spectral = np.prod([np.linalg.svd(m, compute_uv=False)[0] for m in matrices])
    assert value("spectral-product", bias_free, data).value == pytest.approx(spectral, rel=1e-10)
    frobenius = np.prod([np.sqrt((m**2).sum()) for m in matrices])
    assert value("frobenius-product", bias_free, data).value == pytest.approx(frobenius, rel=1e-10)


def test_path_norm_of_a_linear_net():
    model = filled(nn.Sequential(nn.Linear(4, 5, False), nn.Linear(5, 3, False)))
    first, second = (layer.weight.detach().square() for layer in model)
    truth = float((second @ first).sum().sqrt())
    assert value("path-norm", model, data_for(model)).value == pytest.approx(truth, rel=1e-12)


def test_path_norm_adds_over_every_path_from_inputs_and_biases():
    model = plain_net()
    (w1, b1), (w2, b2), (w3, b3) = ((m.weight.detach(), m.bias.detach()) for m in model if isinstance(m, nn.Linear))
    total = sum(float(b3[k]) ** 2 for k in range(3))
    for k, j in itertools.product(range(3), range(5)):
        total += float(w3[k, j] * b2[j]) ** 2
        for i in range(6):
            total += float(w3[k, j] * w2[j, i] * b1[i]) ** 2
            total += sum(float(w3[k, j] * w2[j, i] * w1[i, h]) ** 2 for h in range(4))
    assert value("path-norm", model, data_for(model)).value == pytest.approx(total**0.5, rel=1e-10)


def folded_by_hand(model):
    """Return the convolutions of ``norm_net`` with BatchNorm in their weights and biases."""
    layers = []
    for conv, norm in ((model[0], model[1]), (model[3], model[4])):
        slope = norm.weight / norm.running_var.sqrt()
        bias = 0 if conv.bias is None else conv.bias
        shift = norm.bias + slope * (bias - norm.running_mean)
        layers.append(((conv.weight * slope[:, None, None, None]).detach(), shift.detach()))
    return layers


def test_batchnorm_is_folded_first():
    model = norm_net()
    data = data_for(model)
    (w1, b1), (w2, b2) = folded_by_hand(model)
    last = model[7]
    matrices = [w1.flatten(1), w2.flatten(1), last.weight.detach()]
    spectral = np.prod([float(torch.linalg.matrix_norm(m, 2)) for m in matrices])
    assert value("spectral-product", model, data).value == pytest.approx(spectral, rel=1e-10)
    ones = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    hidden = F.conv2d(F.conv2d(ones, w1**2, b1**2), w2**2, b2**2).flatten(1)
    total = float(F.linear(hidden, last.weight**2, last.bias**2).sum())
    assert value("path-norm", model, data).value == pytest.approx(total**0.5, rel=1e-10)


def test_batchnorm_before_the_layers_counts_as_a_layer_of_its_own():
    model = filled(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)))
    slope = (model[0].weight / model[0].running_var.sqrt()).detach()
    measure = value("spectral-product", model, data_for(plain_net()))
    truth = float(slope.abs().max() * torch.linalg.matrix_norm(model[1].weight.detach(), 2))
    assert measure.value == pytest.approx(truth, rel=1e-10)


def test_the_model_is_unchanged_by_folding():
    model = norm_net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    value("path-norm", model, data_for(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model[1].eps == 0.0


class Shortcut(nn.Module):
    """A net in which something else than BatchNorm also uses the output of a layer."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(self.norm(hidden).relu() + hidden)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)), "LayerNorm"),
        (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), "piecewise linear"),
        (nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)), "statistics"),
    ],
)
def test_nets_without_a_path_norm_are_a_stated_gap(model, words):
    measure = value("path-norm", model.double(), data_for(plain_net()))
    assert measure.verdict == "failed"
    assert words in measure.reasons[0]


def test_batchnorm_is_not_folded_into_a_layer_whose_output_a_shortcut_uses():
    model = filled(Shortcut())
    slope = (model.norm.weight / model.norm.running_var.sqrt()).detach()
    shift = (model.norm.bias - model.norm.running_mean * slope).detach()
    first, last = (layer.weight.detach() for layer in (model.first, model.last))
    measure = value("frobenius-product", model, data_for(plain_net()))
    assert measure.value == pytest.approx(float(first.norm() * last.norm() * slope.norm()), rel=1e-10)
    hidden = (first**2).sum(1) + model.first.bias.detach() ** 2
    total = (last**2 @ (hidden * slope**2 + shift**2 + hidden) + model.last.bias.detach() ** 2).sum()
    assert value("path-norm", model, data_for(plain_net())).value == pytest.approx(float(total) ** 0.5, rel=1e-10)


def test_distance_to_the_start():
    model = plain_net()
    data = data_for(model)
    objective = ls.Objective(model, data)
    start = torch.zeros_like(objective.theta)
    weights = objective.scope.gather(objective.theta)
    assert value("distance", model, data, start=start).value == pytest.approx(float(weights.norm()), rel=1e-12)
    assert "Pass `start=" in value("distance", model, data).reasons[0]
    assert "must hold all parameters" in value("distance", model, data, start=start[1:]).reasons[0]


def test_a_transposed_convolution_has_the_product_of_its_filters_and_one_with_groups_none():
    """Its weight has the input channels first, so the rows of its matrix must be made from the second axis."""
    x, y = torch.randn(6, 2, 4, dtype=torch.float64), torch.arange(6) % 2
    last = [nn.ReLU(), nn.Flatten(), nn.Linear(15, 2, bias=False)]
    model = filled(nn.Sequential(nn.ConvTranspose1d(2, 3, 2, bias=False), *last))
    first, second = model[0].weight.detach().transpose(0, 1).flatten(1), model[3].weight.detach()
    spectral = np.prod([float(torch.linalg.matrix_norm(matrix, 2)) for matrix in (first, second)])
    assert value("spectral-product", model, (x, y)).value == pytest.approx(spectral, rel=1e-10)
    grouped = filled(nn.Sequential(nn.ConvTranspose1d(2, 4, 2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2)))
    assert (
        "not defined for transposed convolutions with groups" in value("spectral-product", grouped, (x, y)).reasons[0]
    )


def test_a_plain_function_has_no_layers():
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.ones(3, dtype=torch.float64))
    reasons = ls.sharpness(bowl, "spectral-product")["spectral-product"].reasons
    assert "needs the layers of a model, and the loss is a plain function" in reasons[0]
