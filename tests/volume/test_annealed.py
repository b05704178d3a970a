"""The annealed estimator: closed forms, unbiased weights, an honest verdict, and runs that stop and go on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape as ls
from helpers.bodies import ellipsoid, ellipsoid_log_volume, lp_ball, lp_log_volume
from helpers.chains import assert_same_chains
from helpers.moments import some
from helpers.nets import mlp
from helpers.z_scores import z_of_weights
from landscape.objective import Layout
from landscape.rays import metric
from landscape.results import AnnealedVolume, Chains
from landscape.volume import anneal, annealed_volume, log_unit_ball, volume_from_chains
from landscape.volume.annealed import is_settled
from landscape.volume.ray_weights.statistics import interval_of


def annealed(objective: ls.Objective, cutoff: float, **options: Any) -> AnnealedVolume:
    return annealed_volume(objective, [cutoff], **{"metric": "identity", **options})


def test_the_metric_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large net's metric is a pass over all its weights."""
    made, filter_rms = [], metric._filter_rms

    def counted(*arguments: Any, **options: Any) -> torch.Tensor:
        made.append(arguments)
        return filter_rms(*arguments, **options)

    monkeypatch.setattr(metric, "_filter_rms", counted)
    bowl = ellipsoid(np.ones(4), np.ones(4), Layout.from_shapes({"weight": (2, 2)}))
    annealed_volume(bowl, [0.1], metric="filter", chains=4, temperatures=2)
    assert len(made) == 1


@pytest.mark.parametrize("n", [2, 500])
def test_a_ball_is_exact(n: int) -> None:
    volume = annealed(ellipsoid(np.full(n, 2.0)), 0.25, chains=16, temperatures=2)
    assert volume.results[0].log_volume == pytest.approx(log_unit_ball(n) + n * math.log(0.5), rel=1e-9)
    assert volume.results[0].verdict == "reliable"


@pytest.mark.parametrize(
    ("chains", "temperatures", "path", "reason"),
    [
        (8, 2, "auto", "fewer than 16 chains: pass `chains=32`"),
        (16, 2, "auto", "one chain carries much of the mean: pass a longer `budget=...`"),
        (16, 6, "radius", "nats at half effort, and a measurement allows 1: pass a longer `budget=...`"),
        (16, 8, "growth", "compare half effort, and another `seed=...`"),
    ],
)
def test_a_bound_says_why_it_is_no_measurement(chains: int, temperatures: int, path: str, reason: str) -> None:
    settings = {"chains": chains, "temperatures": temperatures, "path": path}
    settings["precondition"] = "auto" if path == "auto" else "none"
    volume = annealed(ellipsoid(np.geomspace(0.01, 100, 20)), 0.1, **settings)
    assert volume.results[0].verdict == "lower bound"
    assert reason in volume.results[0].reasons[0]
    assert f"lower bound: {volume.results[0].reasons[0]}." in str(volume)


@pytest.mark.parametrize(("n", "temperatures"), [(5, 12), (40, 160)])
def test_ellipsoids(n: int, temperatures: int) -> None:
    curvatures = np.exp(np.random.default_rng(n).normal(size=n))
    volume = annealed(ellipsoid(curvatures), 0.1, chains=60, temperatures=temperatures, seed=1)
    row, truth = volume.results[0], ellipsoid_log_volume(curvatures, 0.1)
    assert row.verdict == "reliable"
    assert abs(z_of_weights(volume.log_weights[:, 0], truth - log_unit_ball(n))) < 4
    assert row.interval[0] < truth < row.interval[1]
    assert row.interval[1] - row.interval[0] < 1.5


def test_weights_are_unbiased_at_any_effort() -> None:
    """Two temperatures are far too few to settle, and the mean over many chains is right all the same."""
    curvatures = np.array([0.2, 1.0, 5.0, 5.0])
    volume = annealed(ellipsoid(curvatures), 0.1, chains=3000, temperatures=4, seed=2)
    truth = ellipsoid_log_volume(curvatures, 0.1) - log_unit_ball(4)
    assert abs(z_of_weights(volume.log_weights[:, 0], truth)) < 4
    assert abs(z_of_weights(volume.log_weights_half[:, 0], truth)) < 4


