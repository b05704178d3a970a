"""Directions of large models: unit vectors of the metric, filters of norm zero, and files of either generator."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError, ObjectiveError
from landscape.objective import Objective
from landscape.objective.moved_weights import flat_step
from landscape.rays import EntryMetric, basin_radii, make_metric, metric_of, random_directions
from landscape.rays.entries import GENERATOR, levels, usual_length
from landscape.rays.entry_directions import EntryStep


def objective(*, flat: bool = False, scope: str = "weights", dead: bool = False) -> Objective:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (4, 3)), nn.ConvTranspose1d(4, 6, 2, groups=2), nn.Flatten(), nn.Tanh(), nn.Linear(24, 3)
    )
    if dead:
        with torch.no_grad():
            net[1].weight[:2, 1] = 0.0  # filter 1 of the first group
            net[4].weight[2] = 0.0
    return Objective(net, (torch.randn(20, 12), torch.randint(0, 3, (20,))), scope=scope, flat=flat)


def vector(step: EntryStep, of: Objective) -> Tensor:
    return flat_step(step, of.layout.entries, of.device).double()


@pytest.mark.parametrize("scope", ["weights", "all"])
@pytest.mark.parametrize("name", ["filter", "layer", "identity"])
@pytest.mark.parametrize("dead", [False, True])
def test_the_metric_is_that_of_flat_vectors(name: str, scope: str, dead: bool) -> None:
    of = objective(scope=scope, dead=dead)
    metric, flat = metric_of(of, name), make_metric(name, of.theta, of.scope)
    assert isinstance(metric, EntryMetric)
    assert metric.log_scale_sum == pytest.approx(flat.log_scale_sum, rel=1e-6)
    assert (metric.scope.ranges, metric.scope.size, metric.dead) == (flat.scope.ranges, flat.scope.size, flat.dead)
    step = vector(random_directions(of, metric, 5).steps([2])[0], of)
    scale = torch.ones(()) if flat.scale is None else flat.scale
    phi = flat.scope.gather(step) / scale
    assert float(phi.norm()) == pytest.approx(1.0, rel=1e-6)
    drawn = flat.scope.gather(levels(5, 2, 0, of.layout.size)).double()
    assert torch.allclose(phi, drawn / drawn.norm(), rtol=1e-5, atol=0)
    rest = step.clone()
    flat.scope.scatter(torch.zeros(flat.scope.size, dtype=torch.float64), rest)
    assert not bool(rest.any())


def test_a_metric_that_does_not_exist_or_moves_nothing_is_refused() -> None:
    of = objective()
    with pytest.raises(ObjectiveError, match="not known"):
        metric_of(of, "adaptive")
    net = nn.Linear(3, 2)
    nn.init.zeros_(net.weight)
    with pytest.raises(ObjectiveError, match="moves nothing"):
        metric_of(Objective(net, (torch.eye(3), torch.tensor([0, 1, 0])), flat=False), "filter")


def test_levels_are_kept_up_to_the_room_and_change_no_number() -> None:
    of = objective()
    metric = metric_of(of, "filter")
    steps = []
    for room in (0, 1, 47, 100, 10**6):
        of.plan = replace(of.plan, step_bytes=room)
        steps.append(vector(random_directions(of, metric, 0).steps([0])[0], of))
    assert all(torch.equal(step, steps[0]) for step in steps)


def test_the_memory_of_steps_serves_the_next_ones_once_they_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    of = objective()
    metric = metric_of(of, "filter")
    truth = [vector(random_directions(of, metric, 0).steps([index])[0], of) for index in range(4)]
    module = sys.modules[random_directions.__module__]
    made, make = count(), module.room_for_levels
    monkeypatch.setattr(module, "room_for_levels", lambda *given: (next(made), make(*given))[1])
    rays = random_directions(of, metric, 0)
    first, second = rays.steps([0]), rays.steps([1])
    assert torch.equal(vector(first[0], of), truth[0])
    assert torch.equal(vector(second[0], of), truth[1])
    del second
    third = rays.steps([2])
    assert torch.equal(vector(third[0], of), truth[2])
    del third
    assert torch.equal(vector(rays.steps([3])[0], of), truth[3])
    assert next(made) == 2, "for the first two, which were there together"


def test_rough_directions_of_a_large_scope_have_the_usual_length(monkeypatch: pytest.MonkeyPatch) -> None:
    of = objective()
    metric = metric_of(of, "filter")
    exact, small = (vector(random_directions(of, metric, 0, rough=how).steps([1])[0], of) for how in (False, True))
    assert torch.equal(small, exact)  # few entries have a length of their own
    monkeypatch.setattr(sys.modules[random_directions.__module__], "FLAT_LIMIT", 0)
    rough = vector(random_directions(of, metric, 0, rough=True).steps([1])[0], of)
    drawn = of.scope.gather(levels(0, 1, 0, of.layout.size)).double()
    assert torch.allclose(rough * usual_length(of.dimension) / drawn.norm(), exact, rtol=1e-6, atol=0)


def test_radii_record_the_generator_and_continue_with_it() -> None:
    of = objective()
    whole = basin_radii(of, [1.3], directions=3, first_step=0.3)
    assert whole.config["generator"] == GENERATOR
    part = basin_radii(of, [1.3], directions=2, first_step=0.3)
    assert np.array_equal(basin_radii(of, [1.3], directions=3, first_step=0.3, resume=part).radii, whole.radii)


def test_radii_of_the_first_generator_continue_with_it() -> None:
    """Files from before the generator by entry, of a model that is large now."""
    part = basin_radii(objective(flat=True), [1.3], directions=2, first_step=0.3)
    assert "generator" not in part.config
    more = basin_radii(objective(), [1.3], directions=3, first_step=0.3, resume=part)
    assert "generator" not in more.config
    assert more.radii == pytest.approx(
        basin_radii(objective(flat=True), [1.3], directions=3, first_step=0.3).radii, rel=1e-3
    )


def test_radii_of_another_generator_are_refused() -> None:
    part = basin_radii(objective(), [1.3], directions=2, first_step=0.3)
    with pytest.raises(LandscapeError, match="generator: stored 'philox"):
        basin_radii(objective(flat=True), [1.3], directions=3, first_step=0.3, resume=part)
    other = replace(part, config={**part.config, "generator": "threefry"})
    with pytest.raises(LandscapeError, match="the generator 'threefry'"):
        basin_radii(objective(), [1.3], directions=3, first_step=0.3, resume=other)
