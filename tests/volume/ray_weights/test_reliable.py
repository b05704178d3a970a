"""What ``reliable`` promises: on bodies whose weights are skewed, with zeros among them, and where none was met."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.bodies import ellipsoid_log_volume, lp_log_volume
from helpers.islands import few_particles
from landscape.volume import annealed_volume, log_unit_ball, volume_from_radii
from landscape.volume.ray_weights.statistics import (
    interval_of,
    interval_of_halves,
    is_reliable,
    ratio,
    spread,
)
from landscape_cli.volume_text import volume_text

SLOPED = np.geomspace(1, 7, 20)
Draw = Callable[[np.random.Generator, int], np.ndarray]


def uniform(rng: np.random.Generator, rays: int, n: int) -> np.ndarray:
    z = rng.normal(size=(rays, n))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("n", "radii", "truth"),
    [
        (15, lambda rng, k: 1 / np.abs(uniform(rng, k, 15)).sum(1), lp_log_volume(15, 1, 1.0)),
        (20, lambda rng, k: (uniform(rng, k, 20) ** 2 @ SLOPED) ** -0.5, ellipsoid_log_volume(SLOPED, 0.5)),
        (100, lambda rng, k: np.exp(1.6 / 100 * rng.normal(size=k)), log_unit_ball(100) + 1.6**2 / 2),
    ],
    ids=["cross-polytope", "ellipsoid", "log-normal"],
)
def test_reliable_rays_hold_the_truth_where_weights_are_skewed(n: int, radii: Draw, truth: float) -> None:
    """Of the runs called reliable at most 5 % miss, at a z-gate of 4.

    By log V ± 1.96 standard errors, judged on the rays that are measured, one in six or seven does.
    """
    rng, runs, missed = np.random.default_rng(3), 0, 0
    for _ in range(500):
        row = volume_from_radii(radii(rng, 1000), n=n).results[0]
        if row.verdict == "reliable":
            runs += 1
            missed += not row.interval[0] <= truth <= row.interval[1]
    assert runs > 20
    assert missed <= 0.05 * runs + 4 * math.sqrt(0.05 * 0.95 * runs)


def test_the_half_that_is_judged_is_the_first() -> None:
    """Heavy weights in either half are seen in the interval; in the first one they decide the verdict."""
    calm = np.random.default_rng(0).normal(size=400) / 4
    wild = np.append(calm[:199], 3.2)
    assert is_reliable(calm)
    assert not is_reliable(np.concatenate([wild, calm[:200]]))
    assert is_reliable(np.concatenate([calm[:200], wild]))
    narrow, wide = interval_of_halves(calm), interval_of_halves(np.concatenate([calm[:200], wild]))
    assert wide[1] > narrow[1] + 0.2


@pytest.mark.parametrize("share", [0.97, 0.8])
def test_the_interval_covers_means_with_zeros_among_the_weights(share: float) -> None:
    """32 draws, 2,000 runs; the share of zeros that none of the draws is counts too."""
    rng, truth, missed = np.random.default_rng(8), math.log(share) + 0.3**2 / 2, 0
    for _ in range(2000):
        weights = np.where(rng.random(32) < share, 0.3 * rng.normal(size=32), -np.inf)
        low, high = interval_of(weights)
        missed += not low <= truth <= high
    assert missed < 100 + 4 * math.sqrt(95)


def test_equal_draws_do_not_exclude_what_few_of_them_would_meet() -> None:
    low, high = interval_of(np.zeros(16))
    assert (1 - math.exp(low)) == pytest.approx(1 - 0.005 ** (1 / 16))  # of so large a share none of 16 is, 1 in 200
    assert high == 0
    assert interval_of(np.repeat([0.0, -np.inf], 16))[1] < 0  # half of them are zero, and all may be less than one
    assert interval_of(np.array([0.0, -np.inf, -np.inf])) == (-math.inf, math.inf)


def test_weights_of_zero_in_ratios_and_spreads() -> None:
    zero = np.array([0.0, -np.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ratio(zero, zero).tolist() == [0.0, -math.inf]
        assert spread(zero) == spread(np.zeros(1)) == math.inf
        assert spread(np.array([1.0, 3.0])) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("walls", [1, 2])
def test_rays_that_end_at_once_count_as_nothing(walls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball of radius 2 without the part where the first coordinates are positive, where walls begin at theta."""

    def f(x: torch.Tensor) -> torch.Tensor:
        return x.square().sum(-1) + 100 * (x[..., :walls] > 0).all(-1)

    body = ls.Objective.from_function(f, torch.zeros(3, dtype=torch.float64))
    truth = log_unit_ball(3) + 3 * math.log(2) + math.log(1 - 0.5**walls)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few_particles(monkeypatch)
        volume = annealed_volume(body, [4.0], metric="identity", budget=8_000, rtol=0.01)
        assert volume_text(volume)
    assert len(volume.log_weights) == 8  # a whole round, out and back
    row = volume.results[0]
    assert row.bound < truth
    assert abs(row.log_volume - truth) < 1


def test_auto_and_slopes_on_rays_that_end_at_once() -> None:
    body = ls.Objective.from_function(
        lambda x: x.square().sum(-1) + 100 * (x[..., 0] > 0), torch.zeros(4, dtype=torch.float64)
    )
    truth = log_unit_ball(4) + 4 * math.log(2) + math.log(1 / 2)
    for options in ({"estimator": "auto", "budget": 15_000}, {"estimator": "importance", "proposal": "slopes"}):
        row = ls.log_volume(body, [4.0], metric="identity", **options).results[0]
        assert row.interval[0] < truth
        assert abs(row.log_volume - truth) < 1


def test_where_all_rays_end_at_once_there_is_nothing_to_walk_in() -> None:
    cliff = ls.Objective.from_function(lambda x: x.abs().sum(-1).sign(), torch.zeros(3, dtype=torch.float64))
    plain = ls.log_volume(cliff, [0.5], estimator="uniform", metric="identity", directions=60)
    assert plain.results[0].log_volume == -math.inf
    assert "all rays end at the trained point" in volume_text(plain)
    with pytest.raises(ls.LandscapeError, match="end at theta itself at the cutoff"):
        ls.log_volume(cliff, [0.5], metric="identity", estimator="annealed")