def test_the_variance_of_log_weights_falls_as_one_over_temperatures() -> None:
    """So the standard deviation at half effort is sqrt(2) times as large; of 200 chains, each is known to 5 %."""
    spread = annealed(ellipsoid(1 / np.arange(1, 61)), 0.1, chains=200, temperatures=32, seed=3).weight_spread[0]
    assert abs(math.log(spread[0] / spread[1]) - math.log(2) / 2) < 4 * 0.0708


def test_the_path_keeps_what_means_over_uniform_directions_take() -> None:
    """At every temperature the mean weight of a bare 1 is 1, and that of r^n is V / ω_n; on all paths."""
    curvatures = np.array([0.3, 1.0, 3.0])
    truth = ellipsoid_log_volume(curvatures, 0.1) - log_unit_ball(3)
    for path in ("radius", "soft", "growth"):
        chains = anneal(ellipsoid(curvatures), [0.1], metric="identity", chains=600, temperatures=6, seed=11, path=path)
        half, full = chains.path_log_weights[0]
        assert np.isnan(half[3:]).all()
        assert np.isfinite(half[:3]).all()
        assert (full[0] == 0).all()  # uniform directions carry equal weights
        for weights in full[1:]:
            assert abs(z_of_weights(weights, 0.0)) < 4
        known = np.isfinite(chains.path_log_radii[0, 1]).all(axis=1)
        assert known[[0, -1]].all()
        for weights, radii in zip(full[known], chains.path_log_radii[0, 1][known], strict=True):
            assert abs(z_of_weights(weights + 3 * radii, truth)) < 4
        last = chains.path_log_weights[0, 1, -1] + 3 * chains.path_log_radii[0, 1, -1]
        assert last == pytest.approx(chains.log_weights[0, 1])


@pytest.mark.parametrize("p", [1.0, 8.0])
def test_lp_balls(p: float) -> None:
    volume = annealed(lp_ball(12, p), 0.3, chains=100, temperatures=30, seed=4)
    assert abs(z_of_weights(volume.log_weights[:, 0], lp_log_volume(12, p, 0.3) - log_unit_ball(12))) < 4
    assert volume.results[0].verdict == "reliable"


def test_a_box_around_a_point_off_its_centre() -> None:
    offset = torch.linspace(-0.6, 0.6, 6, dtype=torch.float64)
    box = ls.Objective.from_function(lambda x: x.abs().amax(-1), offset)
    volume = annealed(box, 1.0, chains=200, temperatures=30, seed=5)
    assert abs(z_of_weights(volume.log_weights[:, 0], 6 * math.log(2) - log_unit_ball(6))) < 4


def test_a_body_cut_by_the_cap() -> None:
    """The slab |x_1| <= 1/2 in the unit ball of R^3: 2 π (1/2 - 1/24); half of its rays are censored, 8/11 of it."""
    slab = ls.Objective.from_function(lambda x: x[..., 0].square(), torch.zeros(3, dtype=torch.float64))
    volume = annealed(slab, 0.25, chains=600, temperatures=6, max_radius=1.0, seed=6)
    row, truth = volume.results[0], 2 * math.pi * (1 / 2 - 1 / 24)
    assert abs(z_of_weights(volume.log_weights[:, 0], math.log(truth) - log_unit_ball(3))) < 4
    assert abs(row.censored - 8 / 11) < 4 * math.sqrt(0.2 / 600)  # of the body, where the chains have come to
    share = 0.5 * 4 / 3 * math.pi / truth
    assert abs(row.censored_weight - share) < 4 * math.sqrt(share * (1 - share) / row.ess)


def test_a_body_that_nothing_bounds_but_the_cap() -> None:
    flat = ls.Objective.from_function(lambda x: 0.0 * x.sum(-1), torch.zeros(7, dtype=torch.float64))
    row = annealed(flat, 1.0, chains=16, temperatures=2, max_radius=2.0).results[0]
    assert row.log_volume == pytest.approx(log_unit_ball(7) + 7 * math.log(2))
    assert (row.censored, row.censored_weight) == (1.0, 1.0)


def test_a_function_without_a_gradient_is_measured_by_slices_alone() -> None:
    curvatures = np.array([0.5, 1.0, 2.0])

    def f(x: Tensor) -> Tensor:
        return torch.from_numpy(0.5 * (x.detach().numpy() ** 2 @ curvatures))

    chains = anneal(
        ls.Objective.from_function(f, torch.zeros(3, dtype=torch.float64)),
        [0.1],
        metric="identity",
        chains=100,
        temperatures=10,
    )
    assert np.nanmax(chains.column("hmc")) == 0
    assert abs(z_of_weights(chains.log_weights[0, 1], ellipsoid_log_volume(curvatures, 0.1) - log_unit_ball(3))) < 4


