"""The laplace estimator: ellipsoids, whole and cut by a cap, against closed forms; and what it refuses to say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume, lp_ball, rotated_ellipsoid, two_level
from helpers.nets import Logits
from landscape import plots
from landscape.objective import Layout
from landscape.results import LaplaceVolume
from landscape.volume import compare_volumes, laplace_volume, log_unit_ball
from landscape_cli.volume_text import volume_text


@pytest.mark.parametrize("seed", [0, 1])
def test_small_ellipsoids_are_exact(seed: int) -> None:
    curvatures = np.exp(np.random.default_rng(seed).normal(size=25))
    for objective in (ellipsoid(curvatures), rotated_ellipsoid(curvatures, seed)):
        volume = laplace_volume(objective, [0.1, 0.7], metric="identity")
        for row in volume.results:
            assert row.log_volume == pytest.approx(ellipsoid_log_volume(curvatures, row.cutoff), abs=1e-8)
            assert row.interval == pytest.approx((row.log_volume, row.log_volume), abs=1e-8)


@pytest.mark.parametrize(("n", "seed", "steps"), [(500, 0, 80), (2000, 1, 12)])
def test_the_interval_holds_the_truth_of_a_large_rotated_ellipsoid(n: int, seed: int, steps: int) -> None:
    """Curvatures 1/i: the error is the scatter of the log-determinant's probes and what its quadrature left out."""
    curvatures = 1 / np.arange(1, n + 1)
    volume = laplace_volume(
        rotated_ellipsoid(curvatures, seed), [0.1], metric="identity", seed=seed, probes=31, steps=steps
    )
    error = volume.results[0].log_volume - ellipsoid_log_volume(curvatures, 0.1)
    # the transform spreads every axis, so only the mean of the logs lies on the diagonal, which signs see exactly
    scatter = math.sqrt(2 * n * float(np.var(np.log(curvatures))) / 31)
    assert volume.standard_error[0] == pytest.approx(scatter, rel=0.6)  # four standard deviations of it
    assert abs(error) < 0.5 * (4 * volume.standard_error[0] + volume.quadrature_error[0])
    low, high = volume.results[0].interval
    # Student's t at 30 degrees of freedom is 2.042
    expected = 2 * 0.5 * (2.042 * volume.standard_error[0] + volume.quadrature_error[0])
    assert high - low == pytest.approx(expected, rel=1e-3)
    assert (volume.quadrature_error[0] > 1) == (steps == 12)


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_parameter_coordinates_are_the_same_for_every_metric(metric: str) -> None:
    rng = np.random.default_rng(5)
    layout = Layout.from_shapes({"first": (3, 4), "second": (2, 3)})
    curvatures, centre = np.exp(0.3 * rng.normal(size=18)), rng.normal(size=18)
    objective = ellipsoid(curvatures, centre, layout)
    row = laplace_volume(objective, [0.01], metric=metric, max_radius=math.inf).results[0]
    assert row.log_volume_raw == pytest.approx(ellipsoid_log_volume(curvatures, 0.01), abs=1e-8)


def test_the_order_of_the_parameters_does_not_matter() -> None:
    curvatures = np.exp(np.random.default_rng(2).normal(size=25))
    order = np.random.default_rng(3).permutation(25)
    volumes = [laplace_volume(ellipsoid(h), [0.1], metric="identity") for h in (curvatures, curvatures[order])]
    assert volumes[0].results[0].log_volume == pytest.approx(volumes[1].results[0].log_volume, abs=1e-9)


