"""The runner on bodies of known volume: which runs it makes, what it keeps, and what its tables count."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import calibration_tables
from benchmarks.calibration import Run, measure_all, runs
from benchmarks.rows import Row, read
from landscape.errors import LandscapeError


def test_patterns_choose_from_the_catalogue_and_names_need_not_be_in_it() -> None:
    chosen = list(runs(["box[35]", "cube4"], "uniform", [500, 200], range(2)))
    assert [(run.seed, run.budget, run.body) for run in chosen] == [
        (seed, budget, body) for seed in (0, 1) for budget in (200, 500) for body in ("box3", "cube4", "box5")
    ]
    with pytest.raises(LandscapeError, match="there is no body 'bax'"):
        next(runs(["bax"], "uniform", [200], range(1)))


def test_every_run_is_kept_as_soon_as_it_is_made_and_none_is_made_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    asked = [Run("box3", "uniform", budget, 0) for budget in (200, 2000)]
    first = next(measure_all(path, asked, jobs=1))
    assert read(path) == [json.loads(json.dumps(first))]
    (second,) = measure_all(path, asked, jobs=1)
    assert (first["budget"], second["budget"]) == (200, 2000)
    assert not list(measure_all(path, asked, jobs=1))
    assert second["low"] < second["error"] < second["high"]
    assert {"used": "uniform", "kind": "polytopes", "n": 3}.items() <= second.items()
    assert second["passes"] > first["passes"] > 20


def test_a_run_that_fails_is_a_row_with_its_message(tmp_path: Path) -> None:
    """Its budget is invalid. The run after it is made."""
    asked = [Run("box3", "annealed", -1, 0), Run("box3", "uniform", 200, 0)]
    failed, made = measure_all(tmp_path / "rows.jsonl", asked, jobs=1)
    assert failed["failed"].startswith("LandscapeError: ")
    assert "failed" not in made
    (line,) = (line for line in calibration_tables.tables([failed, made]) if "Runs without an estimate" in line)
    assert "box3 (-1, seed 0)" in line


def row(verdict: str, low: float, high: float, *, kind: str = "walls", **more: float) -> Row:
    name = {"body": "slab3", "kind": kind, "n": 3, "estimator": "auto", "used": "annealed", "budget": 1000, "seed": 0}
    cost = {"passes": 900.0, "seconds": 1.0, "bound": math.nan, "upper_bound": math.nan}
    return {**name, **cost, "verdict": verdict, "low": low, "high": high, "error": low / 2 + min(high, 2.0) / 2, **more}


def test_tables_count_right_intervals_and_violated_bounds_by_verdict_and_kind() -> None:
    rows = [
        row("reliable", -0.1, 0.2, bound=-3.0),
        row("reliable", 0.1, 0.4, bound=0.05),
        row("settled", -2.0, -1.0, kind="spikes", bound=-5.0, upper_bound=-0.1),
        row("lower bound", -3.0, math.inf, bound=-3.0),
    ]
    lines = list(calibration_tables.verdicts(rows))
    assert "| all | reliable | 2 | 1 | 50.0 % (1.3 to 98.7) | 1 of 2 |" in lines
    assert "| all but spikes | any | 3 | 2 | 66.7 % (9.4 to 99.2) | 1 of 3 |" in lines
    assert "| spikes | settled | 1 | 0 | 0.0 % (0.0 to 97.5) | 1 of 1 |" in lines
    wrong = list(calibration_tables.wrong(rows))
    assert wrong[0].endswith(": 2.")
    assert "| slab3 | 1,000 | 0 | annealed | settled | -1.50 | [-2.00, -1.00] | [-5.00, -0.10] |" in wrong
    (body,) = (line for line in calibration_tables.by_body(rows) if line.startswith("| slab3"))
    assert "| 4 | " in body
    assert "| 2 | 1 | 1 | **2 of 4** | 900 | 1.0 |" in body