@pytest.mark.parametrize("criterion", ["loss", "rise", "kl"])
def test_a_net_agrees_with_uniform_rays(criterion: str) -> None:
    """A scope of six weights, where plain rays are reliable too; two cutoffs, filter metric."""
    torch.manual_seed(0)
    inputs = torch.randn(40, 2)
    objective = ls.Objective(mlp(2, 3, 2), (inputs, (inputs[:, 0] > 0).long()), "cross_entropy", scope="2.weight")
    start = objective.centre if criterion == "loss" else 0.0
    options = {"criterion": criterion, "metric": "filter", "max_radius": 3.0}
    cutoffs = [start + 0.05, start + 0.2]
    plain = ls.log_volume(objective, cutoffs, directions=4000, seed=1, **options)
    found = ls.log_volume(objective, cutoffs, estimator="annealed", chains=48, temperatures=24, seed=1, **options)
    assert isinstance(found, AnnealedVolume)
    for one, other in zip(plain.results, found.results, strict=True):
        assert one.verdict == "reliable"
        errors = [(row.interval[1] - row.interval[0]) / 2 / 1.96 for row in (one, other)]
        assert abs(one.log_volume - other.log_volume) < 4 * math.hypot(*errors)
        assert other.log_volume_raw - other.log_volume == pytest.approx(one.log_volume_raw - one.log_volume)


def test_uniform_rays_of_a_plain_body_show_nothing_unseen() -> None:
    for seed in range(5):
        assert (
            annealed(ellipsoid(np.array([0.3, 1.0, 3.0])), 0.1, chains=64, temperatures=20, seed=seed).unseen[0] < 0.4
        )


def test_too_little_effort_is_a_lower_bound() -> None:
    """n = 300, curvatures 1/i, 6 temperatures: nowhere near, and the bound holds all the same."""
    curvatures = 1 / np.arange(1, 301)
    row = annealed(ellipsoid(curvatures), 0.1, chains=16, temperatures=6).results[0]
    assert row.verdict == "lower bound"
    assert row.interval[0] < ellipsoid_log_volume(curvatures, 0.1) < row.interval[1] == math.inf
    assert row.interval[0] == pytest.approx(row.log_volume + math.log(0.05) - 0.1)


def test_a_spike_that_no_chain_has_met_is_no_measurement() -> None:
    """The ball of radius 1 with a spike to 3 on a hundredth of the sphere of R^5, 2.5 times the ball's volume: too rare
    for a few chains at little effort; uniform rays show it.
    """

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        return torch.where(x[..., 0] > 0.86 * size, size / 3, size)

    spiked = ls.Objective.from_function(f, torch.zeros(5, dtype=torch.float64))
    missed = 0
    for seed in range(4):
        chains = anneal(spiked, [1.0], metric="identity", chains=16, temperatures=2, seed=seed)
        volume = volume_from_chains(chains)
        assert volume.results[0].verdict == "lower bound"
        if chains.log_radius_last.max() < 0.1:
            missed += 1
            assert volume.unseen[0] > 0.5
            assert is_settled(*chains.log_weights[0], 0.001)  # the weights alone would not tell
    assert missed


@pytest.mark.parametrize(
    ("half", "full", "settled"),
    [
        (np.linspace(-1, 1, 16), np.linspace(-0.5, 0.5, 16), True),
        (np.linspace(-1, 1, 15), np.linspace(-0.5, 0.5, 15), False),  # too few chains
        (np.linspace(-2, 2, 16), np.linspace(-0.5, 0.5, 16), False),  # spread at half effort
        (np.linspace(-1, 1, 16) - 3, np.linspace(-0.5, 0.5, 16), False),  # half and full differ
        (np.linspace(-1, 1, 16), np.append(np.zeros(15), 3.0), False),  # one chain carries all
    ],
)
def test_what_settled_takes(half: np.ndarray, full: np.ndarray, settled: bool) -> None:
    assert is_settled(half, full, 0.0) == settled


def test_the_interval_covers_a_normal_spread_of_log_weights() -> None:
    """At the largest spread that passes, 32 chains, in 95 % of 2,000 runs; a z-gate of 4."""
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(2000):
        low, high = interval_of(rng.normal(-0.25, math.sqrt(0.5), size=32))
        missed += not low <= 0 <= high
    assert missed < 100 + 4 * math.sqrt(95)


