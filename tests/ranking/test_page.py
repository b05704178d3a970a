"""The page of a ranking: what it says, that it needs nothing else, and that a browser lays it out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.browser import Reader, ask, needs_browser
from helpers.families import family
from landscape.ranking import RankingSettings, rank_measures
from landscape.ranking.charts import Scale, cost_chart, distributions, interval_bar, scatter
from landscape.ranking.page import heads, ranking_page
from landscape.results import Ranking, Runs

QUICK = RankingSettings(bootstrap=100, permutations=100, effective_size=3)
#: what the browser is asked once the page is laid out; the answer is read from the title
QUESTIONS = """
const colour = () => getComputedStyle(document.querySelectorAll('.net')[5]).fill;
const before = colour();
document.querySelector('label[for=axis-2]').click();
document.title = [document.documentElement.scrollWidth, innerWidth, document.querySelectorAll('tbody tr').length,
  before, colour(), document.querySelector('.chart').getBoundingClientRect().width].join('|');
"""


@pytest.fixture(scope="module")
def runs() -> Runs:
    table = family()
    costs = np.tile([[10.0], [100.0], [1e4], [np.nan]], (1, 54))
    return replace(
        table,
        passes=costs,
        seconds=costs / 10,
        invariances={"good": ["relu-rescaling", "permutation"], "chance": ["permutation"]},
        closed_forms={"good": True, "inverted": False},
    )


@pytest.fixture(scope="module")
def ranking(runs: Runs) -> Ranking:
    return rank_measures(runs, "gap", settings=QUICK)


@pytest.fixture(scope="module")
def page(runs: Runs, ranking: Ranking) -> str:
    return ranking_page(runs, ranking)


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert reader.addresses == []
    assert not re.search(r"https?:|url\(|@import|<script", page)


def test_one_row_for_each_measure_and_baseline(page: str, ranking: Ranking) -> None:
    rows = {row[0]: row for row in Reader(page).cells}
    titles = [title for title, _ in heads(ranking, ["relu-rescaling", "permutation"])]
    assert set(ranking.measures) < set(rows)
    for name in ranking.measures:
        cells = dict(zip(titles, rows[name][2:], strict=True))
        psi = ranking.estimate("Psi", name)
        assert cells["Ψ"] == f"{psi:.2f}"
        assert cells["cells"] == ("9/27" if name == "learning-rate" else "27/27")
    good, chance = (dict(zip(titles, rows[name][2:], strict=True)) for name in ("good", "chance"))
    assert (good["relu-rescaling"], good["closed form"], good["passes"], good["seconds"]) == ("✓", "✓", "10", "1")
    assert (chance["relu-rescaling"], chance["permutation"], chance["closed form"]) == ("–", "✓", "")
    assert list(rows).index("Baselines") > list(rows).index("inverted")


def test_the_headline_and_the_figures_are_there(page: str, ranking: Ranking, runs: Runs) -> None:
    assert f'<p class="headline">{ranking.headline}</p>' in page
    assert page.count('class="net ') == len(ranking.measures) * len(runs.nets)
    assert page.count('class="case"') == 2 * int(np.isfinite(ranking.sign_errors).sum())
    for axis in ranking.axes:
        assert f">along {axis} (" in page
    assert "Cost against Ψ" in page


def test_what_is_missing_is_said(runs: Runs) -> None:
    unknown = np.full_like(runs.values, np.nan)
    values = runs.values.copy()
    values[0, :40] = np.nan
    bare = replace(runs, values=values, passes=unknown, seconds=unknown)
    page = ranking_page(bare, rank_measures(bare, "gap", settings=replace(QUICK, effective_size=12)))
    assert "<b>good</b>: not ranked: it has values on" in page
    assert "There is none: no pair of configurations has enough pairs of nets." in page
    assert "Cost against Ψ" not in page
    assert Reader(page).open == []


def test_names_of_a_table_cannot_become_html(runs: Runs) -> None:
    evil = "<script>alert(1)</script>"
    table = replace(
        runs,
        nets=(evil, *runs.nets[1:]),
        measures=(evil, *runs.measures[1:]),
        axes={**{k: v for k, v in runs.axes.items() if k != "batch"}, "<i>": runs.axes["batch"]},
        notes=(evil,),
    )
    page = ranking_page(table, rank_measures(table, "gap", settings=QUICK))
    assert "<script" not in page
    assert "<i>" not in re.sub(r'<i style="[^"]*">', "", page)
    assert "&lt;script&gt;" in page


def test_scales_and_marks_are_where_the_numbers_are() -> None:
    scale = Scale.of(np.array([1.0, 1000.0, np.nan]), 0, 100)
    assert scale.log
    assert scale.place(10**1.5) == pytest.approx(50)
    assert not Scale.of(np.array([-1.0, 1000.0]), 0, 100).log
    assert Scale.of(np.array([]), 0, 100).place(0.5) == pytest.approx(50)
    bar = interval_bar(0.5, (0.0, 1.0), (-0.2, 0.2))
    assert 'cx="103.0"' in bar
    assert 'x1="70.0" x2="136.0"' in bar
    assert "circle" not in interval_bar(np.nan, (np.nan, np.nan), (np.nan, np.nan))
    dots = distributions(["m"], np.array([[0.0], [1.0], [np.nan]]), "all")
    assert dots.count('class="case"') == 2
    points = scatter(np.array([1.0, np.nan]), np.array([0.1, 0.2]), ["a", "b"], ["one", "two"], "gap")
    assert "<title>one</title>" in points
    assert "two" not in points


def test_labels_of_the_cost_chart_hide_no_other() -> None:
    chart = cost_chart([f"measure-{n}" for n in range(8)], np.full(8, 10.0), np.full(8, 0.5), "passes")
    rows = sorted(float(row) for row in re.findall(r'y="([\d.]+)">measure-', chart))
    assert len(rows) == 8
    assert min(np.diff(rows)) >= 12


@needs_browser
@pytest.mark.parametrize("width", [1400, 400])
def test_a_browser_lays_it_out(page: str, ranking: Ranking, tmp_path: Path, width: int) -> None:
    """Nothing is wider than the window, every row is there, and the choice of an axis changes colours."""
    wide, window, rows, before, after, chart = ask(page, QUESTIONS, tmp_path, width=width)
    assert int(wide) <= int(window)
    assert abs(int(window) - width) <= 100
    assert int(rows) == len(ranking.measures) + 1
    assert before != after
    assert 280 <= float(chart) <= 500
