"""Small runs of islands, and what they must share to be the same run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import landscape as ls
from helpers.stores import assert_same_arrays
from landscape.results import Islands
from landscape.volume import run_islands
from landscape.volume.annealing import party, tables

BUDGET = 8_000  #: passes over the data, for a round of few particles in three dimensions


def few_particles(patch: pytest.MonkeyPatch) -> None:
    """Let a group have four islands of two particles, and a round of wide bodies two groups.

    A move takes about as long as one of many particles.

    For tests of what is kept and continued. They say nothing about how well the islands measure.
    """
    for name, width in {"forwards": 4, "backwards": 4, "log_radii": 4 * party.WIDEST}.items():
        patch.setitem(tables.BY_GROUP, name, width)
    for path, usual in party.PARTIES.items():
        groups = usual.groups if usual.grows else 2
        patch.setitem(party.PARTIES, path, replace(usual, groups=groups, islands=4, each=2))


def bowl(lanes: int | None = None) -> ls.Objective:
    """A ball in three dimensions, off its centre."""
    theta = torch.zeros(3, dtype=torch.float64)
    return ls.Objective.from_function(lambda x: (x - 0.2).square().sum(-1), theta, lanes=lanes)


def islands(cutoffs: tuple[float, ...] = (1.0,), **options: Any) -> Islands:
    """Run islands in that ball; radii need not be exact."""
    settings = {"metric": "identity", "budget": BUDGET, "rtol": 0.05, **options}
    return run_islands(bowl(), cutoffs, **settings)


def assert_same_islands(one: Islands, other: Islands) -> None:
    """Assert that two runs measured the same to the last bit, at the same cost."""
    assert_same_arrays(one, other)
    assert {**one.attributes(), "cost": 0} == {**other.attributes(), "cost": 0}
    assert (one.cost.calls, one.cost.evaluations) == (other.cost.calls, other.cost.evaluations)
