"""What a session and a notebook show of a result, and the pandas table it turns into."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from helpers.curvature_results import results
from helpers.every_kind import NET
from helpers.families import family
from helpers.islands import islands
from helpers.slice_results import make_line, make_plane
from helpers.stores import make_radii, make_volume
from landscape.errors import LandscapeError, MissingExtraError
from landscape.ranking import RankingSettings, rank_measures
from landscape.results import NOTHING, Comparison, ComparisonRow, Cost, Measure, SharpnessTable
from landscape.results.shown import Shown
from landscape.results.table import Table, columns

QUICK = RankingSettings(bootstrap=100, permutations=100, effective_size=3)
MEASURE = Measure(
    "average-case", 0.1234567, 0.01, "estimate", ("few <draws>",), "sharper", (), np.zeros(3), {}, Cost(20.0, 20, 1.5)
)
ROW = ComparisonRow(0.1, 3.0, 2.0, (1.0, 5.0), (0.0, 4.0), ("reliable", "settled"), "first", "first", "paired rays")
SHOWN: dict[str, Shown] = {
    **results(),
    "radii": make_radii(10),
    "no radii": make_radii(0),
    "volume": make_volume(),
    "no volume": replace(make_volume(), results=()),
    "line": make_line(),
    "plane": make_plane(5, 4),
    "measure": MEASURE,
    "sharpness": SharpnessTable({"average-case": MEASURE}, notes=("scope: all",)),
    "comparison": Comparison((ROW,), 7, "loss", ("uniform", "annealed"), ()),
    "runs": family(),
}
ROWS = {
    "radii": 80,
    "volume": 1,
    "line": 21,
    "plane": 20,
    "sharpness": 1,
    "comparison": 1,
    "eigenpairs": 4,
    "trace": 1,
    "layer_traces": 3,
    "diagonal": 120,
    "spectral_density": 100,
    "log_determinant": 1,
}


class Cells(HTMLParser):
    """The cells of an HTML table, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def read(html: str) -> Cells:
    cells = Cells()
    cells.feed(html)
    return cells


@pytest.mark.parametrize("name", SHOWN)
def test_repr_is_one_short_line(name: str) -> None:
    line = repr(SHOWN[name])
    assert line.startswith(f"<{type(SHOWN[name]).__name__}: ")
    assert line.endswith(">")
    assert "\n" not in line
    assert len(line) <= 220


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("volume", "uniform, n = 12; cutoff 0.1: >= -80,000 nats (lower bound); 1 pass, 3.0 s"),
        ("no radii", "0 of 40 rays, n = 268,336, median radius -; 0 passes, 1.5 s"),
        ("measure", "average-case 0.123 ± 0.01 (estimate); 20 passes, 1.5 s"),
        ("sharpness", "1 measure: average-case 0.123 ± 0.01 (estimate); 20 passes, 1.5 s"),
        ("comparison", "n = 7; cutoff 0.1: first is larger (settled)"),
        ("exact trace", "3 ± 0 of the Dense operator (exact), n = 3; 3 passes, "),
        ("line", "random, 21 points, n = 12,345, x -1 to 1, loss 0.01 at the trained point; 2 passes, 0.1 s"),
    ],
)
def test_repr_gives_the_number_its_verdict_and_the_cost(name: str, words: str) -> None:
    assert words in repr(SHOWN[name])


def test_a_long_list_of_measures_is_cut_and_the_cost_stays() -> None:
    line = repr(SharpnessTable({f"measure-{i}": MEASURE for i in range(50)}))
    assert " ...; 1,000 passes, 75.0 s>" in line
    assert len(line) < 220


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_shows_the_printed_words_and_the_table_as_cells(name: str) -> None:
    result = SHOWN[name]
    shown = read(result._repr_html_())
    assert shown.tags <= {"pre", "table", "thead", "tbody", "tr", "th", "td", "br"}
    table = result._cells()
    if name in ("plane", "runs"):
        assert not shown.rows
    else:
        assert isinstance(table, Table)
        words = [[cell.replace("\n", "").strip() for cell in row] for row in (table.headers, *table.rows)]
        assert shown.rows == words


