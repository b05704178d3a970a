"""Operators say what they are."""

from __future__ import annotations

import torch
from torch import nn

from landscape.curvature import GaussNewton, Hessian
from landscape.curvature.operator import Dense
from landscape.objective import Objective


def test_an_operator_says_what_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    objective = Objective(model, (torch.randn(20, 2), torch.randn(20, 1)), "mse")
    assert repr(Hessian(objective, metric="filter")) == (
        "<Hessian: operator of mse on 20 samples, n = 9 of 13 parameters in scope 'weights', filter metric>"
    )
    assert repr(GaussNewton(objective, scope="all")) == (
        "<GaussNewton: operator of mse on 20 samples, n = 13 of 13 parameters in scope 'all', identity metric>"
    )
    assert repr(Dense(torch.eye(4))) == "<Dense: symmetric operator, n = 4>"
