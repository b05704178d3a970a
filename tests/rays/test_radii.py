"""Basin radii against closed forms, and what a run promises: chunks, resume, errors."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_radii, lp_ball, steps_of
from landscape.objective import Layout
from landscape.rays import RandomDirections, make_metric
from landscape.results import Progress


@pytest.mark.parametrize("n", [2, 10, 300, 10_000])
def test_ellipsoids(n: int) -> None:
    curvatures = np.exp(np.random.default_rng(n).normal(size=n))
    objective = ellipsoid(curvatures)
    found = ls.basin_radii(objective, [0.1, 1.0], metric="identity", directions=60, seed=3)
    phi = steps_of(objective, "identity", 3, 60).numpy()
    for column, cutoff in enumerate([0.1, 1.0]):
        np.testing.assert_allclose(found.radii[:, column], ellipsoid_radii(curvatures, phi, cutoff), rtol=1e-9)
    assert found.config["dimension"] == n


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_every_metric_scales_the_ray(metric: str) -> None:
    """In metric coordinates the curvatures are s_i^2 h_i; the closed form uses the steps themselves."""
    rng = np.random.default_rng(0)
    layout = Layout.from_shapes({"first": (4, 3), "bias": (4,), "second": (2, 4)})
    curvatures, centre = np.exp(rng.normal(size=24)), rng.normal(size=24)
    objective = ellipsoid(curvatures, centre, layout)
    found = ls.basin_radii(objective, [0.001], metric=metric, directions=50, max_radius=math.inf)
    steps = steps_of(objective, metric, 0, 50).numpy()
    np.testing.assert_allclose(found.radii[:, 0], ellipsoid_radii(curvatures, steps, 0.001), rtol=1e-9)


def test_r_is_the_relative_perturbation_under_the_filter_metric() -> None:
    """r = 1 moves every filter by about its own norm: the mean of |step_f|^2 / |w_f|^2 is 1."""
    rng = np.random.default_rng(0)
    layout = Layout.from_shapes({"w": (8, 50), "v": (3, 40)})
    centre = rng.normal(size=520) * np.repeat(np.exp(rng.normal(size=11)), [50] * 8 + [40] * 3)
    objective = ellipsoid(np.ones(520), centre, layout)
    steps = steps_of(objective, "filter", 0, 2000)
    for name, rows in (("w", 8), ("v", 3)):
        norms = layout.views(objective.theta)[name].reshape(rows, -1).norm(dim=1)
        moved = torch.stack([layout.views(step)[name].reshape(rows, -1).norm(dim=1) for step in steps])
        ratio = (moved / norms).square()
        z = (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(2000))
        assert z.abs().max() < 4.5


def test_criterion_rise_measures_from_the_centre() -> None:
    offset = ls.Objective.from_function(lambda x: 5 + x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    found = ls.basin_radii(offset, [4.0], criterion="rise", metric="identity", directions=20)
    np.testing.assert_allclose(found.radii, 2.0, rtol=1e-9)
    assert found.centre == 0.0


def test_cutoffs_are_sorted_and_a_lower_one_never_lies_further_out() -> None:
    found = ls.basin_radii(lp_ball(6, 4), [1.0, 0.01, 0.1], metric="identity", directions=100)
    assert found.cutoffs == (0.01, 0.1, 1.0)
    assert (np.diff(found.radii, axis=1) > 0).all()


def test_nonfinite_points_are_outside_and_counted() -> None:
    def walled(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        return torch.where(r > 2, torch.nan, 0.01 * r**2)

    objective = ls.Objective.from_function(walled, torch.zeros(4, dtype=torch.float64))
    found = ls.basin_radii(objective, [1.0], metric="identity", directions=30)
    np.testing.assert_allclose(found.radii, 2.0, rtol=1e-3)
    assert (found.nonfinite > 0).all()


class _Net:
    """A small classifier with data, for what needs a model."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
        x = torch.randn(120, 5)
        with torch.no_grad():
            self.model[2].weight.mul_(40)
        self.data = (x, self.model(x).argmax(-1))

    def objective(self, **options: Any) -> ls.Objective:
        return ls.Objective(self.model, self.data, "cross_entropy", **options)


def arrays_equal(one: ls.Radii, two: ls.Radii) -> bool:
    """Whether two results agree bit for bit."""
    a, b = one.arrays(), two.arrays()
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def radii_in_blocks(**options: Any) -> ls.Radii:
    """Measure 300 rays of the net, some at a time."""
    return ls.basin_radii(_Net().objective(memory=300_000), [0.3, 1.0], directions=300, **options)


@cache
def whole_run() -> ls.Radii:
    return radii_in_blocks()


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_resumed_run_is_bit_identical(cut: int) -> None:
    partial: list[ls.Radii] = []

    def stop(progress: Progress) -> None:
        partial.append(progress.snapshot())
        if len(partial) == cut:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        radii_in_blocks(on_progress=stop)
    assert 0 < partial[-1].done.sum() < 300
    whole, resumed = whole_run(), radii_in_blocks(resume=partial[-1])
    assert arrays_equal(whole, resumed)
    assert resumed.cost.calls == whole.cost.calls
    assert resumed.pilot.calls == whole.pilot.calls > 0


