"""Measure every model of the zoo and write docs/compatibility.md.

    python -m benchmarks.zoo [NAME...] [--family FAMILY] [--page] [--jobs N] [--rows FILE]

It needs ``pip install -e '.[zoo]'``. Exit code 1 means that a cell is wrong or a traceback.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.page import command_line
from benchmarks.zoo.families import FAMILIES, cases_of
from benchmarks.zoo.measure import RIGHT, Row
from benchmarks.zoo.work import one, quiet


def main() -> int:
    """Run the command."""
    parser = command_line(__doc__)
    parser.add_argument("names", nargs="*", help="models to measure; by default all")
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only these families")
    parser.add_argument("--page", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("--rows", type=Path, help="a file that keeps the rows; a model replaces its own row only")
    parser.add_argument("--jobs", type=int, default=1, help="models measured at once, each on one thread")
    args = parser.parse_args()
    rows = read_rows(args.rows)
    wanted = [
        (family, name)
        for family in args.family or FAMILIES
        for name in cases_of(family)
        if not args.names or name in args.names
    ]
    with multiprocessing.get_context("spawn").Pool(args.jobs, initializer=quiet, maxtasksperchild=20) as pool:
        for (family, _), row in zip(wanted, pool.imap(one, wanted), strict=True):
            rows[family] = [*(old for old in rows.get(family, []) if old.name != row.name), row]
            write_rows(args.rows, rows)
            show(family, row)
    everything = [row for group in rows.values() for row in group]
    unsound = [row.name for row in everything if not row.sound]
    print(f"{len(everything)} models, {len(unsound)} with a wrong cell or a traceback: {', '.join(unsound) or 'none'}")
    if args.page:
        from benchmarks.zoo.page import write_page

        write_page({family: rows[family] for family in FAMILIES if family in rows}, time.strftime("%Y-%m-%d"))
    return 1 if unsound else 0


def read_rows(path: Path | None) -> dict[str, list[Row]]:
    """Return the rows that a file holds, by family."""
    if path is None or not path.exists():
        return {}
    return {family: [Row(**row) for row in group] for family, group in json.loads(path.read_text()).items()}


def write_rows(path: Path | None, rows: dict[str, list[Row]]) -> None:
    """Write the rows to a file, if one is given."""
    if path is not None:
        path.write_text(json.dumps({family: [asdict(row) for row in group] for family, group in rows.items()}))


def show(family: str, row: Row) -> None:
    """Print one line for a model, and what is not right about it."""
    cells = " ".join(f"{column} {outcome}" for column, (outcome, _) in row.cells.items() if outcome != RIGHT)
    print(f"{family:10} {row.name:32} {row.size:>12,} {row.seconds:7.1f} s  {cells or 'right'}", flush=True)
    for words in dict.fromkeys(words for _, words in row.cells.values() if words):
        print("    " + words.strip().replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
