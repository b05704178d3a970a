"""The section on bodies of known volume: every run is on it, also one that failed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks import calibration_tables
from benchmarks.known_bodies_page import draw, section


def test_the_section_and_the_figure_hold_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_tables, "MANY_SEEDS", 2)
    common = {"body": "slab3", "kind": "walls", "n": 3, "estimator": "auto", "used": "annealed"}
    common |= {"bound": -3.0, "upper_bound": math.inf, "passes": 900.0, "seconds": 1.0}
    runs = ((500, 0, "settled", 0.5), (500, 1, "settled", 2.5), (900, 0, "reliable", 0.1))
    names = ("budget", "seed", "verdict", "error")
    rows = [{**common, **dict(zip(names, run, strict=True)), "low": run[-1] - 1, "high": run[-1] + 1} for run in runs]
    failed = {**common, "budget": 900, "seed": 1, "failed": "LandscapeError: no room"}
    text = "\n".join(section([*rows, failed]))
    assert text.startswith("4 runs of `auto` on 1 bodies, seeds 0 to 1, with budgets of 500, 900 passes.")
    assert "| all | settled | 2 | 1 |" in text
    assert "| slab3 | 500 | 1 | annealed | settled | +2.50 | [+1.50, +3.50] |" in text
    assert "Runs without an estimate, LandscapeError: no room: 1: slab3 (900, seed 1)." in text
    assert "| slab3 | 3 | auto | **+1.50 (+0.60 to +2.40) 0/2/0** | +0.10 (+0.10 to +0.10) 1/0/0 |" in text
    assert "| slab3 | 3 | auto | 500 | 2 | 1 | 0 | 2 | 0 | 1 |" in text  # one of two seeds is within 1 nat
    assert "| slab3 | 3 | auto | 900 |" not in text
    draw([*rows, failed], tmp_path / "figures" / "bodies.png")
    assert (tmp_path / "figures" / "bodies.png").stat().st_size > 1000
