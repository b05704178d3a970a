"""Each measure against its closed form on a quadratic, by a z-gate with a fixed number of draws."""

import math

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.measures import REGISTRY
from landscape.measures.draws import Draws
from landscape.measures.run import take
from landscape.measures.settings import Settings
from landscape.rays.budget import Budget

Z = 4.0  # standard errors


@pytest.fixture(scope="module")
def bowl():
    """Return a quadratic 1/2 (w - w0)' H (w - w0) around w0, its H and w0, with a dense H of condition 100."""
    generator = np.random.default_rng(5)
    n = 12
    rotation = np.linalg.qr(generator.standard_normal((n, n)))[0]
    hessian = torch.from_numpy(rotation * np.geomspace(0.05, 5.0, n) @ rotation.T)
    centre = torch.from_numpy(generator.standard_normal(n))

    def loss(points):
        step = points - centre
        return 0.5 * ((step @ hessian) * step).sum(-1)

    return ls.Objective.from_function(loss, centre), hessian.numpy(), centre.numpy()


def scales(centre):
    return {"identity": np.ones_like(centre), "adaptive": np.abs(centre)}


def assert_within(measure, truth):
    assert measure.standard_error > 0
    assert abs(measure.value - truth) < Z * measure.standard_error


@pytest.mark.parametrize("metric", ["identity", "adaptive"])
def test_average_case_is_half_the_trace_in_the_metric(bowl, metric):
    objective, hessian, centre = bowl
    truth = 0.3**2 / 2 * float((scales(centre)[metric] ** 2 * np.diag(hessian)).sum())
    names = ["average-case", "average-case-uniform"]
    table = ls.sharpness(objective, names, metric=metric, rho=0.3, draws=2_000)
    assert_within(table["average-case"], truth)
    assert_within(table["average-case-uniform"], truth / 3)


def test_low_pass_and_local_entropy(bowl):
    objective, hessian, _ = bowl
    table = ls.sharpness(objective, ["low-pass", "local-entropy"], rho=0.2, draws=2_000)
    assert_within(table["low-pass"], 0.2**2 / 2 * np.trace(hessian))
    truth = 0.5 * np.linalg.slogdet(np.eye(len(hessian)) + hessian / 100)[1]
    assert_within(table["local-entropy"], truth)


def test_pac_bayes_by_loss_inverts_the_trace(bowl):
    objective, hessian, centre = bowl
    table = ls.sharpness(objective, ["pac-bayes", "pac-bayes-magnitude"], draws=1_000)
    assert_within(table["pac-bayes"], np.trace(hessian) / (2 * 0.1))
    weighted = (centre**2 * np.diag(hessian)).sum()
    variance = (2 * 0.1 - 1e-3**2 * np.trace(hessian)) / weighted
    assert_within(table["pac-bayes-magnitude"], 1 / variance)


@pytest.mark.parametrize("metric", ["identity", "adaptive"])
def test_curvature_in_the_metric(bowl, metric):
    objective, hessian, centre = bowl
    scale = scales(centre)[metric]
    scaled = scale[:, None] * hessian * scale
    table = ls.sharpness(objective, ["lambda-max", "trace", "frobenius"], metric=metric)
    assert table["lambda-max"].value == pytest.approx(np.linalg.eigvalsh(scaled)[-1], rel=1e-9)
    assert table["trace"].value == pytest.approx(np.trace(scaled), rel=1e-9)  # by unit vectors: n < probes
    assert table["frobenius"].value == pytest.approx(np.linalg.norm(scaled), rel=1e-9)
    assert {each.verdict for each in table.values()} == {"exact"}


def test_trace_and_frobenius_by_random_signs(bowl):
    objective, hessian, _ = bowl
    table = ls.sharpness(objective, ["trace", "frobenius"], probes=10)
    assert_within(table["trace"], np.trace(hessian))
    assert_within(table["frobenius"], np.linalg.norm(hessian))


def test_rows_1_and_11_share_their_draws(bowl):
    objective, *_ = bowl
    table = ls.sharpness(objective, ["average-case", "low-pass"], rho=0.2, draws=10)
    assert np.array_equal(table["average-case"].samples, table["low-pass"].samples - objective.centre)
    assert table["low-pass"].cost.evaluations == 0


def test_a_difference_below_rounding_says_so():
    flat = ls.Objective.from_function(lambda x: 1.0 + 1e-12 * x.square().sum(-1), torch.ones(3))
    measure = ls.sharpness(flat, "average-case", rho=1e-3)["average-case"]
    assert measure.verdict == "below rounding"
    assert "rounding" in measure.reasons[0]


def test_infinite_losses_are_a_stated_gap():
    wall = ls.Objective.from_function(
        lambda x: torch.where(x.abs().sum(-1) > 1e-2, math.inf, x.square().sum(-1)), torch.zeros(3)
    )
    measure = ls.sharpness(wall, "average-case", rho=0.1)["average-case"]
    assert (measure.value, measure.verdict) == (math.inf, "unknown")
    assert "smaller `rho" in measure.reasons[0]


def test_fewer_products_near_the_end_of_the_budget_are_said(bowl):
    objective, hessian, _ = bowl
    draws = Draws(objective, Settings(probes=11), Budget(passes=100))  # ten products are 60 passes
    measure = take(REGISTRY["trace"], draws, {})
    assert draws.cut
    assert len(measure.samples) == 10
    assert measure.reasons == ("10 of 11 products fitted into the budget; pass a larger `budget=...`",)
    assert_within(measure, np.trace(hessian))
