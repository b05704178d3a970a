"""The Gaussian measure of a basin along rays: closed forms, an independent count, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2, ncx2

import landscape as ls
from helpers.bodies import ellipsoid
from helpers.z_scores import z_of_volume
from landscape.objective import Layout
from landscape.volume.ray_weights import statistics as w

UNIFORM: dict[str, Any] = {"estimator": "uniform", "metric": "identity", "measure": "gaussian"}
GAUSSIAN: dict[str, Any] = {"metric": "identity", "measure": "gaussian"}


def test_a_ball_around_theta_is_chi_square_in_any_dimension() -> None:
    for n in (1, 3, 400):
        objective = ellipsoid(np.full(n, 2.0), centre=np.full(n, 0.7))
        volume = ls.log_volume(objective, [float(n)], sigma=1.1, measure_centre="theta", directions=100, **UNIFORM)
        row = volume.results[0]
        assert row.log_volume == pytest.approx(chi2.logcdf(n / 1.1**2, n), rel=1e-9)
        assert row.log_volume_raw == row.log_volume
        assert row.verdict == "reliable"
        assert row.interval[1] <= 0


@pytest.mark.parametrize("estimator", ["uniform", "importance"])
def test_a_ball_off_zero_is_noncentral_chi_square(estimator: str) -> None:
    centre = np.array([0.5, -0.3, 0.2, 0.6, -0.1])
    objective = ellipsoid(np.full(5, 2.0), centre=centre)
    volume = ls.log_volume(objective, [1.44], estimator=estimator, sigma=0.8, directions=4000, rtol=1e-8, **GAUSSIAN)
    truth = math.log(ncx2.cdf(1.44 / 0.64, 5, centre @ centre / 0.64))
    assert volume.results[0].verdict == "reliable"
    assert abs(z_of_volume(volume, truth)) < 4


@pytest.mark.parametrize("centre", ["zero", "theta"])
def test_all_of_space_has_probability_one(centre: str) -> None:
    theta = torch.tensor([0.4, -0.2, 0.3], dtype=torch.float64)
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), theta)
    volume = ls.log_volume(flat, [1.0], sigma=0.5, measure_centre=centre, max_radius=1e3, directions=4000, **UNIFORM)
    if centre == "theta":
        assert volume.results[0].log_volume == pytest.approx(0.0, abs=1e-12)
    else:
        assert abs(z_of_volume(volume, 0.0)) < 4
    assert volume.results[0].censored_weight == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_an_ellipsoid_against_counted_draws(metric: str) -> None:
    """Normal draws in parameter coordinates, counted inside: nothing of rays, metrics or radial integrals."""
    rng = np.random.default_rng(8)
    layout = Layout.from_shapes({"first": (2, 2), "second": (1, 2)})
    h, centre, sigma, cutoff = np.exp(rng.normal(size=6)), 0.3 * rng.normal(size=6), 0.4, 0.5
    draws = sigma * rng.normal(size=(400_000, 6))
    share = float((0.5 * (h * (draws - centre) ** 2).sum(1) < cutoff).mean())
    volume = ls.log_volume(
        ellipsoid(h, centre, layout),
        [cutoff],
        estimator="uniform",
        metric=metric,
        measure="gaussian",
        sigma=sigma,
        directions=6000,
        max_radius=math.inf,
    )
    error = math.hypot(w.relative_error(volume.log_weights[:, 0]), math.sqrt((1 - share) / share / len(draws)))
    assert 0.01 < share < 0.99
    assert abs(volume.results[0].log_volume - math.log(share)) < 4 * error


def test_entries_out_of_scope_stay_where_they_are() -> None:
    """One entry moves, in an interval of half-width 1 around it: Φ(b) - Φ(a)."""
    layout = Layout.from_shapes({"moves": (1, 1), "stays": (3, 1)})
    theta = torch.tensor([0.5, 9.0, 9.0, 9.0], dtype=torch.float64)
    objective = ls.Objective.from_function(
        lambda x: (x[..., 0] - 0.5).square() + 0 * x.sum(-1), theta, layout=layout, scope="moves"
    )
    volume = ls.log_volume(objective, [1.0], sigma=0.5, directions=400, **UNIFORM)
    truth = 0.5 * (math.erf(1.5 / 0.5 / math.sqrt(2)) - math.erf(-0.5 / 0.5 / math.sqrt(2)))
    assert abs(z_of_volume(volume, math.log(truth))) < 4


def test_a_wide_gaussian_is_the_volume_times_its_density() -> None:
    h, sigma = np.array([1.0, 3.0, 0.5]), 1e4
    options: dict[str, Any] = {"estimator": "uniform", "metric": "identity", "directions": 100, "seed": 2}
    plain = ls.log_volume(ellipsoid(h), [0.1], **options).results[0].log_volume
    wide = ls.log_volume(ellipsoid(h), [0.1], measure="gaussian", sigma=sigma, **options).results[0].log_volume
    assert wide == pytest.approx(plain - 1.5 * math.log(2 * math.pi * sigma**2), abs=1e-6)


def test_the_result_says_which_measure_it_is(tmp_path: Path) -> None:
    volume = ls.log_volume(ellipsoid(np.ones(2)), [0.1], sigma=0.5, directions=60, **UNIFORM)
    assert "under N(0, 0.5²)" in str(volume)
    said = json.loads(json.dumps(volume.summary(), allow_nan=False))
    assert (said["measure"], said["sigma"], said["measure_centre"]) == ("gaussian", 0.5, "zero")
    with ls.Store(tmp_path / "run.h5", write=True) as store:
        store["volume"] = volume
    assert str(ls.Store(tmp_path / "run.h5")["volume"]) == str(volume)
    plain = ls.log_volume(ellipsoid(np.ones(2)), [0.1], estimator="uniform", metric="identity", directions=60)
    with pytest.raises(ls.LandscapeError, match="measure: gaussian and None"):
        ls.compare_volumes(volume, plain)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measure": "gauss"}, ["measure 'gauss'", "gaussian"]),
        ({"measure": "gaussian"}, ["sigma = None", "initialisation"]),
        ({"measure": "gaussian", "sigma": 0.0}, ["sigma = 0.0"]),
        ({"measure": "gaussian", "sigma": 1e-200}, ["from 1e-100 to 1e+100", "sigma = 1e-200"]),
        ({"measure": "gaussian", "sigma": 1e200}, ["from 1e-100 to 1e+100", "sigma = 1e+200"]),
        ({"measure": "gaussian", "sigma": 1.0, "measure_centre": "origin"}, ["measure_centre 'origin'", "zero, theta"]),
        ({"sigma": 1.0}, ["measure='gaussian'"]),
        ({"measure": "gaussian", "sigma": 1.0, "estimator": "laplace"}, ["laplace", "uniform", "annealed"]),
    ],
)
def test_misuse_is_refused_with_what_to_type(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ls.LandscapeError) as caught:
        ls.log_volume(ellipsoid(np.ones(2)), [0.1], metric="identity", **options)
    assert all(word in str(caught.value) for word in words), caught.value
