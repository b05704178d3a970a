"""Minimum sharpness and normalised flatness against closed forms and a search over the scales."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import landscape as ls
from landscape.measures.claims.relu_nets import data_for, plain_net, rescaled
from landscape.measures.layer_scales import least_over_scales
from landscape.objective import Layout

Z = 4.0  # standard errors


def quadratic(hessian, shapes, point):
    h, w = torch.from_numpy(hessian), torch.from_numpy(point)
    layout = Layout.from_shapes(shapes)
    return ls.Objective.from_function(lambda x: (((x - w) @ h) * (x - w)).sum(-1) / 2, w, layout=layout)


@pytest.fixture(scope="module")
def layers():
    """Return a quadratic of two layers (3, 4) and (2, 3), its Hessian and its point."""
    generator = np.random.default_rng(1)
    factor = generator.standard_normal((18, 30)) / 5
    hessian, point = factor @ factor.T, generator.standard_normal(18)
    return quadratic(hessian, {"a": (3, 4), "b": (2, 3)}, point), hessian, point


def test_minimum_is_the_geometric_mean_of_the_traces(layers):
    objective, hessian, _ = layers
    traces = np.trace(hessian[:12, :12]), np.trace(hessian[12:, 12:])
    measure = ls.sharpness(objective, "minimum")["minimum"]
    assert measure.value == pytest.approx(2 * np.sqrt(np.prod(traces)), rel=1e-10)
    scales = minimize(lambda a: traces[0] * np.exp(-2 * a[0]) + traces[1] * np.exp(2 * a[0]), [0.0])
    assert measure.value == pytest.approx(scales.fun, rel=1e-6)
    assert measure.verdict == "exact"


def test_minimum_by_few_probes_is_within_its_error(layers):
    objective, *_ = layers
    truth = ls.sharpness(objective, "minimum")["minimum"].value
    assert ls.sharpness(objective, "minimum", metric="adaptive")["minimum"].value == pytest.approx(truth, rel=1e-10)
    measure = ls.sharpness(objective, "minimum", probes=12)["minimum"]
    assert 0 < abs(measure.value - truth) < Z * measure.standard_error


def test_minimum_does_not_change_if_whole_layers_are_rescaled():
    model = plain_net()
    data = data_for(model)
    before = ls.sharpness(ls.Objective(model, data), "minimum", probes=100)["minimum"].value
    with torch.no_grad():
        model[0].weight *= 5
        model[0].bias *= 5
        model[2].weight /= 5
    after = ls.sharpness(ls.Objective(model, data), "minimum", probes=100)["minimum"].value
    assert after == pytest.approx(before, rel=1e-9)


def test_a_layer_of_negative_curvature_is_a_stated_gap():
    hill = quadratic(np.diag([1.0, 1.0, -1.0, -1.0]), {"a": (1, 2), "b": (2, 1)}, np.ones(4))
    measure = ls.sharpness(hill, "minimum")["minimum"]
    assert measure.verdict == "failed"
    assert "Hessian of b is -2" in measure.reasons[0]


def test_normalised_if_the_scales_separate():
    generator = np.random.default_rng(3)
    point, rows, columns = (
        generator.standard_normal((3, 4)),
        generator.random((3, 1)) + 0.2,
        generator.random((1, 4)) + 0.2,
    )
    diagonal = point**2 * rows * columns
    objective = quadratic(np.diag(diagonal.ravel()), {"a": (3, 4)}, point.ravel())
    truth = 2 * (np.sqrt(diagonal) * np.abs(point)).sum()
    assert ls.sharpness(objective, "normalised")["normalised"].value == pytest.approx(truth, rel=1e-9)


def test_the_least_sum_is_that_of_a_search():
    generator = np.random.default_rng(0)
    h, w = generator.exponential(size=(3, 4)), generator.exponential(size=(3, 4))

    def total(logs):
        scale = np.exp(logs[:3, None] + logs[3:])
        return (h * scale + w / scale).sum()

    value, scales = least_over_scales(h, w)
    assert value == pytest.approx(minimize(total, np.zeros(7), tol=1e-12).fun, rel=1e-9)
    assert value == pytest.approx((h * scales + w / scales).sum(), rel=1e-12)
    assert value > 2 * np.sqrt(h * w).sum()


def test_rows_and_columns_without_curvature_or_weights_add_nothing():
    h, w = np.array([[1.0, 0.0, 4.0], [0.0, 0.0, 0.0]]), np.array([[9.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
    value, scales = least_over_scales(h, w)
    assert value == pytest.approx(6.0)
    assert np.isfinite(scales).all()


@pytest.mark.parametrize("probes", [10, 16])
def test_normalised_by_few_probes_is_within_its_error(layers, probes):
    objective, *_ = layers
    truth = ls.sharpness(objective, "normalised")["normalised"].value
    measures = [ls.sharpness(objective, "normalised", probes=probes, seed=s)["normalised"] for s in range(10)]
    errors = [abs(each.value - truth) / each.standard_error for each in measures]
    assert 0 < max(errors) < Z
    assert measures[0].verdict == "estimate"


def test_normalised_does_not_change_if_single_units_are_rescaled():
    model = plain_net()
    data = data_for(model)
    before, after = (
        ls.sharpness(ls.Objective(net, data), "normalised", probes=100)["normalised"].value
        for net in (model, rescaled(model))
    )
    assert after == pytest.approx(before, rel=1e-9)


def test_both_measures_share_their_products(layers):
    table = ls.sharpness(layers[0], ["minimum", "normalised"], probes=10)
    assert (table["minimum"].cost.evaluations, table["normalised"].cost.evaluations) == (6 * 10, 0)