@pytest.mark.parametrize("path", ["radius", "soft", "growth"])
def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(path: str, tmp_path: Path) -> None:
    objective = ellipsoid(np.array([0.3, 1.0, 2.0, 9.0]))
    options: dict[str, Any] = {"metric": "identity", "chains": 4, "temperatures": 4, "seed": 8, "path": path}
    whole = anneal(objective, [0.1, 0.4], **options)
    blocks: list[Chains] = []
    anneal(objective, [0.1, 0.4], on_progress=lambda progress: blocks.append(progress.snapshot()), **options)
    assert len(blocks) == len(whole.trace)
    for at in some(len(blocks) - 1):
        ls.Store(tmp_path / "run.h5")["chains"] = blocks[at]
        kept = ls.Store(tmp_path / "run.h5")["chains"]
        assert isinstance(kept, Chains)
        assert_same_chains(anneal(objective, [0.1, 0.4], resume=kept, **options), whole)


def test_a_run_says_how_far_it_is() -> None:
    seen: list[tuple[int, int]] = []
    anneal(
        ellipsoid(np.ones(2)),
        [0.1, 0.2],
        metric="identity",
        chains=4,
        temperatures=4,
        on_progress=lambda progress: seen.append((progress.done, progress.total)),
    )
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_chain_is_the_same_among_fewer() -> None:
    objective = ellipsoid(np.array([0.3, 1.0, 2.0]))
    many, few = (anneal(objective, [0.1], metric="identity", chains=k, temperatures=6, seed=9) for k in (8, 4))
    assert many.log_weights[0, :, :4] == pytest.approx(few.log_weights[0], rel=1e-9)


def test_what_cannot_be_continued() -> None:
    objective, other = ellipsoid(np.ones(2)), ellipsoid(np.full(2, 3.0))
    options: dict[str, Any] = {"metric": "identity", "chains": 4, "temperatures": 2}
    done = anneal(objective, [0.1], **options)
    with pytest.raises(ls.LandscapeError, match="temperatures: stored 2, asked 4"):
        anneal(objective, [0.1], resume=done, **{**options, "temperatures": 4})
    with pytest.raises(ls.LandscapeError, match="cutoffs"):
        anneal(objective, [0.2], resume=done, **options)
    with pytest.raises(ls.LandscapeError, match="another function"):
        anneal(other, [0.1], resume=done, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chains": 1}, "Pass at least 4"),
        ({"temperatures": 1}, "Pass at least 2"),
        ({"path": "straight"}, "auto, radius, soft"),
        ({"cutoffs": [-1.0]}, "no basin"),
        ({"seed": -1}, "seed"),
        ({"rtol": 1.0}, "rtol"),
    ],
)
def test_misuse_is_refused_with_what_to_type(options: dict[str, Any], words: str) -> None:
    cutoffs = options.pop("cutoffs", [0.1])
    with pytest.raises(ls.LandscapeError, match=words):
        ls.log_volume(ellipsoid(np.ones(2)), cutoffs, estimator="annealed", metric="identity", **options)


def test_an_unfinished_run_is_no_volume() -> None:
    blocks: list[Chains] = []
    options: dict[str, Any] = {"metric": "identity", "chains": 4, "temperatures": 2}
    anneal(ellipsoid(np.ones(2)), [0.1], on_progress=lambda progress: blocks.append(progress.snapshot()), **options)
    with pytest.raises(ls.LandscapeError, match="not at the end"):
        volume_from_chains(blocks[-2])


def test_the_result_prints_keeps_and_sums_itself_up(tmp_path: Path) -> None:
    volume = annealed(ellipsoid(np.array([1.0, 4.0])), 0.1, chains=16, temperatures=8)
    ls.Store(tmp_path / "run.h5")["volume"] = volume
    back = ls.Store(tmp_path / "run.h5")["volume"]
    assert isinstance(back, AnnealedVolume)
    assert str(back) == str(volume)
    assert "16 chains" in str(volume)
    summary = json.loads(json.dumps(volume.summary(), allow_nan=False))
    assert summary["estimator"] == "annealed"
    assert volume.inverse_temperature[0, 0] == 0
    assert volume.log_density[-1, 0] > volume.log_density[0, 0]
