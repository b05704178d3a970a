"""Put the rankings of the two families into docs/sharpness.md.

python -m benchmarks.sharpness_families FAMILIES --mnist DATA
landscape benchmark FAMILIES/roll --measures core,... --budget 25s --out roll.h5
landscape benchmark FAMILIES/images --measures core,... --budget 45s --out images.h5
python -m benchmarks.sharpness_findings --roll roll.h5 --images images.h5
"""

from __future__ import annotations

import math
from pathlib import Path

import landscape as ls
from benchmarks.closed_forms import PAGE
from benchmarks.page import command_line, put_section
from landscape.results.ranking import Ranking

HEADINGS = {"roll": "Nets on the swiss roll", "images": "Nets on MNIST"}


def section(ranking: Ranking) -> list[str]:
    """Return the headline and the table of a ranking: one row per measure, the best first, then the baselines."""
    axes = [f"ψ {axis}" for axis in ranking.axes]
    heads = ["measure", "Ψ", "95 %", *axes, "τ", "CMI", "partial", "noise", "passes", "seconds"]
    lines = [f"{ranking.headline}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for place in ranking.order:
        name = ranking.measures[place]
        low, high = ranking.interval("Psi", name)
        cells = [
            f"`{name}`" + (" (baseline)" if name in ranking.baselines else ""),
            cell(ranking.estimate("Psi", name)),
            f"{low:.2f} to {high:.2f}" if math.isfinite(low) else "-",
            *(cell(value) for value in ranking.psi[:, place]),
            *(cell(ranking.estimate(statistic, name)) for statistic in ("tau", "cmi", "partial")),
            "-" if math.isnan(ranking.noise[place]) else f"{100 * ranking.noise[place]:.0f} %",
            cell(ranking.passes[place], 0),
            cell(ranking.seconds[place], 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(f"- {note}" for note in ranking.notes)]


def cell(value: float, digits: int = 2) -> str:
    """Return a number as text, or a dash for NaN and infinity."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    for name in HEADINGS:
        parser.add_argument(f"--{name}", type=Path, metavar="RUN.h5")
    for name, path in vars(parser.parse_args()).items():
        if path is not None:
            ranking = ls.Store(path)["ranking"]
            assert isinstance(ranking, Ranking)
            put_section(HEADINGS[name], section(ranking), PAGE)


if __name__ == "__main__":
    main()
