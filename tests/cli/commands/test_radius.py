"""``landscape radius``: a row per ray, as a table, JSON or CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.commands import SMALL, run, strict


def test_radius_prints_a_row_a_ray(here: Path) -> None:
    line = f"radius {SMALL} --cutoff 0.5 --cutoff 9 --criterion rise"
    found = strict(run(f"{line} --json").stdout)
    assert [ray["direction"] for ray in found["rays"]] == list(range(60))
    assert found["cutoffs"] == [0.5, 9.0]
    along = sum(ray["evaluations"] for ray in found["rays"])
    assert along + found["pilot_evaluations"] == pytest.approx(found["evaluations"])
    assert found["pilot_evaluations"] > 0
    ends = {status for ray in found["rays"] for status in ray["status"]}
    assert ends == {"crossed", "censored"}
    assert all(ray["radii"][0] <= ray["radii"][1] for ray in found["rays"])
    rows = run(f"{line} --csv").stdout.splitlines()
    assert rows[0] == "direction,cutoff,radius,status,lower,upper"
    assert len(rows) == 1 + 60 * 2
    assert rows[1].startswith(f"0,0.5,{found['rays'][0]['radii'][0]!r},crossed,")
    table = run(line).stdout
    assert "median r" in table
    assert max(map(len, table.splitlines())) <= 80


def test_json_and_csv_together_are_refused(here: Path) -> None:
    assert "one of the two" in run(f"radius {SMALL} --json --csv", code=2).stderr
