"""Rankings and families of nets -> figures: how well each measure predicts generalisation."""

from __future__ import annotations

import numpy as np

from landscape.plots.scale import wants_log
from landscape.plots.style import SHORT_NUMBERS, WIDTH, Figure, bare, shades
from landscape.results import Ranking, Runs

_COLUMNS = 3
_HEIGHT = 1.8  # inches of a panel
MOST_PANELS = 24  #: of measures against the target


def ranking_figure(ranking: Ranking) -> Figure:
    """Return Psi of each measure with its interval of 95 %, on the band that chance alone would reach; best first.

    Baselines are hollow. The dashed line is what the best of all measures reaches by chance in one family of 20.
    """
    psi = ranking.statistics.index("Psi")
    order = ranking.order
    figure = Figure(figsize=(1.1 * WIDTH, 1.6 + 0.26 * max(len(order), 3)), layout="constrained")
    axes, colour = figure.subplots(), shades(1)[0]
    for row, place in enumerate(order):
        band = ranking.null_lower[psi, place], ranking.null_upper[psi, place]
        if np.isfinite(band).all():
            label = "95 % of chance" if row == 0 else ""
            axes.barh(row, band[1] - band[0], left=band[0], height=0.62, color="0.88", label=label)
        low, value, high = (float(table[psi, place]) for table in (ranking.lower, ranking.estimates, ranking.upper))
        if np.isfinite([low, high]).all():
            axes.plot([low, high], [row, row], color=colour, linewidth=1.6)
        baseline = ranking.measures[place] in ranking.baselines
        if np.isfinite(value):
            axes.plot(value, row, "o", color=colour, markerfacecolor="white" if baseline else colour, markersize=5)
        else:
            axes.text(0.0, row, "undefined", va="center", ha="center", fontsize="x-small")
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    if np.isfinite(ranking.chance_of_best):
        axes.axvline(ranking.chance_of_best, color="0.3", linestyle="--", linewidth=1, label="best of all by chance")
    names = [
        ranking.measures[place] + (" *" if ranking.measures[place] in ranking.baselines else "") for place in order
    ]
    axes.set_yticks(range(len(order)), names, fontsize="small")
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("granulated Kendall coefficient Ψ, with its interval of 95 %")
    figure.suptitle(
        f"How well each measure predicts the {ranking.target}\n{ranking.nets:,} nets of {ranking.configurations:,} "
        "configurations; * and hollow: baseline",
        fontsize="medium",
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    bare(axes)
    return figure


def family_figure(runs: Runs) -> Figure:
    """Return each measure against the first target, one panel per measure, a point per net."""
    names = [name for name, row in zip(runs.measures, runs.values, strict=True) if np.isfinite(row).any()][:MOST_PANELS]
    target = runs.targets[0]
    across = min(_COLUMNS, len(names))
    lines = -(-len(names) // across)
    figure = Figure(figsize=(max(WIDTH, 0.5 * WIDTH * across), _HEIGHT * lines + 0.6), layout="constrained")
    panels = figure.subplots(lines, across, squeeze=False, sharey=True)
    for axes, name in zip(panels.flat, names, strict=False):
        values = runs.value(name)
        axes.plot(values, target, "o", color=shades(1)[0], markersize=3, alpha=0.7, markeredgewidth=0)
        logarithmic = wants_log(values) and bool((values[np.isfinite(values)] > 0).all())
        if logarithmic:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(SHORT_NUMBERS)
        axes.set_title(f"{name}, log scale" if logarithmic else name, fontsize="small", loc="left")
        bare(axes)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(runs.target_names[0])
    left_out = len(runs.measures) - len(names)
    dropped = f"; {left_out} measures are not drawn" if left_out else ""
    figure.suptitle(
        f"Each measure against the {runs.target_names[0]}, {len(runs.nets):,} nets{dropped}", fontsize="medium"
    )
    return figure
