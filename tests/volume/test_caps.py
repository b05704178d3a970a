"""Volumes under several caps, and the chance of a ray that reaches one, from one run of annealed chains."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume
from landscape.results import Caps
from landscape.volume import anneal, log_unit_ball, volume_from_chains, volumes_at_caps

CURVATURES = np.array([0.02, 0.1, 0.5, 1.0, 1.0, 2.0, 4.0, 8.0])
CUTOFF = 0.1


def independent(caps: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """V and P(r >= cap) of that ellipsoid with a standard error each, from a million directions and exact radii."""
    z = np.random.default_rng(99).normal(size=(1_000_000, len(CURVATURES)))
    phi = z / np.linalg.norm(z, axis=1, keepdims=True)
    r = np.sqrt(2 * CUTOFF / (phi**2 @ CURVATURES))
    volumes, chances = [], []
    for cap in caps:
        for found, values in ((volumes, np.minimum(r, cap) ** len(CURVATURES)), (chances, r >= cap)):
            found.append((values.mean(), values.std() / 1000))
    return np.array(volumes), np.array(chances)


@pytest.mark.parametrize(("path", "max_radius"), [("radius", 1.0), ("radius", None), ("soft", 1.0), ("growth", 1.0)])
def test_an_ellipsoid_cut_by_balls(path: str, max_radius: float | None) -> None:
    caps = [0.3, 0.5, 1.0]
    chains = anneal(
        ellipsoid(CURVATURES), [CUTOFF], metric="identity", chains=400, temperatures=40, seed=3, path=path,
        max_radius=max_radius,
    )  # fmt: skip
    found = volumes_at_caps(chains, caps)
    volumes, chances = independent(caps)
    ball = log_unit_ball(len(CURVATURES))
    for row, (volume, volume_error), (chance, chance_error) in zip(found.rows, volumes, chances, strict=True):
        error = math.hypot(math.sqrt(1 / row.ess), volume_error / volume)
        assert abs(math.exp(row.log_volume - ball) / volume - 1) < 4 * error
        error = math.hypot(math.sqrt(1 / row.probability_ess), chance_error / chance)
        assert abs(math.exp(row.log_probability) / chance - 1) < 4 * error
        assert row.interval[0] < ball + math.log(volume) < row.interval[1]
        assert row.probability_interval[0] < math.log(chance) < row.probability_interval[1]


@pytest.mark.parametrize("path", ["soft", "growth"])
def test_caps_between_uniform_rays_and_the_end(path: str) -> None:
    """Uniform rays end at about 1.3, those of V at 2.1: what is inside 1.8 shows on neither, but on the way."""
    n, cap = 100, 1.8
    axes = np.sqrt(2 * 0.045 * np.arange(1, n + 1))
    random = np.random.default_rng(0)
    z = random.normal(size=(100_000, n))
    z *= random.random((len(z), 1)) ** (1 / n) / np.linalg.norm(z, axis=1, keepdims=True)
    inside = (np.linalg.norm(z * axes, axis=1) < cap).mean()  # of draws from the ellipsoid
    truth = log_unit_ball(n) + float(np.log(axes).sum()) + math.log(inside)
    chains = anneal(
        ellipsoid(2 * 0.045 / axes**2), [0.045], metric="identity", chains=32, temperatures=60, path=path,
        max_radius=4.0, precondition="none",
    )  # fmt: skip
    assert abs(volumes_at_caps(chains, [cap]).rows[0].log_volume - truth) < 2


def test_a_ball_inside_and_outside_its_cap() -> None:
    chains = anneal(ellipsoid(np.full(6, 2.0)), [0.25], metric="identity", chains=16, temperatures=4)
    inner, outer = volumes_at_caps(chains, [0.25, 1.0]).rows
    assert inner.log_volume == pytest.approx(log_unit_ball(6) + 6 * math.log(0.25), abs=1e-6)
    assert outer.log_volume == pytest.approx(log_unit_ball(6) + 6 * math.log(0.5), abs=1e-3)
    assert inner.log_probability == pytest.approx(0.0)
    assert outer.log_probability == -math.inf
    assert inner.verdict == outer.verdict == inner.probability_verdict == "reliable"


def test_at_the_cap_of_the_run_it_is_the_volume_of_the_run() -> None:
    chains = anneal(ellipsoid(CURVATURES), [0.1, 0.2], metric="identity", chains=16, temperatures=8, max_radius=1.0)
    rows = volumes_at_caps(chains).rows
    assert [(row.cutoff, row.cap) for row in rows] == [(c, cap) for c in (0.1, 0.2) for cap in (0.25, 0.5, 1.0)]
    for row, whole in zip(rows[2::3], volume_from_chains(chains).results, strict=True):
        assert (row.log_volume, row.interval, row.verdict) == (whole.log_volume, whole.interval, whole.verdict)
    for first in (0, 3):
        values = [row.log_volume for row in rows[first : first + 3]]
        chances = [row.log_probability for row in rows[first : first + 3]]
        assert values == sorted(values)
        assert chances == sorted(chances, reverse=True)


def test_without_a_cap_the_last_row_has_none() -> None:
    chains = anneal(ellipsoid(np.ones(3)), [0.1], metric="identity", chains=16, temperatures=4)
    found = volumes_at_caps(chains)
    assert [row.cap for row in found.rows] == [0.25, 0.5, 1.0, 2.0, math.inf]
    assert found.rows[-1].log_probability == -math.inf
    assert found.rows[-1].log_volume == pytest.approx(ellipsoid_log_volume(np.ones(3), 0.1), abs=1e-3)


def test_weights_are_unbiased_at_any_effort() -> None:
    """Two temperatures, many chains: right on average, and the verdict makes nothing of it."""
    chains = anneal(
        ellipsoid(CURVATURES), [CUTOFF], metric="identity", chains=3000, temperatures=4, seed=5, max_radius=1.0
    )
    row = volumes_at_caps(chains, [0.5]).rows[0]
    volume, error = independent([0.5])[0][0]
    assert abs(math.exp(row.log_volume - log_unit_ball(8)) / volume - 1) < 4 * math.hypot(row.ess**-0.5, error / volume)


@pytest.mark.parametrize("cap", [0.0, -1.0, 1.5, math.nan])
def test_caps_that_the_run_says_nothing_of(cap: float) -> None:
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), torch.zeros(3, dtype=torch.float64))
    chains = anneal(flat, [1.0], metric="identity", chains=4, temperatures=2, max_radius=1.0)
    with pytest.raises(ls.LandscapeError, match="cap"):
        volumes_at_caps(chains, [cap])


def test_they_are_kept_and_print_what_may_be_quoted(tmp_path: Path) -> None:
    chains = anneal(ellipsoid(CURVATURES), [CUTOFF], metric="identity", chains=16, temperatures=4, max_radius=1.0)
    found = volumes_at_caps(chains)
    ls.Store(tmp_path / "run.h5")["caps"] = found
    kept = ls.Store(tmp_path / "run.h5")["caps"]
    assert isinstance(kept, Caps)
    assert kept == found
    assert str(kept).splitlines()[:2] == [
        "cutoff   cap   log10 V  verdict        log10 P  verdict",
        "(loss)   (r)                         (r = cap)",
    ]
    for line, row in zip(str(kept).splitlines()[2:], found.rows, strict=True):
        assert (">=" in line) == ("lower bound" in (row.verdict, row.probability_verdict))
    assert (found.rows[-1].probability_interval[0], found.rows[-1].cap) == (-math.inf, 1.0)  # no chain reaches it
    assert "no bound" in str(kept).splitlines()[-1]
    assert "inf" not in str(kept)


def test_many_rays_at_a_small_cap_are_enough_however_long_the_others_are() -> None:
    """A slab in 300 dimensions: half of all rays reach the cap of 0.05 or so, the others are far shorter."""
    n = 300
    slab = ls.Objective.from_function(lambda x: x[..., 0].square(), torch.zeros(n, dtype=torch.float64))
    chains = anneal(slab, [1e-6], metric="identity", chains=100, temperatures=4, max_radius=0.5, seed=1)
    cap = 0.001 * math.sqrt(n) / 0.6745  # |x_1| of a ray of that length is normal, and half of them below 0.001
    row = volumes_at_caps(chains, [cap]).rows[0]
    assert math.exp(row.log_probability) == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 100) + 0.01)
    least = log_unit_ball(n) + n * math.log(cap) + math.log(0.5)
    assert least - 0.6 < row.log_volume < least + math.log(2)


def test_targets_that_have_left_the_mean_behind_are_not_taken_for_settled() -> None:
    """At the first half of the targets the weights scatter around exp(-5), at the others all are exp(-40)."""
    chains = anneal(ellipsoid(np.full(6, 2.0)), [0.25], metric="identity", chains=16, temperatures=8)
    weights = np.full(chains.path_log_weights.shape, -40.0)
    weights[:, 0, :2] = np.random.default_rng(0).normal(-5, 1, size=(1, 2, 16))
    weights[:, 1, :4] = np.random.default_rng(1).normal(-5, 1, size=(1, 4, 16))
    weights[:, 0, 4:] = np.nan  # half effort has fewer
    row = volumes_at_caps(replace(chains, path_log_weights=weights), [0.25]).rows[0]
    assert abs(row.log_probability + 4.5) < 1
    assert abs(row.log_volume - log_unit_ball(6) - 6 * math.log(0.25) + 4.5) < 1