def test_rays_do_not_depend_on_how_many_are_asked_for() -> None:
    net = _Net()
    few = ls.basin_radii(net.objective(), [0.3], directions=40)
    many = ls.basin_radii(net.objective(), [0.3], directions=90)
    np.testing.assert_allclose(many.radii[:40], few.radii, rtol=1e-6)


def test_the_grid_depends_on_the_seed_and_not_on_what_is_measured_on_it() -> None:
    bowl = ellipsoid(np.exp(np.random.default_rng(0).normal(size=40)))
    settings: dict[str, Any] = {"cutoffs": [0.1], "metric": "identity"}
    many = ls.basin_radii(bowl, **settings, directions=60)
    metric = make_metric("identity", bowl.theta, bowl.scope)
    others = ls.basin_radii(bowl, **settings, directions=3, rays=RandomDirections(metric, 9, bowl.theta))
    taken = many.config["first_step_taken"]
    assert others.config["first_step_taken"] == taken == float(f"{1.08 / 2 * np.median(many.radii[:16]):.3g}")
    assert many.pilot.calls >= 16 * 3
    assert many.cost.calls == many.pilot.calls + many.calls.sum()


def test_a_first_step_that_is_given_is_the_first_point_and_needs_no_pilot() -> None:
    bowl = ellipsoid(np.ones(3))
    found = ls.basin_radii(bowl, [0.125], metric="identity", directions=5, first_step=0.3, step_ratio=1.5)
    assert found.pilot.calls == 0
    assert found.config["first_step_taken"] == 0.3
    for ray in range(5):
        assert {0.3, 0.3 * 1.5, 0.3 * 1.5**2} <= set(found.profile_radius[found.profile_ray == ray])


def test_a_run_of_a_version_that_took_other_steps_is_not_continued() -> None:
    bowl = ellipsoid(np.ones(3))
    past = ls.basin_radii(bowl, [0.1], metric="identity", directions=5)
    older = dataclasses.replace(past, config={key: value for key, value in past.config.items() if key != "march"})
    with pytest.raises(ls.LandscapeError, match="march: stored None, asked 'fixed grid'"):
        ls.basin_radii(bowl, [0.1], metric="identity", directions=9, resume=older)


def test_more_rays_continue_a_finished_run() -> None:
    net = _Net()
    few = ls.basin_radii(net.objective(), [0.3], directions=40)
    more = ls.basin_radii(net.objective(), [0.3], directions=90, resume=few)
    assert more.radii[:40].tobytes() == few.radii.tobytes()
    assert more.done.all()


@pytest.mark.parametrize("memory", [60_000, 200_000, 2_000_000])
def test_chunk_sizes_agree(memory: int) -> None:
    net = _Net()
    whole = ls.basin_radii(net.objective(), [0.3, 1.0], directions=100)
    chunked = ls.basin_radii(net.objective(memory=memory), [0.3, 1.0], directions=100)
    np.testing.assert_allclose(chunked.radii, whole.radii, rtol=1e-6)


def test_early_stopping_changes_no_radius_and_reads_less() -> None:
    net = _Net()
    settings: dict[str, Any] = {"cutoffs": [0.3], "directions": 60, "rtol": 1e-6, "first_step": 5.0, "max_radius": 10.0}
    whole = ls.basin_radii(net.objective(batch_size=120), **settings)
    pieces = ls.basin_radii(net.objective(batch_size=10), **settings)
    np.testing.assert_allclose(pieces.radii, whole.radii, rtol=2e-6)  # each is within rtol of the truth
    assert (whole.evaluations == whole.calls).all()
    # the first point of most rays lies far outside: a batch or two prove it
    assert pieces.cost.evaluations < 0.95 * pieces.cost.calls


@pytest.mark.parametrize("criterion", ["loss", "rise", "kl"])
def test_early_stopping_keeps_the_tolerance_with_several_cutoffs(criterion: str) -> None:
    net = _Net()
    settings: dict[str, Any] = {
        "cutoffs": [0.2, 0.5, 1.0], "criterion": criterion, "directions": 60, "first_step": 2.0, "max_radius": 4.0
    }  # fmt: skip
    truth = ls.basin_radii(net.objective(batch_size=120), **settings, rtol=1e-8)
    found = ls.basin_radii(net.objective(batch_size=10), **settings)
    assert found.cost.evaluations < found.cost.calls
    np.testing.assert_allclose(found.radii, truth.radii, rtol=1e-3)


def test_a_ray_without_a_radius_spoils_no_other() -> None:
    """A bowl with an infinite cone from its centre: rays inside the cone have radius 0, the others 1 and 2."""

    def cone(x: torch.Tensor) -> torch.Tensor:
        inside_cone = x[..., 0] > 0.5 * x.norm(dim=-1)
        return torch.where(inside_cone & (x.norm(dim=-1) > 0), torch.inf, x.square().sum(-1))

    objective = ls.Objective.from_function(cone, torch.zeros(2, dtype=torch.float64))
    found = ls.basin_radii(objective, [1.0, 4.0], metric="identity", directions=80)
    open_rays = found.status[:, 0] == ls.RayStatus.CROSSED
    assert 30 < open_rays.sum() < 80
    np.testing.assert_allclose(found.radii[open_rays], np.tile([1.0, 2.0], (int(open_rays.sum()), 1)), rtol=1e-6)
    assert (found.radii[~open_rays] == 0).all()


