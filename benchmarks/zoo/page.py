"""The page docs/compatibility.md."""

from __future__ import annotations

from benchmarks.page import ROOT, machine
from benchmarks.zoo.families import FAMILIES
from benchmarks.zoo.measure import COLUMNS, REFUSED, RIGHT, Row

PAGE = ROOT / "docs" / "compatibility.md"
HEAD = """\
# Compatibility

Models of every kind, each with a real batch of its kind, and what was measured on them. `python -m benchmarks.zoo
--page` writes this page; `python -m benchmarks.zoo NAME` measures one model again.

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


def write_page(rows: dict[str, list[Row]], date: str) -> None:
    """Write the page from the rows of each family."""
    missing = {family: [row for row in group if not row.size] for family, group in rows.items()}
    rows = {family: [row for row in group if row.size] for family, group in rows.items()}
    everything = [row for group in rows.values() for row in group]
    outcomes = [outcome for row in everything for outcome, _ in row.cells.values()]
    counts = {name: outcomes.count(name) for name in sorted(set(outcomes))}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    parts = [
        HEAD,
        f"{len(everything)} models on {date}: of {len(outcomes):,} cells {said}.\n",
        f"{machine()}; {versions()}.\n",
    ]
    refusals: dict[str, int] = {}
    for family, group in rows.items():
        parts.append(f"## {FAMILIES[family]}\n")
        head = "| model | parameters | " + " | ".join(COLUMNS) + " | seconds |"
        parts.append(
            "\n".join([head, "|---|--:|" + "---|" * len(COLUMNS) + "--:|", *(line(row, refusals) for row in group)])
            + "\n"
        )
        if missing[family]:
            parts.append(f"Not built with these versions: {', '.join(row.name for row in missing[family])}.\n")
    if refusals:
        parts.append("## Refusals\n")
        parts += [f"{number}. " + "\\\n   ".join(words.strip().splitlines()) for words, number in refusals.items()]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


def line(row: Row, refusals: dict[str, int]) -> str:
    """Return one row of the table; a refusal gets the number of its words."""
    cells = []
    for column in COLUMNS:
        outcome, words = row.cells.get(column, ("", ""))
        if outcome == REFUSED:
            outcome = f"refused ({refusals.setdefault(words, len(refusals) + 1)})"
        cells.append(outcome if outcome != RIGHT else "right")
    return f"| {row.name} | {row.size:,} | " + " | ".join(cells) + f" | {row.seconds:.1f} |"


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
