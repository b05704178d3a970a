"""The page of the zoo holds its own rows, so that a run of a few models puts them in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.zoo import page
from benchmarks.zoo.measure import COLUMNS, REFUSED, RIGHT, WRONG, Row

DAY = "2026-01-02"
SAID = "no rule for it.\nInstead, pass `derivative='difference'`."


def _row(name: str, size: int = 1200, **cells: tuple[str, str]) -> Row:
    outcomes = {column: cells.get(column, (RIGHT, "")) for column in COLUMNS} if size else {}
    return Row(name, outcomes, size, 1.5, DAY)


def test_rows_are_read_from_the_page_as_they_were_written() -> None:
    rows = {
        "layers": [_row("Linear"), _row("CTC", product=(REFUSED, SAID))],
        "timm": [_row("vit", product=(REFUSED, SAID), volume=(WRONG, ""), slice=(REFUSED, "another.\nType x."))],
    }
    text = page.text_of(rows, "Last rows: here.")
    assert page.read_rows(text) == rows
    assert "\n3 models: of 18 cells 1 WRONG, 3 refused, 14 right.\n" in text
    assert "\n2. another.\\\n   Type x.\n" in text


def test_models_that_were_not_built_are_named_and_not_counted() -> None:
    text = page.text_of({"timm": [_row("vit"), _row("old", 0), _row("older", 0)]}, "")
    assert "Not built with these versions: old, older." in text
    again = page.read_rows(text)["timm"]
    assert [(row.name, row.size, row.sound) for row in again] == [
        ("vit", 1200, True),
        ("old", 0, False),
        ("older", 0, False),
    ]


def test_one_row_replaces_its_own_and_goes_to_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    for family, name in (("timm", "b"), ("layers", "Linear"), ("timm", "gone"), ("timm", "a")):
        page.put(family, _row(name), ["a", "gone", "b", "c", "Linear"])
    page.put("timm", _row("b", 7, centre=(REFUSED, SAID)), ["a", "b", "c"])
    rows = page.read_rows(page.PAGE.read_text())
    assert {family: [(row.name, row.size) for row in group] for family, group in rows.items()} == {
        "layers": [("Linear", 1200)],
        "timm": [("a", 1200), ("b", 7)],
    }


def test_nothing_on_the_page_in_docs_was_written_by_hand() -> None:
    """Its tables, its totals and its numbers of refusals are those that the command writes from its rows."""
    text = page.PAGE.read_text()
    made_on = next(line for line in text.splitlines() if line.startswith("Last rows: "))
    assert page.text_of(page.read_rows(text), made_on) == text
