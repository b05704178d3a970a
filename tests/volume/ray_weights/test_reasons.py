"""Why a mean over rays is not reliable: the first condition that fails, in words that name the keyword to pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.commands import flat
from landscape.results import RayStatus
from landscape.volume import volume_from_radii
from landscape.volume.ray_weights.statistics import is_reliable, why_unreliable

RANDOM = np.random.default_rng(0)
LOG_WEIGHTS = {
    "zero": np.full(200, -np.inf),
    "few": np.log(np.linspace(1, 1.3, 60)),
    "scattered": 6 * RANDOM.normal(size=4000),
    "heavy": -0.8 * np.log(RANDOM.random(40_000)),
    # all the rays look calm, and the half that the verdict rests on does not
    "first half": -0.55 * np.log(np.random.default_rng(0).random(2000)),
    "calm": RANDOM.normal(size=4000) / 4,
}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("zero", "all rays end at the trained point itself"),
        ("few", "fewer than 100 rays: pass `directions=1000`, and a larger budget if that ended them"),
        ("scattered", "an ess of 4.9 means that about 5 of 4,000 rays carry the mean (the largest alone 41.9 %)"),
        ("heavy", "a tail index of 0.76, above 0.5, so rays that were not drawn may outweigh all that were"),
        ("first half", "the first half of the rays, which decides the verdict, has an ess of 139.3"),
        ("calm", "gave up"),
    ],
)
def test_the_first_condition_that_fails_is_the_reason(name: str, reason: str) -> None:
    weights = LOG_WEIGHTS[name]
    assert reason in why_unreliable(weights, 0.0, len(weights), censored=0.0)
    assert is_reliable(weights) == (name == "calm")


@pytest.mark.parametrize("name", ["scattered", "heavy"])
def test_a_cap_that_few_rays_reached_bounds_what_was_not_drawn(name: str) -> None:
    weights = LOG_WEIGHTS[name]
    reason = why_unreliable(weights, 0.0, len(weights), censored=0.001)
    assert reason.endswith(
        "The cap bounds every weight, but too few rays reached it to measure V: pass more `directions=...`"
    )
    assert "not drawn" not in reason


def test_a_volume_has_reasons_exactly_where_it_is_not_reliable() -> None:
    """At the first cutoff one ray carries the mean; at the second all rays are alike."""
    radii = np.stack([np.exp(RANDOM.normal(size=400)), np.ones(400)], axis=1)
    volume = volume_from_radii(radii, n=50, cutoffs=[0.1, 1.0])
    bound, reliable = volume.results
    assert (bound.verdict, reliable.verdict) == ("lower bound", "reliable")
    assert reliable.reasons == ()
    assert len(bound.reasons) == 1
    assert f"lower bound: {bound.reasons[0]}." in flat(str(volume))


def test_a_search_that_gave_up_is_a_reason() -> None:
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    radii = ls.basin_radii(bowl, [1.0], metric="identity", directions=400)
    assert volume_from_radii(radii).results[0].reasons == ()
    status = radii.status.copy()
    status[7] = RayStatus.UNFINISHED
    (row,) = volume_from_radii(replace(radii, status=status)).results
    assert row.verdict == "lower bound"
    assert row.reasons == ("the search along some rays gave up, and their radii are the inner ends of their brackets",)
