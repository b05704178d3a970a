"""Volumes from counted hits, against closed forms."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import gammaincinv
from scipy.stats import binom, nbinom

import landscape as ls
from benchmarks.bodies.walls import slab
from helpers.stores import assert_same
from landscape.results import CountedVolume
from landscape.results.ball import log_ball, log_unit_ball
from landscape.volume import counted_volume
from landscape.volume.counted import _bounds, _interval


def ball(n: int) -> ls.Objective:
    return ls.Objective.from_function(lambda x: x.norm(dim=-1), torch.zeros(n, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
def test_a_ball_and_a_slab_in_their_cap(seed: int) -> None:
    small = counted_volume(ball(6), [0.6], metric="identity", max_radius=1.0, seed=seed, hits=400).results[0]
    assert abs(small.log_volume - log_ball(6, 0.6)) < 4.5 / math.sqrt(400)
    body = slab(4)
    options = {"metric": "identity", "max_radius": body.max_radius, "seed": seed, "hits": 400}
    flat = ls.log_volume(body.objective, [body.cutoff], estimator="counted", **options).results[0]
    assert abs(flat.log_volume - body.truth) < 4.5 * math.sqrt(0.3 / 400)
    for row, truth in ((small, log_ball(6, 0.6)), (flat, body.truth)):
        assert row.verdict == "reliable"
        assert row.interval[0] < row.log_volume < row.interval[1]
        assert row.interval[0] < row.bound < row.upper_bound < row.interval[1]
        relative_error = math.sqrt((1 - math.exp(truth - row.log_cap_ball)) / 400)
        assert row.interval[1] - row.interval[0] == pytest.approx(2 * 1.96 * relative_error, rel=0.1)
        assert (row.ess, row.survives, row.resolution) == (400.0, 1.0, 2.0)


def test_a_ring_adds_to_the_sublevel_volume_alone() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        return torch.where((r > 0.5) & (r < 0.7) | (r > 0.9), 2.0, r)

    n, ring = 4, ls.Objective.from_function(f, torch.zeros(4, dtype=torch.float64))
    volume = counted_volume(ring, [1.0], metric="identity", max_radius=1.0, first_step=0.3, hits=300)
    row = volume.results[0]
    sublevel = log_unit_ball(n) + math.log(0.5**n + 0.9**n - 0.7**n)
    assert abs(row.log_volume - log_ball(n, 0.5)) < 4.5 / math.sqrt(300)
    assert abs(volume.log_sublevel_volume[0] - sublevel) < 4.5 / math.sqrt(volume.sublevel[0])
    assert volume.sublevel_interval[0, 0] < volume.log_sublevel_volume[0] < volume.sublevel_interval[0, 1]
    assert row.upper_bound < volume.sublevel_interval[0, 0]
    assert "and no wall" in volume.evidence()


def test_a_loss_of_minus_infinity_is_a_wall_as_it_is_for_rays() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        return torch.where(r > 0.55, -math.inf, r)

    pit = ls.Objective.from_function(f, torch.zeros(8, dtype=torch.float64))
    row = counted_volume(pit, [1.0], metric="identity", max_radius=0.8, first_step=0.5, hits=60).results[0]
    assert abs(row.log_volume - log_ball(8, 0.55)) < 4.5 / math.sqrt(60)


def test_what_a_finer_grid_leaves_is_the_share_of_hits_without_a_wall_there() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        return torch.where((x[..., 0] > 0) & (r > 0.3) & (r < 0.4), 2.0, r)

    half = ls.Objective.from_function(f, torch.zeros(20, dtype=torch.float64))
    row = counted_volume(half, [1.0], metric="identity", max_radius=1.0, first_step=0.25).results[0]
    assert abs(row.survives - 0.5) < 4.5 * 0.5 / math.sqrt(64)


def test_few_hits_are_a_bound_on_either_side_and_none_is_no_bound() -> None:
    options = {"metric": "identity", "max_radius": 1.0, "directions": 800}
    few, none = counted_volume(ball(4), [0.4], **options), counted_volume(ball(60), [0.4], **options)
    row = few.results[0]
    assert row.verdict == "lower bound"
    assert row.bound == row.interval[0] < log_ball(4, 0.4) < row.interval[1] == row.upper_bound
    assert "a verdict needs 50: pass a longer `budget=...`" in row.reasons[0]
    nothing = none.results[0]
    assert nothing.bound == nothing.log_volume == -math.inf
    assert nothing.upper_bound == pytest.approx(log_unit_ball(60) + math.log(1 - 0.025 ** (1 / 800)))
    assert math.isnan(nothing.survives)
    for text in (str(none), none.table()):
        assert "no bound" in text
        assert "inf" not in text
    assert json.loads(json.dumps(none.summary()))["results"][0]["bound"] is None


def test_a_basin_that_is_the_whole_ball() -> None:
    row = counted_volume(ball(3), [2.0], metric="identity", max_radius=1.0).results[0]
    assert row.log_volume == pytest.approx(log_unit_ball(3))
    assert row.interval[0] == pytest.approx(log_unit_ball(3) + math.log(0.025) / 100)
    assert row.interval[1] == pytest.approx(log_unit_ball(3))


@pytest.mark.parametrize("chance", [0.2, 0.05, 0.01])
def test_the_interval_holds_the_truth_in_95_percent_when_the_count_waits_for_its_hits(chance: float) -> None:
    """Exactly, summed over every number of rays that the count may take."""
    hits = 50
    rays = np.arange(hits, int(nbinom.ppf(1 - 1e-6, hits, chance)) + hits)
    ends = np.array([_interval(int(number), hits, stopped=True) for number in rays])
    probability = nbinom.pmf(rays - hits, hits, chance)
    for misses in (ends[:, 0] > math.log(chance), ends[:, 1] < math.log(chance)):
        assert 0.021 < probability[misses].sum() <= 0.025 + 1e-6
    estimates = (hits - 1) / (rays - 1)
    assert (probability * estimates).sum() == pytest.approx(chance, rel=1e-4)  # unbiased


def test_the_interval_holds_the_truth_in_95_percent_when_the_rays_are_used_up() -> None:
    chance, rays = 0.03, 400
    for level in (0.95, 0.9):
        ends = [_interval(rays, hits, level) for hits in range(rays + 1)]
        covered = [low <= math.log(chance) <= high for low, high in ends]
        assert level <= binom.pmf(np.arange(rays + 1), rays, chance)[covered].sum() < level + 0.04


@pytest.mark.parametrize("chance", [0.005, 0.02, 0.03, 0.045])
def test_the_bounds_of_a_count_that_follows_what_comes_hold_in_95_percent(chance: float) -> None:
    """Exactly: it may end at 100 rays, at 1,000, with the 50th hit after them, or at 2,000."""
    misses = np.zeros(2)

    def end(rays: int, probability: np.ndarray, ends: np.ndarray) -> np.ndarray:
        for hits in np.flatnonzero(ends & (probability > 0)):
            low, high = _bounds(rays, int(hits), stopped=False)
            misses[:] += probability[hits] * np.array([low > math.log(chance), high < math.log(chance)])
        return np.where(ends, 0.0, probability)

    hits = np.arange(1001)
    left = end(100, binom.pmf(hits, 100, chance), gammaincinv(hits + 1, 0.95) < 50 * 0.1)
    left = np.convolve(left, binom.pmf(hits, 900, chance))[:1001]
    left = end(1000, left, (hits < 25) | (hits >= 50))
    for rays in range(1001, 2001):
        left = (1 - chance) * left + chance * np.append(0.0, left[:-1])
        left = end(rays, left, (hits >= 50) | (rays == 2000))
    assert left.sum() == 0
    assert (misses <= 0.05).all()


def test_it_comes_back_from_its_parts() -> None:
    volume = counted_volume(ball(4), [0.4, 0.8], metric="identity", max_radius=1.0, directions=500)
    again = CountedVolume.from_parts(volume.arrays(), volume.attributes())
    assert_same(again, volume)
    assert again.summary()["inside"] == volume.inside.tolist()


def test_a_gaussian_measure_is_refused() -> None:
    options = {"estimator": "counted", "metric": "identity", "max_radius": 1.0, "measure": "gaussian", "sigma": 1.0}
    with pytest.raises(ls.LandscapeError, match="'counted' measures only volumes, not a gaussian measure"):
        ls.log_volume(ball(3), [0.5], **options)
    with pytest.raises(ls.LandscapeError, match="measures only volumes"):
        counted_volume(ball(3), [0.5], metric="identity", max_radius=1.0, measure="gaussian")
