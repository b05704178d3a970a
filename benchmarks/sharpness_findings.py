"""Put the rankings of the families into docs/sharpness.md.

python -m benchmarks.sharpness_families FAMILIES --mnist DATA
landscape benchmark FAMILIES/roll --measures core,... --budget 60s --out roll.h5
landscape benchmark FAMILIES/images --measures core,... --budget 45s --out images.h5
landscape benchmark FAMILIES/digits --measures average-case,... --budget 8s --test-size 597 --out digits.h5
python -m benchmarks.sharpness_findings --roll roll.h5 --images images.h5 --digits digits.h5
"""

from __future__ import annotations

import math
from pathlib import Path

import landscape as ls
from benchmarks.closed_forms import PAGE
from benchmarks.page import command_line, put_section
from landscape.results.ranking import Ranking

HEADINGS = {"roll": "Nets on the swiss roll", "images": "Nets on MNIST", "digits": "Nets on digits, five seeds each"}


def section(ranking: Ranking) -> list[str]:
    """Return the headline and the table of a ranking: one row per measure, the best first, then the baselines."""
    axes = [f"ψ {axis}" for axis in ranking.axes]
    signs = ["sign error", "90th", "worst"] if len(ranking.sign_errors) else []
    heads = ["measure", "Ψ", "95 %", *axes, "τ", "CMI", "partial", *signs, "noise", "passes", "seconds"]
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
            *((cell(value) for value in sign_error(ranking, place)) if signs else ()),
            "-" if math.isnan(ranking.noise[place]) else f"{100 * ranking.noise[place]:.0f} %",
            cell(ranking.passes[place], 0),
            cell(ranking.seconds[place], 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    gaps = (f"{name}: {gap}" for name, gap in ranking.gaps.items())
    return [*lines, "", *(f"- {note}" for note in (*gaps, *ranking.notes))]


def sign_error(ranking: Ranking, place: int) -> tuple[float, float, float]:
    """Return mean, 90th percentile and largest value over environments of the robust sign error of one measure."""
    name = ranking.measures[place]
    mean, ninth = (ranking.estimate(statistic, name) for statistic in ("sign-error", "sign-error-90"))
    return mean, ninth, float(ranking.sign_error_largest[place])


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
