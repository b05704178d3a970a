"""The basin of a linear model under the squared error, whose volume has a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import landscape as ls

RISE = 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "offset"), [(30, 0.6), (60, 0.9)])
def test_its_volume_is_that_of_an_ellipsoid_inside_the_cap(n: int, offset: float, dtype: torch.dtype) -> None:
    """Theta is a share of the way from the least loss to the wall, in all directions of the curvature."""
    generator = torch.Generator().manual_seed(n)
    inputs = torch.randn(3 * n, n, dtype=torch.float64, generator=generator) * torch.logspace(0, -1, n)
    targets = inputs.sum(1, keepdim=True) + 0.1 * torch.randn(3 * n, 1, dtype=torch.float64, generator=generator)
    hessian = 2 * inputs.T @ inputs / len(inputs)
    away = torch.randn(n, dtype=torch.float64, generator=generator)
    height = RISE / (1 - offset**2)  # of the wall above the least loss
    away *= offset * math.sqrt(height) / torch.sqrt(away @ hessian @ away / 2)
    theta = torch.linalg.lstsq(inputs, targets).solution[:, 0] + away
    model = nn.Linear(n, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(theta[None])
    objective = ls.Objective(model.to(dtype), (inputs.to(dtype), targets.to(dtype)), loss="mse")
    in_metric = hessian * theta.square().sum()  # a step of length 1 moves the only filter by its norm
    half_axes = (2 * height / torch.linalg.eigvalsh(in_metric)).sqrt()
    assert half_axes.max() * (1 + offset) < 1  # the cap cuts nothing
    volume = ls.log_volume(objective, [RISE], criterion="rise", estimator="annealed", budget=10_000 + 200 * n)
    truth = ls.volume.log_unit_ball(n) + float(half_axes.log().sum())
    assert volume.results[0].log_volume == pytest.approx(truth, abs=0.1)
