"""Rows of measurements in a file, one line of JSON per run, so that hours of measuring survive an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """Return the rows measured so far; a line cut short by an interruption is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def append(path: Path, row: Row) -> None:
    """Add a row to the file."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
