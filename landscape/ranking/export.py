"""A ranking as CSV: one row per measure, one column per number."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from landscape.results.ranking import Ranking


def ranking_csv(ranking: Ranking) -> str:
    """Return one line per measure, the best first; an empty cell is undefined or unknown."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header(ranking))
    for place in ranking.order:
        writer.writerow([_cell(value) for value in row(ranking, place)])
    return table.getvalue()


def header(ranking: Ranking) -> list[str]:
    """Return the names of the columns."""
    names = ["measure", "baseline"]
    for statistic in ranking.statistics:
        names += [statistic, f"{statistic}:lower", f"{statistic}:upper"]
    names += ["Psi:null-lower", "Psi:null-upper", "tau:null-lower", "tau:null-upper", "cmi:null"]
    for axis in ranking.axes:
        names += [f"psi:{axis}", f"psi:{axis}:lower", f"psi:{axis}:upper", f"cells:{axis}", f"defined:{axis}"]
    names += ["sign-error-largest", "environments", "noise", "passes", "seconds", "margin", "margin:lower", "hardest"]
    return [*names, "invariances", "closed-form", "gap"]


def row(ranking: Ranking, place: int) -> Sequence[object]:
    """Return the cells of one measure, in the order of :func:`header`."""
    name = ranking.measures[place]
    cells: list[object] = [name, int(name in ranking.baselines)]
    for statistic in range(len(ranking.statistics)):
        cells += [table[statistic, place] for table in (ranking.estimates, ranking.lower, ranking.upper)]
    for statistic in (0, 1):
        cells += [ranking.null_lower[statistic, place], ranking.null_upper[statistic, place]]
    cells.append(ranking.cmi_null[place])
    for axis in range(len(ranking.axes)):
        cells += [table[axis, place] for table in (ranking.psi, ranking.psi_lower, ranking.psi_upper)]
        cells += [int(ranking.cells[axis]), int(ranking.cells_defined[axis, place])]
    cells += [ranking.sign_error_largest[place], int(np.isfinite(ranking.sign_errors[:, place]).sum())]
    cells += [table[place] for table in (ranking.noise, ranking.passes, ranking.seconds)]
    cells += [ranking.margin[place], ranking.margin_lower[place], ranking.hardest[place]]
    closed_form = {True: "yes", False: "no", None: ""}[ranking.closed_forms.get(name)]
    return [*cells, " ".join(ranking.invariances.get(name, [])), closed_form, ranking.gaps.get(name, "")]


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{float(value):.6g}"
    return str(value)
