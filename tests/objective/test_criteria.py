"""What the objective measures along rays: criteria, early stopping, accuracy; and what it keeps in memory."""

from __future__ import annotations

import gc
import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from helpers.models import KINDS, SAMPLES, TinyLM, along, mlp, moved, points_near, table, tokens, wide
from landscape.errors import ObjectiveError
from landscape.objective import Objective

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]


def test_rise_is_the_loss_above_the_centre():
    objective = Objective(mlp(), table())
    steps, rise = along(objective, [0.0, 0.1, 1.0], criterion="rise")
    with objective.running():
        loss = objective.along(steps, np.array([0.0, 0.1, 1.0]))
    np.testing.assert_allclose(rise.values, loss.values - objective.centre, atol=1e-12)
    assert abs(rise.values[0]) < 1e-6
    assert objective.centre_of("rise") == objective.centre_of("kl") == 0.0
    assert objective.centre_of("loss") == objective.centre
    with pytest.raises(ObjectiveError, match="loss, rise, kl"):
        objective.centre_of("entropy")


@pytest.mark.parametrize("kind", ["mlp", "lstm", "language model"])
@pytest.mark.parametrize("size", [4, None])
def test_kl_against_a_direct_computation(kind, size):
    make, data = KINDS[kind]
    model, (x, y) = make().double(), wide(data())
    objective = Objective(model, (x, y), batch_size=size)
    steps, found = along(objective, [0.0, 0.1, 0.3], criterion="kl")
    with torch.no_grad():
        log_p0 = F.log_softmax(moved(model, objective, objective.theta)(x), -1)
        for step, radius, value in zip(steps, (0.0, 0.1, 0.3), found.values, strict=True):
            log_p = F.log_softmax(moved(model, objective, objective.theta + radius * step)(x), -1)
            kl = (log_p0.exp() * (log_p0 - log_p)).sum(-1)[y != -100].mean()
            assert value == pytest.approx(float(kl), rel=1e-10, abs=1e-15)
    assert found.complete.all()


def test_kl_of_a_callable_counts_predictions_not_samples():
    model, (x, y) = TinyLM().double(), tokens()
    y = y.clamp_min(0)
    named = Objective(model, (x, y))
    called = Objective(model, (x, y), lambda z, t: F.cross_entropy(z.reshape(-1, 11), t.reshape(-1)))
    steps, expected = along(named, [0.1], criterion="kl")
    with called.running():
        assert called.along(steps, np.array([0.1]), criterion="kl").values == pytest.approx(expected.values, rel=1e-12)


def test_kl_of_one_logit():
    model, (x, _) = nn.Linear(6, 1).double(), wide(table())
    labels = torch.randint(0, 2, (SAMPLES,)).double()
    for loss in ("bce", lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y)):
        objective = Objective(model, (x, labels), loss)
        steps, found = along(objective, [0.0, 0.5], criterion="kl")
        with torch.no_grad():
            p = torch.sigmoid(model(x))
            q = torch.sigmoid(moved(model, objective, objective.theta + 0.5 * steps[1])(x))
        expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
        assert found.values == pytest.approx([0.0, float(expected)], rel=1e-10)


def test_kl_needs_predictions_of_classes():
    regression = Objective(nn.Linear(6, 1), (table()[0], torch.zeros(SAMPLES)), "mse")
    with pytest.raises(ObjectiveError, match="`criterion='rise'`"):
        regression.centre_of("kl")
    with pytest.raises(ObjectiveError, match="plain function"):
        Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3)).centre_of("kl")


@pytest.mark.parametrize("criterion", ["loss", "rise", "kl"])
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_early_stopping_is_exact_and_counts_what_it_read(criterion, kind):
    make, data = KINDS[kind]
    objective = Objective(make(), data(), batch_size=4)
    radii = np.linspace(0.0, 2.0, 12)
    steps, full = along(objective, radii, criterion=criterion)
    assert full.complete.all()
    assert (full.read == 1).all()
    ceiling = np.full(12, np.median(full.values))
    with objective.running():
        early = objective.along(steps, radii, ceiling=ceiling, criterion=criterion)
    inside = full.values < ceiling
    assert early.complete[inside].all()
    np.testing.assert_allclose(early.values[inside], full.values[inside], rtol=1e-6, atol=1e-9)
    assert (early.values[~inside] >= ceiling[~inside]).all()
    assert (early.read[~inside] < 1).any()
    # batches of 4, 4, 4, 4, 4 and 3 samples
    shares = np.array([4, 8, 12, 16, 20, 23]) / 23
    assert np.isin(early.read.round(12), shares.round(12)).all()
    assert (early.complete == (early.read == 1)).all()


