"""The cost of volumes: which budgets are tried, what counts as the cost, and where the section goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import volume_cost
from benchmarks.calibration import Run
from benchmarks.page import put_section
from benchmarks.rows import Row, read


def test_budgets_grow_until_there_is_a_verdict_and_no_run_is_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []

    def measure(run: Run) -> Row:
        made.append((run.body, run.budget))
        return {**vars(run), "verdict": "settled" if run.body == "ellipsoid9" and run.budget >= 400 else "lower bound"}

    monkeypatch.setattr(volume_cost, "measure", measure)
    path, asked = tmp_path / "rows.jsonl", [("ellipsoid", 9, 0), ("ball", 9, 0)]
    volume_cost.measure_all(path, asked, "auto", first=100, most=2000)
    assert made == [
        *(("ellipsoid9", budget) for budget in (100, 400)),
        *(("off-centre9,1,0.6", budget) for budget in (100, 400, 1600)),
    ]
    volume_cost.measure_all(path, asked, "auto", first=100, most=2000)
    assert len(made) == 5
    assert [row["budget"] for row in volume_cost.last_runs(read(path))] == [1600, 400]


def test_a_run_tells_its_cost_and_how_many_points_it_moved() -> None:
    row = volume_cost.prepare(json.dumps(vars(Run("ellipsoid9", "uniform", 2000, 0))), "uniform")()
    assert row["points"] == 512  # rays of a block
    assert row["passes"] > 500
    assert volume_cost.copies({"peak": 7200, "points": 10, "n": 45}) == 2.0


def test_the_section_and_the_figure_show_the_largest_budget_of_each_run(tmp_path: Path) -> None:
    common = {"shape": "ellipsoid", "n": 9, "used": "annealed", "points": 10}
    rows = [
        {**common, **vars(Run("ellipsoid9", "auto", budget, 0)), **dict(zip(names, values, strict=True))}
        for names in [("verdict", "error", "passes", "seconds", "peak")]
        for budget, values in ((100, ("lower bound", -9.0, 99, 1.0, 720)), (400, ("settled", 0.1, 390, 2.0, 1440)))
    ]
    lines = [line for line in volume_cost.section(rows) if line.startswith("| ellipsoid")]
    assert lines == ["| ellipsoid | 9 | 0 | settled (annealed) | +0.10 | 390 | 2.0 | 0 | 2.0 |"]
    volume_cost.draw(rows, tmp_path / "figures" / "cost.png")
    assert (tmp_path / "figures" / "cost.png").stat().st_size > 1000


def test_a_section_replaces_the_one_with_its_heading_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## A\n\nold\n\n## A and more\n\nkept\n")
    put_section("A", ["new"], page)
    assert page.read_text() == "# Benchmarks\n\n## A\n\nnew\n\n## A and more\n\nkept\n"
    put_section("B", ["last"], page)
    assert page.read_text() == "# Benchmarks\n\n## A\n\nnew\n\n## A and more\n\nkept\n\n## B\n\nlast\n"
