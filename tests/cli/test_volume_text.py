"""What the text below a table of volumes says about them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from helpers.commands import flat, run, strict
from landscape.plots import volumes_by_estimator
from landscape.results import Check
from landscape.results.volume_words import value_cell
from landscape.volume import best_volume
from landscape_cli.volume_text import volume_text, volumes_text


@pytest.mark.parametrize("rays", [30, 60])
def test_too_few_rays_are_said_to_be_too_few(rays: int) -> None:
    """Nearly equal weights tell of no rays that outweigh them."""
    volume = ls.volume_from_radii(np.linspace(1.0, 1.3, rays), n=7, cutoffs=[0.1])
    assert rays / 2 < volume.results[0].ess < 50
    text = flat(volume_text(volume))
    assert "lower bound: fewer than 100 rays: pass --directions 1000, and a larger budget" in text
    assert "not drawn" not in text


def test_a_run_that_saw_nothing_but_the_cap_says_so() -> None:
    radii = np.full(100, 2.0)
    capped = ls.volume_from_radii(radii, n=3, max_radius=2.0, cutoffs=[0.5])
    assert "Every ray reached the cap at cutoff 0.5" in capped.notes[0]
    assert "pass `max_radius=math.inf`." in flat(str(capped))
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
    assert f"to quote: - {first.report} - {second.report} lower bound:" in text


def test_the_highest_bound_is_the_one_to_report() -> None:
    bound, lower = ([200.0] * 2 + [0.0] * 18), ([190.0] + [0.0] * 19)
    high, low = (ls.volume_from_radii(np.exp(np.array(logs) / 50), n=50, cutoffs=[0.1]) for logs in (bound, lower))
    alone = high.results[0].interval[0]
    for uniform, annealed in ((high, low), (low, high)):
        text = flat(volumes_text({"uniform": uniform, "annealed": replace(annealed, estimator="annealed")}))
        assert f"the basin's log-volume is at least {alone - math.log(2):.1f} nats (95 % confidence" in text
        assert "The highest of 2 bounds is given with 0.69 nats less than alone" in text
        # each estimate is shown as it is stored, the one above first
        cells = [f"{name} {value_cell(row.results[0])}" for name, row in (("uniform", uniform), ("annealed", annealed))]
        places = [text.index(cell) for cell in cells]
        assert (places[0] < places[1]) == (uniform is high)


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
    for row in best.results:
        assert row.report in flat(volumes_text({"a": uniform, "b": annealed}))


def test_every_place_gives_the_same_number(tmp_path: Path) -> None:
    """Two bounds under a cap: what the command prints, what ``show`` prints, its JSON, the figure and Python."""
    rng = np.random.default_rng(3)
    volume = ls.volume_from_radii(np.exp(rng.normal(size=400)), n=50, max_radius=40.0, cutoffs=[0.1])
    path = str(tmp_path / "run.h5")
    ls.Store(path)["volume"] = volume
    (row,) = volume.results
    assert row.verdict == "lower bound"
    nats, log10 = f"<= {row.log_cap_ball - row.bound:,.1f}", f">= {row.bound / math.log(10):.2f}"
    shown = run(f"show {path}").stdout
    for text in (volume_text(volume), shown, str(volume)):
        assert re.search(rf"^ +0\.1 +{nats} .* {log10}$", text, re.MULTILINE)
        assert row.report in flat(text)
    (kept,) = strict(run(f"show {path} --json").stdout)["results"]["volume"]["summary"]["results"]
    assert (kept["report"], kept["reported"], kept["quotable"]) == (row.report, row.bound, log10)
    assert kept["nats_below_ball"] == row.nats_below_ball == row.log_cap_ball - row.bound
    (axes,) = volumes_by_estimator({"volume": volume}).axes
    assert f"{nats} nats (log10 V {log10})  lower bound" in [text.get_text() for text in axes.texts]


def test_the_text_fits_a_terminal_and_comes_in_order() -> None:
    rng = np.random.default_rng(3)
    bound, other = (
        ls.volume_from_radii(np.exp(rng.normal(size=400)), n=3000, max_radius=400.0, cutoffs=[0.125]) for _ in range(2)
    )
    settled = replace(bound.results[0], verdict="settled", resolution=1.02, survives=0.994)
    text = volumes_text({"uniform": other, "annealed": replace(bound, estimator="annealed", results=(settled,))})
    assert max(map(len, text.splitlines())) <= 80
    places = [text.index(words) for words in ("nats below", "how it was reached", "uniform: 400 rays", "to quote:")]
    assert places == sorted(places)
    assert re.search(r"^ +0\.125 .*  settled  +1\.02, 99 %  ", text, re.MULTILINE)


def test_conditions_that_are_not_met_are_named() -> None:
    checks = (
        Check("islands", 8, 8, True, "8 islands (at least 8)"),
        Check("gap", 4.5, "0 to 3", False, "reverse runs lie 4.5 nats above (0 to 3): pass a longer `budget=...`"),
    )
    volume = ls.volume_from_radii(np.full(200, 2.0), n=2, cutoffs=[0.1])
    assert "conditions" not in volume_text(volume)
    text = volume_text(replace(volume, results=(replace(volume.results[0], checks=checks),)))
    assert (
        "conditions at cutoff 0.1: 1 of 2 are met\n"
        "  not met  reverse runs lie 4.5 nats above (0 to 3): pass a longer --budget"
    ) in text
    assert "8 islands" not in text