def test_the_value_of_a_stopped_pass_is_the_mean_of_what_was_read():
    objective = Objective(mlp(), table(), batch_size=4)
    steps, full = along(objective, [0.0, 1.0])
    with objective.running():
        early = objective.along(steps, np.array([0.0, 1.0]), ceiling=np.full(2, full.values.min() / 2))
        for row in range(2):
            point = (objective.theta + row * steps[row])[None]
            seen = round(early.read[row] * SAMPLES)
            assert 0 < seen < SAMPLES
            total = sum(float(objective.program.totals(point, i)) for i in range(seen // 4))
            assert early.values[row] == pytest.approx(total / seen, rel=1e-6)


def test_a_loss_that_may_be_negative_is_never_stopped():
    objective = Objective(mlp(), table(), lambda z, y: F.cross_entropy(z, y) - 3.0, batch_size=4)
    steps, full = along(objective, [0.5, 3.0])
    with objective.running():
        ceiling = objective.along(steps, np.array([0.5, 3.0]), ceiling=np.full(2, -5.0))
    assert ceiling.complete.all()
    np.testing.assert_allclose(ceiling.values, full.values, rtol=1e-7)


def test_nan_and_infinity_along_a_ray_are_outside_and_reported():
    class Root(nn.Module):
        """Undefined where the weight is negative, infinite where it exceeds 4."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 1))

        def forward(self, x):
            return torch.where(self.weight > 4, math.inf, self.weight.sqrt()) * x

    objective = Objective(Root(), (torch.ones(8, 1), torch.ones(8)), "mse", batch_size=3, scope="all")
    found = ls.basin_radii(objective, [50.0], directions=40, max_radius=10.0)
    ends = sorted({round(float(r), 2) for r in found.radii[:, 0]})
    assert ends == [1.0, 3.0]
    assert (found.nonfinite > 0).all()


@pytest.mark.parametrize("kind", ["mlp", "conv", "language model", "scripted"])
def test_accuracy(kind):
    make, data = KINDS[kind]
    model, (x, y) = make(), data()
    right = (deepcopy(model).eval()(x).argmax(-1) == y)[y != -100].double().mean()
    assert Objective(model, (x, y), batch_size=4).accuracy() == pytest.approx(float(right), rel=1e-12)
    assert Objective(nn.Linear(6, 1), (table()[0], torch.zeros(SAMPLES)), "mse").accuracy() is None
    assert Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3)).accuracy() is None


# Memory and chunks


@pytest.mark.parametrize("kind", ["mlp", "conv", "language model"])
def test_radii_do_not_depend_on_chunks(kind):
    make, data = KINDS[kind]
    model, xy = make(), data()
    settings = {"cutoffs": [0.2, 0.5], "criterion": "rise", "directions": 40}
    plain = Objective(model, xy)
    whole = ls.basin_radii(plain, **settings)
    one = plain.plan.lane_bytes + plain.plan.step_bytes
    for factor in (1, 3, 20):
        objective = Objective(model, xy, memory=factor * one)
        assert objective.plan.lanes <= factor
        assert objective.plan.bytes <= factor * one
        np.testing.assert_allclose(ls.basin_radii(objective, **settings).radii, whole.radii, rtol=1e-6)


def live_bytes() -> int:
    """Bytes of all storages that Python can reach, each counted once."""
    gc.collect()
    seen = {}
    for thing in gc.get_objects():
        plain = type(thing) in (torch.Tensor, nn.Parameter) and not thing.is_meta
        if plain and torch._C._has_storage(thing):  # a view of torch.func has none, nor what torch 2.6 has emptied
            storage = thing.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def test_memory_does_not_grow_with_the_number_of_directions():
    model = nn.Sequential(nn.Linear(6, 300), nn.Tanh(), nn.Linear(300, 3))
    objective = Objective(model, table(), memory=2_000_000)
    gc.freeze()  # what is there by now is neither counted nor looked through again, which takes most of the time
    before = live_bytes()
    peaks = []
    for directions in (100, 300):
        seen: list[int] = []

        def look(progress, directions=directions, seen=seen):
            if not seen or progress.done == directions:  # after the first block and the last
                seen.append(live_bytes())

        ls.basin_radii(objective, [2.0], directions=directions, on_progress=look)
        peaks.append(max(seen))
        assert len(seen) == 2
    # a stored direction would be 10 kB
    assert peaks[1] - peaks[0] < 20_000
    parameters = 4 * objective.layout.size
    assert peaks[1] - before < 2_000_000 + 2 * parameters


@pytest.mark.parametrize("rows", [[2, 3, 4], [4, 1, 3, 3, 0, 2, 1], [5]])
def test_rows_choose_among_the_steps(rows):
    objective = Objective(mlp(), table(), memory=3 * 2000)
    assert objective.plan.lanes < 7
    steps, rows = points_near(objective, 6, 1.0), np.array(rows, dtype=np.int64)
    radii, ceiling = np.linspace(0.1, 1.0, len(rows)), np.linspace(0.5, 2.0, len(rows))
    with objective.running():
        found = objective.along(steps, radii, rows=rows, ceiling=ceiling)
        expected = objective.along(steps[rows.tolist()], radii, ceiling=ceiling)
    for name in ("values", "complete", "read"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


def test_the_planned_bytes_hold_a_block_and_what_one_evaluation_takes():
    plan = Objective(mlp(), table()).plan
    vector, activation = 4 * (6 * 8 + 8 + 8 * 3 + 3), 4 * 8 * SAMPLES
    assert plan.bytes == plan.block * vector + plan.lanes * 2 * (vector + activation)


def test_a_memory_budget_below_one_point_is_refused():
    with pytest.raises(ObjectiveError, match=r"is 100 bytes, and one point needs [\d,]+ .*`memory=...`"):
        Objective(mlp(), table(), memory=100)
