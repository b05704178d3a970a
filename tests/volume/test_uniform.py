"""Log-volumes against closed forms, intervals at a z-gate, and the verdict where the mean collapses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume, ellipsoid_radii, lp_ball, lp_log_volume
from helpers.z_scores import z_of_volume
from landscape.objective import Layout
from landscape.rays import make_metric
from landscape.rays.directions import RandomDirections
from landscape.volume import log_unit_ball
from landscape.volume.ray_weights.statistics import (
    effective_sample_size,
    is_reliable,
    largest_share,
    pareto_k,
    relative_error,
)


@pytest.mark.parametrize("n", [1, 2, 3, 100, 268_336])
def test_unit_ball(n: int) -> None:
    """ω_n = ω_(n-2) · 2π/n, from ω_0 = 1 and ω_1 = 2."""
    terms = np.arange(2 if n % 2 == 0 else 3, n + 1, 2)
    truth = (0.0 if n % 2 == 0 else math.log(2)) + np.log(2 * math.pi / terms).sum()
    assert log_unit_ball(n) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_ellipsoids(n: int, seed: int) -> None:
    curvatures = np.exp(0.5 * np.random.default_rng(n).normal(size=n))
    volume = ls.log_volume(
        ellipsoid(curvatures), [0.1], estimator="uniform", metric="identity", directions=4000, seed=seed
    )
    assert volume.results[0].verdict == "reliable"
    assert abs(z_of_volume(volume, ellipsoid_log_volume(curvatures, 0.1))) < 4


@pytest.mark.parametrize("n", [300, 10_000])
def test_a_ball_is_exact_in_any_dimension(n: int) -> None:
    volume = ls.log_volume(ellipsoid(np.full(n, 2.0)), [0.25], estimator="uniform", metric="identity", directions=60)
    assert volume.results[0].log_volume == pytest.approx(log_unit_ball(n) + n * math.log(0.5), rel=1e-12)


@pytest.mark.parametrize("n", [2, 6])
def test_lp_balls(n: int) -> None:
    volume = ls.log_volume(lp_ball(n, 4), [0.3], estimator="uniform", metric="identity", directions=4000)
    assert volume.results[0].verdict == "reliable"
    assert abs(z_of_volume(volume, lp_log_volume(n, 4, 0.3))) < 4


def test_a_body_cut_by_the_cap() -> None:
    """The slab |x_1| <= 1/2 in the unit ball of R^3 has volume 2 π (1/2 - 1/24); its rays off the pole are censored."""
    slab = ls.Objective.from_function(lambda x: x[..., 0].square(), torch.zeros(3, dtype=torch.float64))
    volume = ls.log_volume(slab, [0.25], estimator="uniform", metric="identity", directions=4000, max_radius=1.0)
    row = volume.results[0]
    assert abs(z_of_volume(volume, math.log(2 * math.pi * (1 / 2 - 1 / 24)))) < 4
    # a ray is censored when |cos| < 1/2, which half of them are; their share of the volume is (1/2 · ω_3) / V
    assert abs(row.censored - 0.5) < 4 * math.sqrt(0.25 / 4000)
    assert row.censored_weight == pytest.approx(0.5 * 4 / 3 * math.pi / (2 * math.pi * (1 / 2 - 1 / 24)), abs=0.03)


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_the_volume_in_parameter_coordinates_is_the_same_for_every_metric(metric: str) -> None:
    rng = np.random.default_rng(5)
    layout = Layout.from_shapes({"first": (3, 4), "second": (2, 3)})
    curvatures, centre = np.exp(0.3 * rng.normal(size=18)), rng.normal(size=18)
    objective = ellipsoid(curvatures, centre, layout)
    volume = ls.log_volume(objective, [0.01], estimator="uniform", metric=metric, directions=6_000, max_radius=math.inf)
    row = volume.results[0]
    assert row.verdict == "reliable"
    error = relative_error(volume.log_weights[:, 0])
    assert abs(row.log_volume_raw - ellipsoid_log_volume(curvatures, 0.01)) < 4 * error


def test_the_interval_of_a_reliable_run_covers() -> None:
    """Over 100 runs the 95 % interval misses at most as often as chance allows (z < 4 on a binomial)."""
    missed = runs = 0
    for seed in range(100):
        n = (3, 6, 10)[seed % 3]
        curvatures = np.exp(0.6 * np.random.default_rng(seed).normal(size=n))
        body = ellipsoid(curvatures)
        rays = RandomDirections(make_metric("identity", body.theta, body.scope), seed, body.theta).steps(range(400))
        # the radii themselves: tests above search for them
        row = ls.volume_from_radii(ellipsoid_radii(curvatures, rays.numpy(), 0.1), n=n).results[0]
        if row.verdict == "reliable":
            runs += 1
            missed += not row.interval[0] <= ellipsoid_log_volume(curvatures, 0.1) <= row.interval[1]
    assert runs > 75
    assert missed < 0.05 * runs + 4 * math.sqrt(0.05 * 0.95 * runs)


def test_a_collapsed_mean_is_a_lower_bound_and_says_so() -> None:
    """n = 500, curvatures 1/i: the plain mean over 32 rays is some 115 nats too low."""
    curvatures = 1 / np.arange(1, 501)
    truth = ellipsoid_log_volume(curvatures, 0.1)
    for seed in range(10):
        row = ls.log_volume(
            ellipsoid(curvatures), [0.1], estimator="uniform", metric="identity", directions=32, seed=seed
        ).results[0]
        assert row.verdict == "lower bound"
        assert row.log_volume < truth - 60
        assert row.interval[0] < truth
        assert row.interval[1] == math.inf
        assert row.ess < 8


@pytest.mark.parametrize("n", [300, 2000, 10_000])
def test_the_bound_holds_on_random_spectra_in_any_dimension(n: int) -> None:
    """A lower bound at 95 % confidence: of 20 runs a violation of more than 5 by chance has probability 3e-4."""
    violated = 0
    for seed in range(20):
        curvatures = np.exp(np.random.default_rng(seed).normal(size=n))
        row = ls.log_volume(
            ellipsoid(curvatures), [0.1], estimator="uniform", metric="identity", directions=20, seed=seed
        ).results[0]
        assert row.verdict == "lower bound"
        violated += row.interval[0] > ellipsoid_log_volume(curvatures, 0.1)
    assert violated <= 5


def test_the_upper_end_of_a_lower_bound_is_what_the_cap_allows() -> None:
    curvatures = np.full(400, 50.0) / np.arange(1, 401)
    row = ls.log_volume(
        ellipsoid(curvatures), [0.5], estimator="uniform", metric="identity", directions=50, max_radius=1.0
    ).results[0]
    assert row.verdict == "lower bound"
    assert row.interval[1] == pytest.approx(log_unit_ball(400))


def test_volume_from_plain_radii() -> None:
    radii = np.array([1.0, 2.0, 2.0, 5.0])
    row = ls.volume_from_radii(radii, n=2, max_radius=2.0).results[0]
    assert row.log_volume == pytest.approx(math.log(math.pi * (1 + 4 + 4 + 4) / 4))
    assert row.censored == 0.75
    assert row.censored_weight == pytest.approx(12 / 13)
    assert row.largest_weight == pytest.approx(4 / 13)
    assert row.ess == pytest.approx(13**2 / (1 + 16 * 3))


def test_dimension_where_powers_overflow() -> None:
    row = ls.volume_from_radii(np.array([0.5, 0.6]), n=1_000_000).results[0]
    assert row.log_volume == pytest.approx(log_unit_ball(1_000_000) + 1e6 * math.log(0.6) - math.log(2))
    assert row.ess == 1.0


def test_weights_that_are_all_zero_or_single() -> None:
    nothing = np.full(5, -np.inf)
    assert effective_sample_size(nothing) == 0.0
    assert largest_share(nothing) == 1.0
    assert not is_reliable(nothing)
    assert not is_reliable(np.zeros(1))


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_tail_index_of_a_pareto_sample(k: float) -> None:
    sample = -k * np.log(np.random.default_rng(1).random(40_000))
    assert pareto_k(sample) == pytest.approx(k, abs=0.12)


def test_a_heavy_tail_is_not_reliable_even_with_a_large_ess() -> None:
    """Pareto weights with k = 0.7 have a mean and no variance: what the tail index alone can tell."""
    log_weights = -0.7 * np.log((np.arange(20_000) + 0.5) / 20_000)
    assert effective_sample_size(log_weights) > 200
    assert largest_share(log_weights) < 0.1
    assert not is_reliable(log_weights)


def test_summary_is_strict_json_with_every_key() -> None:
    volume = ls.log_volume(ellipsoid(np.ones(2)), [0.1, 0.2], estimator="uniform", metric="identity", directions=60)
    summary = json.loads(json.dumps(volume.summary(), allow_nan=False))
    top = "estimator criterion metric scope dimension directions seed evaluations seconds results"
    assert set(top.split()) <= set(summary)
    row = "cutoff log_volume log10_volume log_volume_raw interval ess largest_weight censored censored_weight verdict"
    assert all(set(row.split()) <= set(entry) for entry in summary["results"])
    assert summary["results"][0]["log10_volume"] == pytest.approx(math.log10(math.pi * 0.2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ls.volume_from_radii(np.ones(3)), "Pass `n="),
        (lambda: ls.volume_from_radii(np.array([1.0, math.nan]), n=2), "NaN"),
        (lambda: ls.volume_from_radii(np.array([-1.0]), n=2), "negative"),
        (lambda: ls.volume_from_radii(np.zeros((0,)), n=2), "shape"),
        (lambda: ls.volume_from_radii(np.ones(3), n=0), "dimension"),
        (lambda: ls.volume_from_radii(np.ones(3), n=2.5), "a whole number"),
        (lambda: ls.volume_from_radii(np.ones(3), n=2, max_radius=0), "max_radius = 0"),
        (lambda: ls.volume_from_radii(np.ones(3), n=2, max_radius=math.nan), "max_radius = nan"),
        (lambda: ls.log_volume(ellipsoid(np.ones(2)), [0.1], estimator="magic"), "uniform"),
    ],
)
def test_misuse_is_refused_with_what_to_type(call: Any, words: str) -> None:
    with pytest.raises(ls.LandscapeError) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("radii", "options", "words"),
    [
        (np.array([1.0, np.inf]), {"n": 3}, "some radii are infinite"),
        (np.ones((4, 2)), {"n": 3, "cutoffs": [1.0]}, "2 columns of radii and 1 cutoffs"),
    ],
)
def test_plain_radii_that_give_no_volume(radii: np.ndarray, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ls.LandscapeError, match=words):
        ls.volume_from_radii(radii, **options)


def test_measured_radii_give_the_volume_of_their_own_run_and_only_whole() -> None:
    radii = ls.basin_radii(ellipsoid(np.ones(2)), [0.5], metric="identity", directions=4)
    with pytest.raises(ls.LandscapeError, match=r"know their own cap, cutoffs and dimension \(n = 2\), and others"):
        ls.volume_from_radii(radii, n=3)
    status = np.where(np.arange(4)[:, None] < 2, radii.status, ls.RayStatus.PENDING)
    with pytest.raises(ls.LandscapeError, match="2 of 4 rays are still to be measured"):
        ls.volume_from_radii(replace(radii, status=status))
