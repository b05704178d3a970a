"""Arguments of a wrong type: one error of ours from every measurement, which names the keyword or what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import landscape as ls

BOWL = ls.Objective.from_function(lambda x: x.square().sum(-1) / 2, torch.full((4,), 0.01, dtype=torch.float64))
HESSIAN = ls.Hessian(BOWL)
BASIN = {"cutoffs": [0.5], "metric": "identity", "directions": 4}


def net(**options: Any) -> ls.Objective:
    known = {"data": (torch.ones(4, 2), torch.zeros(4, 1)), "loss": "mse"}
    return ls.Objective(torch.nn.Linear(2, 1), **{**known, **options})


CASES: list[tuple[Callable[..., Any], str, list[Any]]] = [
    (lambda **given: ls.slice_1d(BOWL, **given), "steps", [(3, 3), 3.5, "x", None, True]),
    (lambda **given: ls.slice_1d(BOWL, **given), "span", ["x", None, (1,), float("nan")]),
    (lambda **given: ls.slice_1d(BOWL, **given), "direction", [3, [], "zz", torch.tensor(1.0)]),
    (lambda **given: ls.slice_2d(BOWL, **given), "steps", [(31, 31), 3.5]),
    (lambda **given: ls.slice_2d(BOWL, **given), "span", [(1, 2)]),
    (lambda **given: ls.basin_radii(BOWL, **{**BASIN, **given}), "cutoffs", ["a", None, [], ["x"], [None]]),
    (lambda **given: ls.basin_radii(BOWL, **{**BASIN, **given}), "directions", ["x", 2.5, -1, None]),
    (lambda **given: ls.basin_radii(BOWL, **{**BASIN, **given}), "rtol", ["x", -1, None]),
    (lambda **given: ls.basin_radii(BOWL, **{**BASIN, **given}), "step_ratio", ["x", 0.5, None]),
    (lambda **given: ls.basin_radii(BOWL, **{**BASIN, **given}), "max_radius", ["x", -1, float("nan")]),
    (lambda **given: ls.basin_radii(BOWL, **{**BASIN, **given}), "metric", [3, [], None]),
    (lambda **given: ls.log_volume(BOWL, **{**BASIN, "estimator": "uniform", **given}), "directions", ["x"]),
    (
        lambda **given: ls.log_volume(BOWL, **{**BASIN, "estimator": "auto", **given}),
        "budget",
        [[], None, "x", -1, True],
    ),
    (lambda **given: ls.trace(HESSIAN, **given), "probes", ["x", 2.5, 0, None]),
    (lambda **given: ls.top_eigenpairs(HESSIAN, **given), "k", ["x", 2.5, 0]),
    (lambda **given: ls.log_determinant(HESSIAN, **given), "shift", ["x", None, float("inf")]),
    (lambda **given: ls.sharpness(BOWL, "trace", **given), "draws", ["x", 2.5]),
    (net, "batch_size", ["x", 2.5, 0]),
    (net, "max_samples", ["x", -1]),
    (net, "memory", ["x", -1]),
]


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [pytest.param(call, name, value, id=f"{k}-{name}-{value}") for k, (call, name, values) in enumerate(CASES)
     for value in values],
)  # fmt: skip
def test_a_wrong_argument_is_one_clear_error(call: Callable[..., Any], name: str, value: object) -> None:
    with pytest.raises(ls.LandscapeError) as caught:
        call(**{name: value})
    said = str(caught.value)
    assert name.rstrip("s") in said or repr(value) in said or type(value).__name__ in said
