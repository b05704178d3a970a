"""Uniform rays that are measured already are taken for islands, if they are of the same basin and seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import landscape as ls
from landscape.results import Islands, Radii
from landscape.volume import run_islands

BUDGET = 6_000
EIGENVALUES = torch.tensor([1.0, 4.0, 9.0, 100.0], dtype=torch.float64)


def bowl(scale: float = 1.0) -> ls.Objective:
    return ls.Objective.from_function(
        lambda x: (scale * EIGENVALUES * x.square()).sum(-1), torch.zeros_like(EIGENVALUES)
    )


def rays(**options: Any) -> Radii:
    return ls.basin_radii(bowl(), (1.0, 2.0), **{"metric": "identity", "directions": 40, **options})


def islands(radii: Radii | None, of: float = 1.0, **options: Any) -> Islands:
    return run_islands(bowl(of), (2.0,), **{"metric": "identity", "budget": BUDGET, "radii": radii, **options})


def passes_in_tables(found: Islands) -> float:
    whole = found.rounds[:, -2]
    return float(found.pilots[:, 5].sum() + found.groups[:, -2].sum() + whole[whole >= 0].sum())


def test_given_rays_are_taken_at_the_wanted_cutoff_and_cost_nothing() -> None:
    known = rays()
    found = islands(known)
    assert found.reference_radii.tobytes() == known.radii[:, 1:].tobytes()
    assert len(found.whole(0))
    lost = found.cost.evaluations - passes_in_tables(found)  # in something that was not whole
    assert 0 <= lost < 1
    assert found.config["rtol"] == islands(None).config["rtol"]


def test_they_do_not_change_the_tolerance_of_the_islands() -> None:
    for rtol, own in ((1e-6, 1e-6), (None, 1e-3)):
        found = islands(rays(rtol=1e-2), rtol=rtol)
        assert found.config["rtol"] == own
        assert len(found.reference_radii) == 40


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"max_radius": 9.0},
        {"step_ratio": 1.5},
        {"first_step": 0.1},
        {"criterion": "rise"},
    ],
)
def test_rays_of_another_search_are_measured_anew(other: dict[str, Any]) -> None:
    plain = islands(None)
    found = islands(rays(**other))
    assert found.reference_radii.tobytes() == plain.reference_radii.tobytes()
    assert found.cost.evaluations == plain.cost.evaluations


def test_of_rays_that_are_not_all_measured_those_before_the_first_gap_are_taken() -> None:
    parts: list[Radii] = []
    ls.basin_radii(
        bowl(), (1.0, 2.0), metric="identity", directions=9000, on_progress=lambda done: parts.append(done.snapshot())
    )
    measured = int(parts[0].done.sum())
    assert 16 <= measured < 9000
    assert islands(parts[0]).reference_radii.tobytes() == parts[0].radii[:measured, 1:].tobytes()
    assert len(islands(rays(directions=15)).reference_radii) > 15  # too few


def test_rays_without_the_cutoff_are_measured_anew() -> None:
    known = ls.basin_radii(bowl(), (1.0,), metric="identity", directions=40)
    assert len(islands(known).reference_radii) > 40


def test_rays_of_another_function_are_refused() -> None:
    with pytest.raises(ls.LandscapeError, match="another function"):
        islands(rays(), of=3.0)


def test_a_run_goes_on_with_the_rays_that_it_had() -> None:
    known, parts = rays(), []
    whole = islands(known, on_progress=lambda progress: parts.append(progress.snapshot()) if progress.news else None)
    more = ls.basin_radii(bowl(), (1.0, 2.0), metric="identity", directions=60, resume=known)
    stopped = parts[0]
    assert len(stopped.groups) < len(whole.groups)
    for given in (known, more):
        found = islands(given, resume=stopped)
        assert len(found.reference_radii) == 40
        assert found.groups[:, :-2].tobytes() == whole.groups[:, :-2].tobytes()
        assert found.forwards.tobytes() == whole.forwards.tobytes()
