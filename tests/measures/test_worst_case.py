"""Worst-case sharpness against closed forms, and what it does with zero weights, batches and rounding."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.measures.claims.relu_nets import filled
from landscape.measures.draws import Draws
from landscape.measures.settings import Settings
from landscape.measures.worst_case import worst_case_l2
from landscape.rays.budget import Budget


@pytest.fixture(scope="module")
def bowl():
    """Return a quadratic with H >= 0 entrywise and its minimum at w, with H and w; one weight is zero."""
    generator = np.random.default_rng(3)
    factor = generator.random((12, 12))
    hessian, centre = factor @ factor.T, generator.standard_normal(12)
    centre[4] = 0.0
    h, w = torch.from_numpy(hessian), torch.from_numpy(centre)
    return ls.Objective.from_function(lambda x: (((x - w) @ h) * (x - w)).sum(-1) / 2, w), hessian, centre


@pytest.fixture(scope="module")
def net():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    return model, (x, torch.arange(10) % 3)


@pytest.mark.parametrize("metric", ["identity", "adaptive"])
def test_closed_forms_on_a_quadratic(bowl, metric):
    objective, hessian, centre = bowl
    scale = np.abs(centre) if metric == "adaptive" else np.ones(12)
    table = ls.sharpness(objective, ["worst-case-l2", "worst-case-linf"], metric=metric, rho=0.3)
    scaled = scale[:, None] * hessian * scale
    assert table["worst-case-l2"].value == pytest.approx(0.3**2 / 2 * np.linalg.eigvalsh(scaled)[-1], rel=1e-6)
    assert table["worst-case-linf"].value == pytest.approx(0.3**2 / 2 * scale @ hessian @ scale, rel=1e-9)
    assert {each.verdict for each in table.values()} == {"lower bound"}


def test_keskar_on_a_quadratic(bowl):
    objective, hessian, centre = bowl
    scale = np.abs(centre) + 1
    shifted = ls.Objective.from_function(lambda x: objective.program.totals(x, 0) + 1.5, objective.theta)
    rise = 0.01**2 / 2 * scale @ hessian @ scale
    assert ls.sharpness(shifted, "keskar", rho=0.01)["keskar"].value == pytest.approx(100 * rise / 2.5, rel=1e-6)


def test_batches_count_by_their_samples_and_each_has_its_own_worst_point(net):
    model, (x, y) = net
    whole = ls.sharpness(ls.Objective(model, (x, y), batch_size=4), "worst-case-l2")["worst-case-l2"]
    parts = [
        ls.sharpness(ls.Objective(model, (x[a:b], y[a:b]), batch_size=4), "worst-case-l2")["worst-case-l2"]
        for a, b in ((0, 4), (4, 8), (8, 10))
    ]
    assert whole.samples == pytest.approx([part.value for part in parts], rel=1e-9)
    assert whole.value == pytest.approx(np.average(whole.samples, weights=[4, 4, 2]), rel=1e-12)
    assert whole.config["batch_size"] == 4


def test_the_model_and_its_point_stay_as_they_are(net):
    model, data = net
    before = [parameter.clone() for parameter in model.parameters()]
    objective = ls.Objective(model, data)
    first = ls.sharpness(objective, "worst-case-linf")["worst-case-linf"].value
    assert ls.sharpness(objective, "worst-case-linf")["worst-case-linf"].value == first
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_search_costs_at_most_twenty_gradients_per_batch(net):
    table = ls.sharpness(ls.Objective(net[0], net[1], batch_size=4), ["worst-case-l2", "worst-case-linf"])
    rounding = 4  # passes that the first measure takes to see what rounding does
    assert table["worst-case-l2"].cost.evaluations <= 20 * 3 + 1 + rounding
    assert table["worst-case-linf"].cost.evaluations <= 20 * 3 + 1e-9


@pytest.mark.parametrize("metric", ["identity", "adaptive", "filter"])
def test_a_run_with_lambda_max_starts_along_its_eigenvector_too(net, metric):
    objective = ls.Objective(net[0], net[1], batch_size=4)
    alone = ls.sharpness(objective, "worst-case-l2", metric=metric, rho=0.5)["worst-case-l2"]
    table = ls.sharpness(objective, ["worst-case-l2", "lambda-max"], metric=metric, rho=0.5)
    known = table["worst-case-l2"]
    assert (alone.config["top_eigenvector"], known.config["top_eigenvector"]) == (False, True)
    assert (known.samples >= alone.samples).all()
    assert known.cost.evaluations <= 20 * 3 + 1 + 4
    assert table["lambda-max"].cost.evaluations > 0  # pays for its own search


def test_a_resumed_run_with_lambda_max_equals_one_run(net):
    objective = ls.Objective(net[0], net[1], batch_size=4)
    both = ["worst-case-l2", "lambda-max"]
    whole = ls.sharpness(objective, both, rho=0.5)
    first, second = ({name: ls.sharpness(objective, name, rho=0.5)[name]} for name in both)
    for known in (first, second, first | second):  # each as a file that holds it
        resumed = ls.sharpness(objective, both, rho=0.5, resume=known)
        for name in both:
            assert resumed[name].value == whole[name].value
            assert resumed[name].pays == whole[name].pays
        assert resumed["worst-case-l2"].config == whole["worst-case-l2"].config
        assert resumed["worst-case-l2"].cost.evaluations == pytest.approx(whole["worst-case-l2"].cost.evaluations)
    news = []
    again = ls.sharpness(objective, both, rho=0.5, resume=dict(resumed.measures), on_progress=news.append)
    assert not any(progress.news for progress in news)
    assert again["worst-case-l2"].value == whole["worst-case-l2"].value


@pytest.mark.parametrize("metric", ["identity", "adaptive"])
def test_the_eigenvector_reaches_what_the_gradient_misses(metric):
    """The gradient lies along the first axis. The eigenvector of C H C, and not that of H, is the second one."""
    w, h = torch.tensor([1.0, 4.0, 0.1], dtype=torch.float64), torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64)
    slope = torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64)
    bowl = ls.Objective.from_function(lambda x: ((x - w).square() * h / 2 + slope * (x - w)).sum(-1), w)
    scale = w if metric == "adaptive" else torch.ones(3)
    known = ls.sharpness(bowl, ["worst-case-l2", "lambda-max"], metric=metric, rho=0.5)["worst-case-l2"]
    assert known.value >= 0.995 * 0.5**2 / 2 * float((scale.square() * h).max())
    alone = ls.sharpness(bowl, ["worst-case-l2"], metric=metric, rho=0.5)["worst-case-l2"]
    assert alone.value < 0.5 * known.value


def test_a_wall_in_the_ball_is_an_infinite_rise_that_says_so():
    wall = ls.Objective.from_function(
        lambda x: torch.where(x.square().sum(-1) > 1e-2, torch.inf, x.sum(-1)), torch.zeros(3)
    )
    measure = ls.sharpness(wall, "worst-case-l2", rho=0.5)["worst-case-l2"]
    assert (measure.value, measure.verdict) == (np.inf, "unknown")
    assert "smaller `rho" in measure.reasons[0]


def test_a_budget_that_ends_between_batches_is_said(net):
    objective = ls.Objective(net[0], net[1], batch_size=4)
    whole = ls.sharpness(objective, "worst-case-l2")["worst-case-l2"]
    draws = Draws(objective, Settings(rho=whole.config["rho"]), Budget(passes=1))
    part = worst_case_l2(objective, draws)
    assert draws.cut
    assert part.samples == pytest.approx(whole.samples[:1])
    assert (part.value, part.verdict) == (part.samples[0], "unknown")
    assert "after 1 of 3 batches" in part.reasons[0]


def test_gradients_of_a_model_in_training_mode():
    generator = torch.Generator().manual_seed(0)
    model = filled(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)))
    model[1].eps = 1e-3
    data = torch.randn(8, 4, generator=generator, dtype=torch.float64), torch.arange(8) % 3
    table = ls.sharpness(ls.Objective(model, data, training=True), ["worst-case-l2", "gradient-norm"])
    assert table["worst-case-l2"].value > 0
    loss = nn.functional.cross_entropy(model.train()(data[0]), data[1])
    slopes = torch.autograd.grad(loss, [model[0].weight, model[3].weight])
    assert table["gradient-norm"].value == pytest.approx(
        float(torch.cat([s.flatten() for s in slopes]).norm()), rel=1e-9
    )