@pytest.mark.parametrize("cap", [0.05, 0.06, 0.0633, 0.07, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("k", [20, 200, 380])
def test_an_ellipsoid_cut_by_the_cap(k: int, cap: float) -> None:
    """k axes bend and n - k are flat: V = ω_n R^n · I_x(k/2, (n - k)/2 + 1), x = 2c / (h R²) at most 1.

    In logs, since the incomplete beta function underflows: k ω_k ω_(n-k) ∫ y^(k-1) (R² - y²)^((n-k)/2) dy.
    """
    n, h, cutoff = 400, 50.0, 0.1
    top = min(cap, math.sqrt(2 * cutoff / h))
    y = (np.arange(200_000) + 0.5) / 200_000 * top
    shells = (k - 1) * np.log(y) + (n - k) / 2 * np.log(cap**2 - y**2)
    truth = log_unit_ball(k) + log_unit_ball(n - k) + math.log(k * top / len(y)) + float(logsumexp(shells))
    volume = laplace_volume(two_level(n, k, h, 0.0), [cutoff], metric="identity", max_radius=cap)
    assert abs(volume.results[0].log_volume - truth) < 0.35
    assert volume.negative == 0


@pytest.mark.parametrize("cap", [0.5, 1.5, 4.0])
def test_directions_that_bend_downwards_end_at_the_cap(cap: float) -> None:
    """The cut body {h|y|² - g|z|² <= 2c, |y|² + |z|² <= R²}, by an integral over |z|."""
    n, k, h, g, cutoff = 300, 250, 1.0, 0.1, 0.1
    z = (np.arange(200_000) + 0.5) / 200_000 * cap
    y = np.sqrt(np.minimum((2 * cutoff + g * z**2) / h, cap**2 - z**2))
    shells = (n - k - 1) * np.log(z) + k * np.log(y)
    truth = log_unit_ball(k) + log_unit_ball(n - k) + math.log((n - k) * cap / len(z)) + float(logsumexp(shells))
    volume = laplace_volume(two_level(n, k, h, -g), [cutoff], metric="identity", max_radius=cap)
    assert abs(volume.results[0].log_volume - truth) < 0.35
    assert volume.negative == pytest.approx(n - k, abs=10)  # the scatter of 30 probes: sqrt(2 · 50 · 250/300 / 30)


@pytest.mark.parametrize("both", [True, False])
def test_a_narrow_kl_basin_is_that_of_the_fisher_information(both: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=rng, dtype=torch.float64)
    y = (torch.rand(50, generator=rng) > 0.4).long() if both else (torch.rand(50, generator=rng) > 0.4).double()
    loss = "cross_entropy" if both else "binary_cross_entropy"
    objective = ls.Objective(Logits(both), (x, y), loss, scope="all")
    settings: dict[str, Any] = {"criterion": "kl", "metric": "identity"}
    row = laplace_volume(objective, [1e-6], **settings).results[0]
    p = torch.sigmoid(x @ torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64))
    fisher = (x.T * (p * (1 - p))) @ x / 50
    truth = log_unit_ball(3) + 1.5 * math.log(2e-6) - 0.5 * float(torch.logdet(fisher))
    assert row.log_volume == pytest.approx(truth, abs=1e-6)
    measured = ls.log_volume(objective, [1e-6], estimator="uniform", directions=2000, **settings).results[0]
    assert measured.verdict == "reliable"
    assert abs(measured.log_volume - truth) < 2 * (measured.interval[1] - measured.interval[0])


def test_gauss_newton_of_a_linear_model_is_its_hessian() -> None:
    torch.manual_seed(0)
    objective = ls.Objective(
        nn.Linear(4, 1, bias=False).double(), (torch.randn(30, 4).double(), torch.randn(30, 1).double()), "mse"
    )
    rows = [
        laplace_volume(objective, [0.5], criterion="rise", metric="identity", curvature=name).results[0]
        for name in ("hessian", "ggn")
    ]
    assert rows[0].log_volume == pytest.approx(rows[1].log_volume, abs=1e-9)


def test_the_verdict_is_an_approximation_wherever_it_is_shown(tmp_path: Path) -> None:
    volume = ls.log_volume(ellipsoid(np.ones(3)), [0.1, 0.2], estimator="laplace", metric="identity")
    assert isinstance(volume, LaplaceVolume)
    assert [row.verdict for row in volume.results] == ["approximation"] * 2
    text = volume_text(volume)
    assert f"~ {volume.results[0].log10_volume:.2f}" in text
    assert "approximation" in str(volume)
    assert "lower bound" not in text
    assert ">=" not in text
    assert "rays" not in text
    summary = json.loads(json.dumps(volume.summary(), allow_nan=False))
    assert summary["results"][0]["ess"] is None
    assert summary["negative"] == 0
    assert summary["quadrature_error"] == [0.0, 0.0]
    with ls.Store(tmp_path / "run.h5", write=True) as store:
        store["volume"] = volume
    again = ls.Store(tmp_path / "run.h5")["volume"]
    assert isinstance(again, LaplaceVolume)
    assert again.log_determinant.tolist() == volume.log_determinant.tolist()
    assert str(again) == str(volume)
    with pytest.raises(ls.LandscapeError, match="no rays"):
        plots.sorted_weights(volume)
    radii = ls.basin_radii(ellipsoid(np.ones(3)), [0.1, 0.2], metric="identity", directions=20)
    assert len(plots.overview(radii, volume).subfigs) == 2
    assert any("approximation" in note for note in compare_volumes(volume, volume).notes)


SADDLE = ls.Objective.from_function(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, torch.zeros(2, dtype=torch.float64))
MODEL = ls.Objective(nn.Linear(2, 3, bias=False), (torch.eye(2), torch.tensor([0, 1])), "cross_entropy")


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        (SADDLE, {}, ["1 negative eigenvalues", "among 2", "curvature='ggn'", "max_radius", "annealed"]),
        (lp_ball(5, 4), {}, ["0 to rounding", "max_radius", "annealed"]),
        (MODEL, {"cutoffs": [9.0], "curvature": "ggn"}, ["the ggn", "0 to rounding"]),
        (MODEL, {"criterion": "kl", "curvature": "hessian"}, ["Gauss-Newton", "curvature='ggn'"]),
        (ellipsoid(np.ones(2)), {"criterion": "rise", "curvature": "ggn"}, ["predictions"]),
        (ellipsoid(np.ones(2)), {"curvature": "fisher"}, ["hessian, ggn"]),
        (ellipsoid(np.ones(2)), {"cutoffs": [-1.0]}, ["no basin"]),
        (ellipsoid(np.ones(2)), {"max_radius": -1.0}, ["max_radius = -1.0"]),
        (ellipsoid(np.ones(2)), {"probes": 1}, ["probe"]),
        (ellipsoid(np.ones(2)), {"cutoffs": []}, ["cutoffs"]),
        (np.ones(3), {}, ["not to ndarray"]),
    ],
)
def test_misuse_is_refused_with_what_to_type(objective: Any, options: dict[str, Any], words: list[str]) -> None:
    given: dict[str, Any] = {"cutoffs": [0.1], "metric": "identity", **options}
    with pytest.raises(ls.LandscapeError) as caught:
        laplace_volume(objective, **given)
    assert all(word in str(caught.value) for word in words), caught.value


def test_advice_is_what_helps() -> None:
    """Gauss-Newton cannot be told to become itself."""
    with pytest.raises(ls.LandscapeError) as caught:
        laplace_volume(MODEL, [9.0], metric="identity", curvature="ggn")
    assert "curvature='ggn'" not in str(caught.value)
    assert laplace_volume(SADDLE, [0.1], metric="identity", max_radius=1.0).negative == pytest.approx(1.0)