def test_a_loss_that_levels_off_below_the_cutoff_is_not_followed_in_tiny_steps() -> None:
    level = ls.Objective.from_function(
        lambda x: 0.9999 * (1 - torch.exp(-(x.norm(dim=-1) ** 2))), torch.zeros(3).double()
    )
    found = ls.basin_radii(level, [1.0], metric="identity", directions=20, max_radius=50.0)
    assert (found.status == ls.RayStatus.CENSORED).all()
    assert found.calls.max() <= 14


def test_a_run_of_another_function_is_not_continued() -> None:
    """No hash covers a plain function: a stored point is evaluated anew."""
    centre = torch.zeros(3, dtype=torch.float64)
    past = ls.basin_radii(
        ls.Objective.from_function(lambda x: x.square().sum(-1), centre), [1.0], metric="identity", directions=20
    )
    other = ls.Objective.from_function(lambda x: 9 * x.square().sum(-1), centre)
    with pytest.raises(ls.LandscapeError, match="another function"):
        ls.basin_radii(other, [1.0], metric="identity", directions=40, resume=past)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: stored 0, asked 1"),
        ({"cutoffs": [0.4]}, "cutoffs: stored [0.3], asked [0.4]"),
        ({"metric": "layer"}, "metric: stored 'filter', asked 'layer'"),
        ({"directions": 20}, "directions: stored 40, asked 20"),
    ],
)
def test_a_run_with_other_settings_is_not_continued(change: dict[str, Any], named: str) -> None:
    net = _Net()
    settings: dict[str, Any] = {"cutoffs": [0.3], "directions": 40}
    past = ls.basin_radii(net.objective(), **settings)
    with pytest.raises(ls.LandscapeError) as caught:
        ls.basin_radii(net.objective(), **{**settings, **change}, resume=past)
    assert named in str(caught.value)
    assert "`resume=None`" in str(caught.value)


def test_a_run_on_other_weights_is_not_continued() -> None:
    net = _Net()
    past = ls.basin_radii(net.objective(), [0.3], directions=20)
    with torch.no_grad():
        net.model[0].weight[0, 0] += 1e-3
    with pytest.raises(ls.LandscapeError, match="theta_hash"):
        ls.basin_radii(net.objective(), [0.3], directions=20, resume=past)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cutoffs": [-1.0]}, "`criterion='rise'`"),
        ({"cutoffs": []}, "at least one"),
        ({"cutoffs": [math.nan]}, "finite"),
        ({"criterion": "rise", "cutoffs": [0.0]}, "above 0"),
        ({"criterion": "height"}, "loss, rise, kl"),
        ({"criterion": "kl"}, "plain function"),
        ({"metric": "cosine"}, "filter, layer, identity"),
        ({"directions": 0}, "at least 1"),
        ({"seed": -1}, "seed"),
        ({"rtol": 0.0}, "rtol"),
        ({"step_ratio": 1.0}, "step_ratio"),
        ({"step_ratio": 1 + 1e-9}, "from 1.001 to 16"),
        ({"max_radius": 0.0}, "max_radius"),
    ],
)
def test_senseless_settings_are_refused_with_what_to_type(settings: dict[str, Any], words: str) -> None:
    objective = ellipsoid(np.ones(3))
    with pytest.raises(ls.LandscapeError) as caught:
        ls.basin_radii(objective, **{"cutoffs": [0.1], "metric": "identity", "directions": 5, **settings})
    assert words in str(caught.value)


def test_a_result_is_frozen_and_prints_a_table() -> None:
    found = ls.basin_radii(ellipsoid(np.ones(3)), [0.1], metric="identity", directions=20)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.centre = 1.0  # type: ignore[misc]
    assert "0.1" in str(found)
    assert "n = 3" in str(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cutoff_within_rounding_of_the_centre_is_refused(dtype: torch.dtype) -> None:
    bowl = ls.Objective.from_function(lambda x: 0.31 + x.square().sum(-1), torch.zeros(2, dtype=dtype))
    near = 50 * torch.finfo(dtype).eps * 0.31
    with pytest.raises(ls.LandscapeError, match=r"within its rounding.*\nPass one at least") as caught:
        ls.basin_radii(bowl, [bowl.centre + near], metric="identity", directions=4)
    assert ("dtype=torch.float64" in str(caught.value)) == (dtype == torch.float32)
    ls.basin_radii(bowl, [bowl.centre + 4 * near], metric="identity", directions=4)
    with pytest.raises(ls.LandscapeError, match="rounding"):
        ls.basin_radii(bowl, [near], criterion="rise", metric="identity", directions=4)
