"""What is measured of a net in training, compared with closed forms, and what a budget does."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape as ls
from landscape.errors import LandscapeError
from landscape.integrations import Held, Options, Quantities
from landscape.integrations.quantities import median_interval
from landscape.integrations.tracker import numbers

DIMENSION = 5


def bowl(scale: float = 1.0) -> ls.Objective:
    """scale · |x|²/2 with x of DIMENSION entries."""
    return ls.Objective.from_function(
        lambda x: scale * x.square().sum(-1) / 2, torch.zeros(DIMENSION, dtype=torch.float64)
    )


def test_closed_forms_on_a_bowl() -> None:
    wanted = Quantities(["loss", "lambda-max", "trace", "radius"], cutoff=[0.5, 2.0], directions=8)
    measures = wanted.measure(bowl(4.0), step=3).measures
    assert measures["loss"].value == 0.0
    assert measures["lambda-max"].value == pytest.approx(4.0)
    assert measures["trace"].value == pytest.approx(4.0 * DIMENSION)
    for cutoff in (0.5, 2.0):
        assert measures[f"radius@{cutoff:g}"].value == pytest.approx(math.sqrt(cutoff / 2), rel=0.01)


def test_a_cap_that_most_rays_reach_is_a_lower_bound() -> None:
    flat = ls.Objective.from_function(lambda x: (x.square().sum(-1) / 2).clamp(max=0.3), torch.ones(3).double() * 0.1)
    snapshot = Quantities(["radius"], cutoff=0.5, directions=4, metric="filter").measure(flat, step=1)
    assert snapshot.verdicts == ("lower bound",)
    assert numbers(snapshot) == {"landscape/radius_lower_bound": 1.0}


def test_cutoffs_below_the_loss_are_gaps_beside_those_above() -> None:
    wanted = Quantities(["radius"], cutoff=[0.1, 2.0], directions=4)
    high = ls.Objective.from_function(lambda x: 1.0 + x.square().sum(-1), torch.zeros(3).double())
    measures = wanted.measure(high, step=1).measures
    assert measures["radius@0.1"].verdict == "failed"
    assert measures["radius@2"].value == pytest.approx(1.0, rel=0.01)
    rise = Quantities(["radius"], cutoff=0.25, directions=4, criterion="rise").measure(high, step=1)
    assert rise.values == pytest.approx([0.5], rel=0.01)


def test_the_interval_of_the_median_holds_as_often_as_it_says() -> None:
    draws = np.sort(np.random.default_rng(0).standard_normal((4000, 64)), axis=1)
    held = np.mean([low <= 0 <= high for low, high in map(median_interval, draws)])
    assert abs(held - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 4000) + 0.015  # ranks are whole numbers


def slow(x: Tensor) -> Tensor:
    time.sleep(0.02)
    return (x.square() * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)).sum(-1) / 2


def test_a_budget_is_a_deadline_and_a_search_that_it_ends_is_a_bound() -> None:
    objective = ls.Objective.from_function(slow, torch.zeros(400, dtype=torch.float64))
    started = time.perf_counter()
    snapshot = Quantities(["lambda-max", "trace", "radius", "average-case"], budget="0.5s").measure(objective, step=1)
    assert time.perf_counter() - started < 2.0  # at least ten products and 16 rays are measured, whatever they cost
    found = snapshot.measures["lambda-max"]
    assert found.verdict == "lower bound"
    assert 0 < found.value <= 400 + 1e-6
    assert "landscape/lambda-max_lower_bound" in numbers(snapshot)
    assert "budget is spent" in "".join(snapshot.measures["average-case"].reasons)


def test_kept_numbers_stay_and_failed_ones_are_tried_again() -> None:
    kept = Quantities(["loss", "accuracy"]).measure(bowl(), step=1)
    again = Quantities(["loss", "accuracy", "trace"]).measure(bowl(), step=1, kept=kept)
    assert again.names == ("loss", "accuracy", "trace")
    assert again.seconds[0] == kept.seconds[0]
    with pytest.raises(LandscapeError, match=r"theta_hash|scope|metric"):
        Quantities(["loss"], metric="filter").measure(bowl(), step=1, kept=kept)


def test_options_are_the_fields_of_both_classes() -> None:
    fields = {*Held.__dataclass_fields__, *Quantities.__dataclass_fields__}
    assert set(Options.__annotations__) == fields