def test_a_notebook_shows_the_verdict_and_escapes_what_is_text() -> None:
    page = SHOWN["sharpness"]._repr_html_()
    assert ">estimate</td>" in page
    assert "note: scope: all" in page
    assert "few &lt;draws&gt;" in page
    assert "lower bound" in SHOWN["volume"]._repr_html_()


def test_a_table_is_still_its_text() -> None:
    table = columns(["a", "b"], [["1", "<i>"]], left=["b"])
    assert str(table) == table == "a  b\n1  <i>"
    assert '<td style="text-align:left">&lt;i&gt;</td>' in table.html()


@pytest.mark.parametrize("name", ROWS)
def test_a_frame_has_a_row_per_item_and_columns_of_one_length(name: str) -> None:
    series = SHOWN[name]._series()
    assert series is not None
    assert {len(values) for values in series.values()} == {ROWS[name]}


def test_radii_become_a_row_per_ray_and_cutoff() -> None:
    pandas = pytest.importorskip("pandas", reason="the optional extra 'notebook'")
    radii = make_radii(10)
    frame = radii.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    row = frame[(frame.ray == 3) & (frame.cutoff == 1.0)]
    assert row.radius_metric_units.item() == radii.radii[3, 1]
    assert row.status.item() == "crossed"
    assert (frame.status == "pending").sum() == 60
    assert frame.pivot(index="ray", columns="cutoff", values="radius_metric_units").shape == (40, 2)


def test_planes_keep_which_loss_lies_where() -> None:
    pandas = pytest.importorskip("pandas", reason="the optional extra 'notebook'")
    plane = make_plane(5, 4)
    frame = plane.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    row = frame[(frame.x == plane.x[3]) & (frame.y == plane.y[1])]
    assert row.loss.item() == plane.loss[1, 3]


def test_a_volume_becomes_a_row_per_cutoff_with_the_bound_and_the_verdict() -> None:
    pytest.importorskip("pandas", reason="the optional extra 'notebook'")
    (row,) = make_volume().to_frame().to_dict("records")
    assert (row["cutoff"], row["bound_nats"], row["verdict"]) == (0.1, -80_000.0, "lower bound")
    assert row["reported_log10"] == pytest.approx(-80_000 / math.log(10))
    assert row["report"] == make_volume().results[0].report


def test_a_ranking_becomes_a_row_per_measure_in_its_order() -> None:
    ranking = rank_measures(family(seeds=1), settings=QUICK)
    series = ranking._series()
    assert series["measure"] == [ranking.measures[place] for place in ranking.order]
    best = series["measure"][0]
    assert (series["Psi"][0], series["Psi_low"][0]) == (
        ranking.estimate("Psi", best),
        ranking.interval("Psi", best)[0],
    )
    assert repr(ranking).startswith("<Ranking: ")
    assert len(repr(ranking)) <= 220


def test_what_has_no_rows_says_what_to_use() -> None:
    with pytest.raises(LandscapeError, match=r"Islands has no rows.*to_dict\(\)"):
        islands(budget=1000).to_frame()


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"to_frame\(\) needs [^!]* pip install 'landscape-lab\[notebook\]'"):
        make_radii(1).to_frame()


def test_a_result_without_a_cost_of_its_own_is_shown_too() -> None:
    assert repr(replace(MEASURE, value=math.nan, standard_error=math.nan, verdict="failed", cost=NOTHING)) == (
        "<Measure: average-case - (failed); 0 passes, 0.0 s>"
    )


def test_a_net_prints_where_it_stands_and_its_measures() -> None:
    head, *rows = str(NET).splitlines()
    assert head == "w16-s0: width 16, seed 0; gap 0.1"
    assert [row.split() for row in rows] == [
        ["measure", "value", "verdict"],
        ["average-case", "0.5", "estimate"],
        ["l2-norm", "12.5", "exact"],
    ]
