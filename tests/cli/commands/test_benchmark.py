"""``landscape benchmark --table``: the ranking of a table, its files, and what it refuses."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import flat, run, strict
from helpers.families import as_csv, family
from landscape.results import Ranking, Runs
from landscape.store import Store

QUICK = "--bootstrap 50 --effective-size 3 --test-size 10000"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("runs.csv").write_text(as_csv(family()))
    return "runs.csv"


def test_a_table_is_ranked(table: str) -> None:
    done = run(f"benchmark --table {table} {QUICK}")
    assert flat(done.stdout).startswith("1 of 4 measures predicts the gap better than every baseline")
    for name in ("good", "inverted", "chance", "one-axis", "learning-", "random*"):
        assert f"\n{name} " in done.stdout


def test_the_files_hold_what_is_printed(table: str) -> None:
    done = run(f"benchmark --table {table} {QUICK} --json --out bench.h5")
    printed = strict(done.stdout)
    rows = {row["measure"]: row for row in csv.DictReader(io.StringIO(Path("bench.csv").read_text()))}
    ranking, runs = Store("bench.h5")["ranking"], Store("bench.h5")["runs"]
    assert isinstance(ranking, Ranking)
    assert isinstance(runs, Runs)
    for name in printed["measures"]:
        psi = ranking.estimate("Psi", name)
        assert float(rows[name]["Psi"]) == pytest.approx(psi, abs=1e-6)
        assert printed["estimates"][0][printed["measures"].index(name)] == pytest.approx(psi)
        assert rows[name]["baseline"] == str(int(name in ranking.baselines))
    assert rows["learning-rate"]["psi:width"] == ""
    assert (rows["learning-rate"]["cells:width"], rows["learning-rate"]["defined:width"]) == ("9", "0")
    assert float(rows["good"]["noise"]) == pytest.approx(0.02**2 / runs.value("good").var(ddof=1), rel=1e-4)
    assert ranking.headline in Path("bench.html").read_text()
    again = run(f"benchmark --table bench.h5 {QUICK} --json")
    assert strict(again.stdout)["estimates"] == printed["estimates"]


def test_the_options_reach_the_ranking(table: str) -> None:
    words = (
        "--target error --axes width,lr,batch --measures inverted --smaller-is-sharper inverted --baselines one-axis"
    )
    printed = strict(run(f"benchmark --table {table} {QUICK} {words} --seed 3 --json").stdout)
    assert printed["measures"] == ["inverted", "one-axis", "learning-rate", "random"]
    assert printed["target"] == "error"
    assert printed["estimates"][0][0] == pytest.approx(1.0)
    assert printed["config"]["seed"] == 3


def test_the_ending_says_what_is_written(table: str) -> None:
    done = run(f"benchmark --table {table} {QUICK} --out page.html --out numbers.csv")
    assert "wrote page.html\nwrote numbers.csv\n" in done.stdout
    assert sorted(path.name for path in Path().iterdir()) == ["numbers.csv", "page.html", "runs.csv"]
    done = run(f"benchmark --table {table} --bootstrap 20 --out missing/page.html", code=2)
    assert "missing/page.html cannot be written" in done.output


def test_show_prints_a_stored_ranking(table: str) -> None:
    run(f"benchmark --table {table} {QUICK} --out bench.h5")
    shown = run("show bench.h5").stdout
    assert "ranking" in shown
    assert "predicts the gap better than every baseline" in flat(shown)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--target nothing", "there is no target 'nothing'; the table has error, gap. Pass one of them as --target."),
        ("--axes width,lr", "a ranking needs at least 20 configurations, and there are 9"),
        ("--axes width,depth", "runs.csv has no column 'depth', which --axes names"),
        ("--out bench.pdf", "--out bench.pdf has no ending that is known"),
        ("--axes ,", "expected names with commas between them"),
    ],
)
def test_misuse_is_one_clear_error(table: str, words: str, message: str) -> None:
    done = run(f"benchmark --table {table} --bootstrap 20 {words}", code=2)
    assert message in flat(done.output)


def test_a_file_that_holds_no_table_is_refused(table: str) -> None:
    Store("other.h5")["runs"] = _ranking(table)
    done = run("benchmark --table other.h5", code=2)
    assert "holds something else than a table of runs" in flat(done.output)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--baselines size",
            "bench.h5 has no measure 'size', which --baselines names. It has: good, inverted, chance,",
        ),
        ("--smaller-is-sharper size", "bench.h5 has no measure 'size', which --smaller-is-sharper names"),
        ("--keep-all", "so --keep-all cannot bring them back"),
    ],
)
def test_a_stored_table_refuses_what_it_does_not_hold(table: str, words: str, message: str) -> None:
    with Store("bench.h5", write=True) as store:
        store["runs"] = family()
    assert message in flat(run(f"benchmark --table bench.h5 {words}", code=2).output)


def _ranking(table: str) -> Ranking:
    run(f"benchmark --table {table} --bootstrap 20 --out made.h5")
    ranking = Store("made.h5")["ranking"]
    assert isinstance(ranking, Ranking)
    assert np.isfinite(ranking.chance_of_best)
    return ranking
