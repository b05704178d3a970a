"""A model that keeps what it has made of a weight, for its next pass, is measured at the point that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.objective.moved_weights import flat_step
from landscape.rays import metric_of, random_directions


class Keeping(nn.Module):
    """Transposes its weight once, and keeps the result."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)
        self.where, self.kept = where, None
        self.by_name: dict[str, Tensor] = {}
        self.listed: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        made = self.first.weight.t().contiguous()
        if self.where == "attribute":
            self.kept = made if self.kept is None else self.kept
            made = self.kept
        elif self.where == "dict":
            made = self.by_name.setdefault("weight", made)
        elif not self.listed:
            self.listed.append(made)
        return self.last(torch.tanh(x @ (self.listed[0] if self.listed else made) + self.first.bias))


@pytest.mark.parametrize("lanes", [1, None])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("where", ["attribute", "dict", "list"])
def test_what_a_pass_keeps_is_not_there_in_the_next_one(where: str, flat: bool, lanes: int | None) -> None:
    torch.manual_seed(0)
    model, data = Keeping(where), (torch.randn(16, 6), torch.randint(0, 4, (16,)))
    of = ls.Objective(model, data, flat=flat, lanes=lanes, scope="all")
    directions = random_directions(of, metric_of(of, "layer"), 0).steps([0])
    step = directions[0] if isinstance(directions, Tensor) else flat_step(directions[0], of.layout.entries, of.device)
    radii, rows = np.array([0.3, 0.9, -0.5]), np.zeros(3, dtype=int)
    with of.running():
        values = of.along(directions, radii, rows=rows).values
        again = of.along(directions, radii[1:], rows=rows[1:]).values
    truths = []
    for radius in radii:
        moved = Keeping(where)
        nn.utils.vector_to_parameters(of.theta + float(radius) * step, moved.parameters())
        with torch.no_grad():
            truths.append(float(F.cross_entropy(moved(data[0]), data[1])))
    assert values == pytest.approx(truths, rel=1e-5)
    assert again == pytest.approx(truths[1:], rel=1e-5)
    assert (model.kept, model.by_name, model.listed) == (None, {}, [])
