"""The page docs/compatibility.md, which also holds the rows measured so far."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.page import ROOT, machine
from benchmarks.zoo.families import FAMILIES
from benchmarks.zoo.measure import COLUMNS, REFUSED, TRACEBACK, Row

PAGE = ROOT / "docs" / "compatibility.md"
NOT_BUILT = "Not built with these versions: "
REFUSALS = "## Refusals"
HEAD = """\
# Compatibility

Models of every kind, each with a real batch of its kind, and what was measured on them. `python -m benchmarks.zoo
--page` measures all of them and writes this page; with `NAME` it measures one model, and the other rows stay.

| column | what is compared |
|---|---|
| centre | the loss at the trained point, with the loss that the model's own framework computes |
| product | H v along a random direction, with differences of that loss's gradient, in float64 if the model runs in it |
| radius | the radius of two rays: that loss must cross the cutoff between 0.99 and 1.01 radii |
| slice | three points of a line, with that loss there |
| volume | log V, with the mean of r^n by its formula |
| untouched | the model, its buffers, its modes and its batch, bit for bit as before |

*right*: the numbers agree. *refused*: one error says what cannot be measured and what to type; its number leads to it
below.
"""


def put(family: str, row: Row, order: Sequence[str]) -> None:
    """Put one row into the page, in place of the row of the same model.

    Args:
        family: of the model.
        row: what was measured.
        order: the names of the family's models; rows of other names leave the page.
    """
    rows = read_rows(PAGE.read_text()) if PAGE.exists() else {}
    by_name = {old.name: old for old in rows.get(family, [])} | {row.name: row}
    rows[family] = [by_name[name] for name in order if name in by_name]
    PAGE.write_text(text_of({family: rows[family] for family in FAMILIES if family in rows}, surroundings()))


def text_of(rows: dict[str, list[Row]], made_on: str) -> str:
    """Return the page with the rows of each family, and one line on the machine and the packages."""
    parts = [HEAD, totals(rows) + "\n", made_on + "\n"]
    refusals: dict[str, int] = {}
    for family, group in rows.items():
        built = [row for row in group if row.size]
        parts.append(f"## {FAMILIES[family]}\n")
        head = "| model | parameters | " + " | ".join(COLUMNS) + " | seconds | measured |"
        rule = "|---|--:|" + "---|" * len(COLUMNS) + "--:|---|"
        parts.append("\n".join([head, rule, *(line(row, refusals) for row in built)]) + "\n")
        missing = [row.name for row in group if not row.size]
        if missing:
            parts.append(f"{NOT_BUILT}{', '.join(missing)}.\n")
    if refusals:
        parts.append(f"{REFUSALS}\n")
        parts += [f"{number}. " + "\\\n   ".join(words.splitlines()) for words, number in refusals.items()]
    return "\n".join(parts).rstrip() + "\n"


def totals(rows: dict[str, list[Row]]) -> str:
    """Return one line: how many models are on the page, and how many cells have each outcome."""
    built = [row for group in rows.values() for row in group if row.size]
    outcomes = [outcome for row in built for outcome, _ in row.cells.values()]
    said = ", ".join(f"{outcomes.count(name):,} {name}" for name in sorted(set(outcomes)))
    return f"{len(built)} models: of {len(outcomes):,} cells {said}."


def read_rows(text: str) -> dict[str, list[Row]]:
    """Return the rows of a page, by family, as :func:`text_of` wrote them.

    The words of a wrong cell are not on the page: they come back empty.
    """
    body, _, listed = text.partition(f"{REFUSALS}\n")
    numbered = re.findall(r"^(\d+)\. (.*(?:\n   .*)*)", listed, re.MULTILINE)
    refusals = {number: words.replace("\\\n   ", "\n") for number, words in numbered}
    rows: dict[str, list[Row]] = {}
    families = {f"## {heading}": family for family, heading in FAMILIES.items()}
    for written in body.splitlines():
        if written in families:
            rows[families[written]] = group = []
        elif rows and written.startswith("| ") and not written.startswith("| model |"):
            group.append(row_of(written, refusals))
        elif written.startswith(NOT_BUILT):
            names = written.removeprefix(NOT_BUILT).removesuffix(".").split(", ")
            group += [Row(name, {"centre": (TRACEBACK, "not built")}, 0, 0.0) for name in names]
    return rows


def row_of(written: str, refusals: dict[str, str]) -> Row:
    """Return the row that a line of a table holds."""
    name, size, *outcomes, seconds, date = written.strip("| ").split(" | ")
    cells = {}
    for column, outcome in zip(COLUMNS, outcomes, strict=True):
        word, _, number = outcome.rstrip(")").partition(" (")
        cells[column] = (word, refusals[number] if number else "")
    return Row(name, cells, int(size.replace(",", "")), float(seconds), date)


def line(row: Row, refusals: dict[str, int]) -> str:
    """Return one row of the table; a refusal gets the number of its words."""
    cells = []
    for outcome, words in row.cells.values():
        if outcome == REFUSED:
            outcome += f" ({refusals.setdefault(words.strip(), len(refusals) + 1)})"
        cells.append(outcome)
    return f"| {row.name} | {row.size:,} | " + " | ".join(cells) + f" | {row.seconds:.1f} | {row.date} |"


def surroundings() -> str:
    """Return one line on the machine and the packages of this run."""
    return f"Last rows: {machine()}; {versions()}."


def versions() -> str:
    """Return the versions of the packages that the models come from."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("torchvision", "timm", "transformers", "torch_geometric", "peft"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found) or "torch alone"
