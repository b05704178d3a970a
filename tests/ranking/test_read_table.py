"""A CSV of runs: which column is what, and what is said of cells that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.families import as_csv, family
from landscape.errors import LandscapeError
from landscape.ranking import read_table

HEADER = "net,Seed,width,data,lr,Test_Error,train-loss,trace,trace:error,trace:passes,trace:seconds\n"
ROWS = "".join(
    f"n{number},{number % 2},{8 + number // 6},{'ab'[number // 3 % 2]},{0.1 * (number % 3):.1f},"
    f"{0.01 * number},0.0{number},{number**2},0.5,{100 + number},2\n"
    for number in range(12)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "runs.csv").write_text(HEADER + ROWS)
    return tmp_path / "runs.csv"


def test_columns_are_told_apart(path: Path) -> None:
    runs = read_table(path, target="error")
    assert runs.nets[:2] == ("n0", "n1")
    assert runs.seeds[:2] == ("0", "1")
    assert list(runs.axes) == ["width", "data", "lr"]
    assert runs.axes["width"][:7] == [8, 8, 8, 8, 8, 8, 9]
    assert runs.axes["data"][2:4] == ["a", "b"]
    assert runs.target_names == ("error",)
    assert runs.measures == ("train-loss", "trace")
    assert runs.value("trace").tolist() == [number**2 for number in range(12)]
    assert runs.standard_errors[1, 0] == 0.5
    assert np.isnan(runs.standard_errors[0]).all()
    assert (runs.passes[1, 3], runs.seconds[1, 3]) == (103, 2)


def test_what_is_typed_decides(path: Path) -> None:
    runs = read_table(path, axes=["width", "lr"], measures=["trace"], baselines=["train-loss"])
    assert list(runs.axes) == ["width", "lr"]
    assert runs.measures == ("train-loss", "trace")
    assert runs.baselines == ("train-loss",)
    any_column = read_table(path, target="trace:passes", axes=["width"])
    assert any_column.target("trace:passes")[1] == 101


def test_a_family_comes_back_as_it_was(tmp_path: Path) -> None:
    runs = family()
    (tmp_path / "runs.csv").write_text(as_csv(runs))
    again = read_table(tmp_path / "runs.csv", test_size=10_000)
    assert again.axes == runs.axes
    assert again.measures == runs.measures
    assert np.array_equal(again.values, runs.values)
    assert np.array_equal(again.targets, runs.targets[::-1])
    assert np.array_equal(again.standard_errors, runs.standard_errors, equal_nan=True)


def test_error_and_gap_follow_from_accuracies(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(
        "lr,train_accuracy,test_accuracy,test_size,x\n" + "".join(f"{i % 2},1.0,0.{i},500,{i}\n" for i in range(4))
    )
    runs = read_table(path)
    assert runs.target("error") == pytest.approx([1.0, 0.9, 0.8, 0.7])
    assert runs.target("gap") == pytest.approx([1.0, 0.9, 0.8, 0.7])
    assert runs.test_size == 500
    assert runs.measures == ("x",)


def test_gaps_and_constant_columns(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(
        "lr,gap,x,momentum\n" + "".join(f"{i % 2},{i},{['nan', '', 'inf', 3][i % 4]},0.9\n" for i in range(8))
    )
    runs = read_table(path)
    assert runs.measures == ("x",)
    assert runs.value("x").tolist() == pytest.approx([np.nan, np.nan, np.nan, 3] * 2, nan_ok=True)
    assert runs.notes == ("The column momentum is the same in every row, so it is left out.",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("a,b\n", "has no rows"),
        ("a,a\n1,2\n", "the column 'a' is named twice"),
        ("a,b\n1,2,3\n", "row 2: 3 cells, and the header has 2"),
        ("lr,gap,x\n1,2,3\n,2,3\n", "row 3: the axis 'lr' has no value"),
        ("lr,gap,x\n1,2,3\nnan,2,3\n", "the axis 'lr' holds NaN"),
        ("lr,gap,x\n1,many,3\n2,2,3\n", "row 2: gap is 'many'; expected a number"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(LandscapeError, match=words):
        read_table(path, axes=["lr"] if "lr" in text else None)


def test_unknown_columns_and_files_are_refused(path: Path, tmp_path: Path) -> None:
    for option in ("axes", "measures", "baselines", "smaller_is_sharper"):
        with pytest.raises(LandscapeError, match=f"no column 'depth', which `{option}=...` names"):
            read_table(path, **{option: ["depth"]})  # type: ignore[arg-type]
    with pytest.raises(LandscapeError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LandscapeError, match="is not a CSV file in UTF-8"):
        read_table(tmp_path / "bytes.csv")
    with pytest.raises(LandscapeError, match="named as a measure, but it is something else"):
        read_table(path, measures=["lr"], axes=["lr"])


def test_a_text_among_the_numbers_of_a_measure_is_refused_and_makes_no_axis(path: Path) -> None:
    path.write_text(path.read_text().replace(",16,0.5", ",hello,0.5"))
    with pytest.raises(LandscapeError, match="row 6: trace is 'hello'; expected a number"):
        read_table(path, target="error")


def test_a_text_that_differs_in_every_row_is_no_axis(tmp_path: Path) -> None:
    rows = [f"{width},2026-01-{row:02d}T,{row}.5,{row}" for row, width in enumerate([8, 8, 8, 16, 16, 16], 1)]
    (tmp_path / "runs.csv").write_text("\n".join(["width,date,trace,error", *rows]))
    runs = read_table(tmp_path / "runs.csv", target="error")
    assert (list(runs.axes), runs.measures) == (["width"], ("trace",))
    assert runs.notes == ("The column date is another text in every row, so it is left out.",)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_named(path: Path, separator: str) -> None:
    path.write_text(path.read_text().replace(",", separator))
    with pytest.raises(
        LandscapeError, match=f"the cells are separated by {separator!r}.*Expected commas".replace("\\", "\\\\")
    ):
        read_table(path, target="error")
