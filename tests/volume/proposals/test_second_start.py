"""Learnt coordinates that hide most of a body: chains from elsewhere tell, and ``reliable`` is not said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import landscape as ls
from landscape.volume import importance_volume
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.proposals.second_start import with_second_start

N = 4
OPTIONS: dict[str, Any] = {"metric": "identity", "max_radius": 1.0, "directions": 400}


def squeezed(by: float) -> LinearMap:
    """Return the map that squeezes the first axis."""
    axis = torch.eye(N, dtype=torch.float64)[:, :1]
    return LinearMap.identity(axis[:, 0]).compose(axis, torch.tensor([by], dtype=torch.float64))


def behind_a_wall(x: torch.Tensor) -> torch.Tensor:
    """Return a wall just beyond theta; on its other side half a ball is left."""
    return 2000 * x[..., 0]


def between_walls(x: torch.Tensor) -> torch.Tensor:
    """Return walls on both sides of theta: the squeezed coordinates are those of this body."""
    return 2000 * x[..., 0].abs()


def volume(f: object) -> ls.Volume:
    """Return the volume below 1 within the unit ball from rays close to the wall."""
    objective = ls.Objective.from_function(f, torch.zeros(N, dtype=torch.float64))  # type: ignore[arg-type]
    return importance_volume(objective, [1.0], proposal=squeezed(1e-3), **OPTIONS)


def test_coordinates_that_hide_half_a_ball(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rays run along the wall, and V seems to be that of a thin slab, whatever the weights seem to say."""

    def called_reliable(found: ls.Volume, *arguments: Any) -> ls.Volume:
        return with_second_start(replace(found, results=(replace(found.results[0], verdict="reliable"),)), *arguments)

    monkeypatch.setattr("landscape.volume.importance.with_second_start", called_reliable)
    row = volume(behind_a_wall).results[0]
    assert row.verdict == "lower bound"
    assert row.interval == (row.bound, row.upper_bound)
    (check,) = row.checks
    assert (check.name, check.met) == ("second start", False)
    assert check.value > 3
    assert "hide a part of the basin" in row.reasons[-1]


def test_coordinates_that_hide_nothing_stay_reliable() -> None:
    whole = volume(between_walls)
    row = whole.results[0]
    assert row.verdict == "reliable"
    assert [check.met for check in row.checks] == [True]
    again = volume(between_walls)
    assert again.results == whole.results
    assert again.cost.evaluations == whole.cost.evaluations
