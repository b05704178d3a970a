"""What the text below a table of volumes says about them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import landscape as ls
from helpers.commands import flat
from landscape.volume import best_volume
from landscape_cli.volume_text import volume_text, volumes_text


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
    capped = ls.volume_from_radii(radii, n=3, max_radius=2.0, cutoffs=[0.5])
    assert "Every ray reached the cap at cutoff 0.5" in capped.notes[0]
    assert "pass `max_radius=math.inf`." in str(capped)
    assert "pass --max-radius none." in flat(volume_text(capped))
    assert not ls.volume_from_radii(radii, n=3, max_radius=2.5, cutoffs=[0.5]).notes


def test_of_several_bounds_the_reason_of_the_weakest_is_shown_and_all_are_reported() -> None:
    rng = np.random.default_rng(1)
    volume = ls.volume_from_radii(np.exp(rng.normal(size=(400, 2)) * [0.5, 1.0]), n=50, cutoffs=[0.1, 1.0])
    first, second = volume.results
    assert first.ess > second.ess
    text = flat(volume_text(volume))
    assert f"lower bound: {second.reasons[0]}." in text
    assert first.reasons[0] not in text
    assert f"Report as: log10 V {first.quotable} at cutoff 0.1; log10 V {second.quotable} at cutoff 1 (95 %" in text


def test_the_highest_bound_is_the_one_to_report() -> None:
    bound, lower = ([200.0] * 2 + [0.0] * 18), ([190.0] + [0.0] * 19)
    high, low = (ls.volume_from_radii(np.exp(np.array(logs) / 50), n=50, cutoffs=[0.1]) for logs in (bound, lower))
    alone = high.results[0].log10_interval[0]
    for uniform, annealed in ((high, low), (low, high)):
        text = flat(volumes_text({"uniform": uniform, "annealed": replace(annealed, estimator="annealed")}))
        assert f"Report as: log10 V >= {alone - math.log10(2):.2f} at cutoff 0.1" in text
        assert "The highest of 2 bounds is given with 0.30 less than alone" in text
        # the table shows each estimate as it is stored
        assert f"uniform {uniform.results[0].quotable}" in text
        assert f"annealed {annealed.results[0].quotable}" in text
        assert ("annealed reports more than uniform" in text) == (annealed is high)


def test_each_cutoff_reports_its_own_best_estimate() -> None:
    """Uniform rays are better at the first cutoff, chains at the second: as when auto anneals for one of them only."""
    logs = np.full((20, 2), 100.0)
    logs[:2] = [200.0, 120.0]
    swapped = logs[:, ::-1]
    uniform, other = (ls.volume_from_radii(np.exp(each / 50), n=50, cutoffs=[0.1, 1.0]) for each in (logs, swapped))
    annealed = replace(
        other,
        estimator="annealed",
        results=tuple(replace(row, cutoff=cutoff) for row, cutoff in zip(other.results, (0.1, 1.0), strict=True)),
    )
    best = best_volume({"volume": uniform, "annealed-volume": annealed}, "x.h5")
    lowered = [row.interval[0] + math.log(2) for row in best.results]
    assert lowered == pytest.approx([uniform.results[0].interval[0], annealed.results[1].interval[0]])
    assert best.estimator == "uniform and annealed"
    assert flat(str(best)).count("Report as") == 1
    for row in best.results:
        assert f"log10 V {row.quotable} at cutoff {row.cutoff:g}" in flat(volumes_text({"a": uniform, "b": annealed}))
