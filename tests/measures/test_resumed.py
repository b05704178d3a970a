"""A run that is continued gives what an unbroken run gives: values, errors, settings and passes, but not seconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from helpers.moments import some
from helpers.same_files import without_time
from landscape.results import Measure

SMALL = {"steps": 40, "volume_budget": 300, "draws": 8, "probes": 12}


@cache
def trained() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A net after a short training, and its data. Measurements leave both as they are."""
    torch.manual_seed(0)
    classes = torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(3, 4)[classes] + 0.7 * torch.randn(60, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), classes).backward()
        optimiser.step()
    return model, (inputs, classes)


def objective() -> ls.Objective:
    return ls.Objective(*trained(), batch_size=30)


@pytest.mark.parametrize(
    "options",
    [{}, {"budget": 900}, {"budget": 400, "metric": "adaptive", "rho": [0.1, 0.3]}],
    ids=["enough", "a budget that ends", "a budget that cuts"],
)
def test_a_run_that_is_continued_after_any_measure_is_as_an_unbroken_one(options: dict[str, Any]) -> None:
    """Shared work is done again, but counted once. So budgets in passes end at the same place too."""
    taken: list[dict[str, Measure]] = []
    whole = ls.sharpness(
        objective(), "all", on_progress=lambda now: taken.append(dict(now.snapshot())), **SMALL, **options
    )
    assert len(taken) == len(whole) >= 28
    for done in some(len(taken)):
        again = ls.sharpness(objective(), "all", resume=taken[done], **SMALL, **options)
        for name, measure in whole.items():
            assert without_time(again[name]) == without_time(measure), (done, name)


def test_shared_work_is_paid_for_by_the_measure_that_does_it() -> None:
    table = ls.sharpness(objective(), ["trace", "frobenius", "gradient-norm"], **SMALL)
    assert table["trace"].pays == {"products": 0.0}
    assert (table["frobenius"].pays, table["frobenius"].cost.evaluations) == ({}, 0.0)
    assert list(table["gradient-norm"].pays) == ["gradient"]
    alone = ls.sharpness(objective(), ["frobenius"], **SMALL)["frobenius"]
    assert alone.pays == {"products": 0.0}
    assert alone.cost.evaluations == table["trace"].cost.evaluations
