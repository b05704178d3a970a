"""Bodies whose volume is known: how far the estimates are from it, and how often each verdict is right.

    python -m benchmarks.known_bodies calibration [--rows FILE] [--body NAME ...] [--budget PASSES ...] [--seeds A:B]
        [--estimator auto|annealed|uniform|importance] [--jobs N]
    python -m benchmarks.known_bodies summary [--rows FILE]         prints what the rows show
    python -m benchmarks.known_bodies_page [--rows FILE]            writes the section of docs/benchmarks.md

Bodies are named by a family and its numbers, n first, as in ``halfcut50``; a pattern such as ``'off-centre*'`` selects
from the catalogue (benchmarks/bodies/catalogue.py). Every run adds a line to the file of ``--rows`` as soon as it is
done, and no run in the file is made twice. So hours of measuring survive an interruption, and may be done part by part.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import calibration, calibration_tables
from benchmarks.page import command_line, seed_range
from benchmarks.rows import read

ROWS = Path("known_bodies.jsonl")  # default of --rows


def main() -> None:
    """Measure, or print the summary."""
    parser = command_line(__doc__)
    parser.add_argument("part", choices=["calibration", "summary"])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--body", nargs="+", default=["*"], metavar="NAME", help="default: all")
    parser.add_argument("--budget", nargs="+", type=int, default=calibration.BUDGETS, metavar="PASSES")
    parser.add_argument("--seeds", type=seed_range, default=range(2), metavar="A:B", help="A to B - 1")
    parser.add_argument("--estimator", choices=["auto", "annealed", "uniform", "importance"], default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    given = parser.parse_args()
    if given.part == "summary":
        print("\n".join(calibration_tables.tables(read(given.rows))))
        return
    asked = calibration.runs(given.body, given.estimator, given.budget, given.seeds)
    for row in calibration.measure_all(given.rows, asked, given.jobs):
        print(calibration_tables.line(row), flush=True)


if __name__ == "__main__":
    main()
