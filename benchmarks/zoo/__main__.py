"""Measure models of the zoo.

    python -m benchmarks.zoo [NAME...] [--family FAMILY] [--page] [--jobs N]

``--page`` puts each row into docs/compatibility.md as soon as it is measured; rows of other models stay as they are.
It needs ``pip install -e '.[zoo]'``. Exit code 1 means that a measured cell is wrong or a traceback.
"""

from __future__ import annotations

import multiprocessing
import sys

from benchmarks.page import command_line
from benchmarks.zoo import page
from benchmarks.zoo.families import FAMILIES, cases_of
from benchmarks.zoo.measure import RIGHT, Row
from benchmarks.zoo.work import one, quiet


def main() -> int:
    """Run the command."""
    parser = command_line(__doc__)
    parser.add_argument("names", nargs="*", help="models to measure; by default all")
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only these families")
    parser.add_argument("--page", action="store_true", help="put the rows into docs/compatibility.md")
    parser.add_argument("--jobs", type=int, default=1, help="models measured at once, each on one thread")
    args = parser.parse_args()
    known = {family: list(cases_of(family)) for family in args.family or FAMILIES}
    absent = set(args.names).difference(*known.values())
    if absent:
        parser.error(f"no model is called {', '.join(sorted(absent))}; the names are those of {page.PAGE.name}")
    wanted = [
        (family, name) for family, names in known.items() for name in names if not args.names or name in args.names
    ]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs, initializer=quiet, maxtasksperchild=20) as pool:
        for (family, _), row in zip(wanted, pool.imap(one, wanted), strict=True):
            rows.append(row)
            show(family, row)
            if args.page:
                page.put(family, row, known[family])
    unsound = [row.name for row in rows if not row.sound]
    print(f"{len(rows)} models, {len(unsound)} with a wrong cell or a traceback: {', '.join(unsound) or 'none'}")
    if args.page:
        print(page.totals(page.read_rows(page.PAGE.read_text())))
    return 1 if unsound else 0


def show(family: str, row: Row) -> None:
    """Print one line for a model, and what is not right about it."""
    cells = " ".join(f"{column} {outcome}" for column, (outcome, _) in row.cells.items() if outcome != RIGHT)
    print(f"{family:10} {row.name:32} {row.size:>12,} {row.seconds:7.1f} s  {cells or 'right'}", flush=True)
    for words in dict.fromkeys(words for _, words in row.cells.values() if words):
        print("    " + words.strip().replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
