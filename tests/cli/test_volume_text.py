"""What the text below a table of volumes says about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import landscape as ls
from helpers.commands import flat
from landscape_cli.volume_text import bound_notes, volume_text, volumes_text


def test_the_reason_of_a_lower_bound_is_the_one_that_failed() -> None:
    heavy = np.exp(np.random.default_rng(1).standard_t(2, size=4000) / 40)
    volume = ls.volume_from_radii(heavy, n=20, cutoffs=[0.1])
    tail = replace(volume.results[0], ess=400.0, largest_weight=0.02, pareto_k=0.83, verdict="lower bound")
    assert "tail index of 0.83" in volume_text(replace(volume, results=(tail,)))
    few = replace(tail, ess=1.2, largest_weight=0.91)
    words = " ".join(volume_text(replace(volume, results=(few,))).split())
    assert "about 1 of 4,000 rays carries" in words
    assert "91.0 %" in words
    for row in (tail, few):
        capped = " ".join(volume_text(replace(volume, results=(replace(row, censored=0.001),))).split())
        assert "The cap bounds every weight" in capped
        assert "not drawn" not in capped
    light = replace(tail, pareto_k=0.1)
    words = " ".join(volume_text(replace(volume, results=(light,))).split())
    assert "the first half of the rays, on which the verdict rests, has an ess of" in words
    calm = np.random.default_rng(2).normal(size=(4000, 1)) / 4
    assert "given up" in volume_text(replace(volume, results=(light,), log_weights=calm))


@pytest.mark.parametrize("rays", [30, 60])
def test_too_few_rays_are_said_to_be_too_few(rays: int) -> None:
    """Nearly equal weights tell of no rays that outweigh them."""
    volume = ls.volume_from_radii(np.linspace(1.0, 1.3, rays), n=7, cutoffs=[0.1])
    assert rays / 2 < volume.results[0].ess < 50
    text = flat(volume_text(volume))
    assert "lower bound: fewer than 100 rays: pass --directions 1000" in text
    assert "not drawn" not in text


def test_a_run_that_saw_nothing_but_the_cap_says_so() -> None:
    radii = np.full(100, 2.0)
    notes = bound_notes(ls.volume_from_radii(radii, n=3, max_radius=2.0, cutoffs=[0.5]))
    assert "every ray reached the cap at cutoff 0.5" in notes[0]
    assert not bound_notes(ls.volume_from_radii(radii, n=3, max_radius=2.5, cutoffs=[0.5]))


def test_a_bound_of_uniform_rays_that_lies_higher_is_the_one_to_quote() -> None:
    bound, lower = ([200.0] * 2 + [0.0] * 18), ([190.0] + [0.0] * 19)
    plain, best = (ls.volume_from_radii(np.exp(np.array(logs) / 50), n=50, cutoffs=[0.1]) for logs in (bound, lower))
    text = flat(volumes_text({"uniform": plain, "annealed": replace(best, estimator="annealed")}))
    assert f"The bound of uniform is the higher one, and holds as well: log10 V {plain.results[0].quotable}" in text
    assert "annealed above uniform" not in text
    text = flat(volumes_text({"uniform": best, "annealed": replace(plain, estimator="annealed")}))
    assert "annealed above uniform" in text
    assert "the higher one" not in text
