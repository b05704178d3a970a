"""The annealed estimator: closed forms, bounds that hold, cutoffs without a round, and a result that is kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from benchmarks.bodies import build
from helpers.bodies import ellipsoid
from helpers.islands import islands
from landscape.objective import Layout
from landscape.rays import metric
from landscape.results import AnnealedVolume, Islands
from landscape.results.islands import RoundRow
from landscape.volume import annealed_volume, log_unit_ball, volume_from_islands


@pytest.fixture(scope="module")
def measured() -> Islands:
    return islands((1.0, 2.0), budget=90_000)


def test_a_ball_off_its_centre_has_its_volume(measured: Islands) -> None:
    """Each within four standard errors of its islands, plus the tolerance of 0.05 in each of three radii."""
    for row, weights, radius in zip(
        volume_from_islands(measured).results, measured_weights(measured), (1.0, math.sqrt(2.0)), strict=True
    ):
        truth = log_unit_ball(3) + 3 * math.log(radius)
        error = np.exp(weights - weights.max()).std(ddof=1) / np.exp(weights - weights.max()).mean() / math.sqrt(8)
        assert abs(row.log_volume - truth) < 4 * error + 3 * 0.05
        assert row.bound < truth < row.interval[1]
        assert row.bound == pytest.approx(row.log_volume + math.log(0.05) - 0.15)
        assert math.isinf(row.upper_bound)


def measured_weights(measured: Islands) -> np.ndarray:
    return volume_from_islands(measured).log_weights.T


def test_a_cutoff_without_a_whole_round_has_no_estimate(measured: Islands) -> None:
    rounds = measured.rounds.copy()
    done = RoundRow._fields.index("evaluations")  # what tells that a round is whole
    rounds[rounds[:, 0] == 0, done] = np.nan
    half = volume_from_islands(replace(measured, rounds=rounds))
    (row,) = half.results
    assert row == volume_from_islands(measured).results[1]
    assert set(half.trail[:, 0]) == {0.0}
    assert half.evidence().splitlines()[-1].split()[0] == "2"
    only_out = replace(measured, backwards=np.full_like(measured.backwards, np.inf))
    assert volume_from_islands(only_out).evidence().splitlines()[-1].split()[4] == "-"  # no way back, no number
    rounds[:, done] = np.nan
    with pytest.raises(ls.LandscapeError, match=r"before a first round was whole .*\n.*`budget=...`"):
        volume_from_islands(replace(measured, rounds=rounds))


def test_a_cutoff_of_one_island_stands_beside_one_of_eight(measured: Islands) -> None:
    """A group that only goes out is one island, and nothing tells how far chance matters."""
    small = islands(budget=8000, max_radius=0.83)
    groups, rounds, pilots = small.groups.copy(), small.rounds.copy(), small.pilots.copy()
    for rows in (groups, rounds, pilots):
        rows[:, 0] = 1  # the second cutoff
    tables = {"groups": groups, "rounds": rounds, "pilots": pilots}
    first = {name: getattr(measured, name)[getattr(measured, name)[:, 0] == 0] for name in tables}
    both = {name: np.vstack([first[name], tables[name]]) for name in tables}
    for name in ("forwards", "backwards", "log_radii"):
        both[name] = np.vstack([getattr(measured, name)[: len(first["groups"])], getattr(small, name)])
    volume = volume_from_islands(replace(measured, **both))
    assert np.isfinite(volume.log_weights[:, 0]).sum() == 8
    assert np.isfinite(volume.log_weights[:, 1]).sum() == 1
    assert volume.results[0] == volume_from_islands(measured).results[0]
    alone = volume.results[1]
    assert alone.verdict == "lower bound"
    unmet = {check.name: check.words for check in alone.checks if not check.met}
    assert unmet["islands"] == "the particles are one island; at least 8 independent ones are needed"
    assert "does not tell how far chance matters" in unmet["spread of the islands"]
    assert volume.evidence().splitlines()[-1].split()[3:5] == ["-", "-"]
    assert "1 island, n = 3" in volume_from_islands(small).heading()


@pytest.mark.parametrize("seed", range(2))
def test_an_ellipsoid_that_a_wall_cuts_in_half(seed: int) -> None:
    """By one island of a few particles: their starts are in the ellipsoid, half of them in the half that is left."""
    body = build("off-centre-cut60,1,100,0.7")
    row = annealed_volume(body.objective, [1.0], metric="identity", budget=20_000, seed=seed).results[0]
    assert abs(row.log_volume - body.truth) < 2


def test_a_body_that_nothing_bounds_but_the_cap() -> None:
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), torch.zeros(3, dtype=torch.float64))
    options: dict[str, Any] = {"metric": "identity", "max_radius": 2.0, "budget": 80_000}
    row = annealed_volume(flat, [1.0], **options).results[0]
    assert row.log_volume == pytest.approx(log_unit_ball(3) + 3 * math.log(2))
    assert (row.censored, row.log_volume) == (1.0, pytest.approx(row.log_cap_ball))
    assert row.interval[1] == row.upper_bound == pytest.approx(row.log_cap_ball)


def test_the_metric_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large net's metric is a pass over all its weights."""
    made, filter_rms = [], metric._filter_rms

    def counted(*arguments: Any, **options: Any) -> torch.Tensor:
        made.append(arguments)
        return filter_rms(*arguments, **options)

    monkeypatch.setattr(metric, "_filter_rms", counted)
    bowl = ellipsoid(np.ones(4), np.ones(4), Layout.from_shapes({"weight": (2, 2)}))
    ls.volume.run_islands(bowl, [0.1], metric="filter", budget=1_000)
    assert len(made) == 1


def test_the_result_prints_keeps_and_sums_itself_up(measured: Islands, tmp_path: Path) -> None:
    volume = volume_from_islands(measured)
    ls.Store(tmp_path / "run.h5")["volume"] = volume
    back = ls.Store(tmp_path / "run.h5")["volume"]
    assert isinstance(back, AnnealedVolume)
    assert str(back) == str(volume)
    assert "8 islands" in str(volume)
    assert "rounds (log V, nats;" in volume.evidence()
    assert len(volume.trail) == len(measured.whole(0)) + len(measured.whole(1))
    summary = json.loads(json.dumps(volume.summary(), allow_nan=False))
    assert summary["estimator"] == "annealed"
    assert [row["cutoff"] for row in summary["results"]] == [1.0, 2.0]
