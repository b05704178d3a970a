"""What the charts of the study share: a net is a point, coloured by its poison factor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from landscape.plots.style import Colour, shades
from landscape.reproduce.study import Net

CLASSES = ("#1f4e8c", "#c8861a")  #: of two classes or two nets, told apart by colour-blind readers and in greyscale


def colour_of(factors: Sequence[float]) -> dict[float, Colour]:
    """Return a colour for each poison factor, dark to light; the lightest end would vanish on white."""
    levels = sorted(set(factors))
    return dict(zip(levels, shades(len(levels), lightest=0.88), strict=True))


def legend(figure: Figure, nets: Sequence[Net], extra: Sequence[Line2D] = ()) -> None:
    """Say below the chart which colour is which poison factor, and what the marks of ``extra`` mean."""
    colours = colour_of([net.poison for net in nets])
    handles = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=f"β = {level:g}")
        for level, colour in colours.items()
    ]
    count = max(len(extra), -(-len(handles) // 2)) if len(handles) > 6 else len(handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=count, fontsize="small", frameon=False)
    if extra:
        figure.legend(
            handles=list(extra), loc="outside upper center", ncols=len(extra), fontsize="small", frameon=False
        )


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN for fewer than three points, or where one of the two does not vary.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 8.0, 1.0]), math.isnan(spearman([1.0, 2.0], [1.0, 2.0]))
    (-1.0, True)
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return math.nan
    return round(float(stats.spearmanr(x, y).statistic), 12)


def correlation_text(x: Sequence[float], y: Sequence[float]) -> str:
    """Return Spearman's rank correlation with the number of nets, for a caption or a title.

    >>> correlation_text([1.0, 2.0, 3.0], [10.0, 8.0, 1.0]), correlation_text([1.0], [1.0])
    ('rank correlation -1.00 (3 nets)', 'no rank correlation (1 nets)')
    """
    value = spearman(x, y)
    return (
        f"no rank correlation ({len(x)} nets)" if math.isnan(value) else f"rank correlation {value:.2f} ({len(x)} nets)"
    )


def level_axis(axes: Axes, levels: Sequence[float]) -> dict[float, int]:
    """Give an axis one even step a poison factor, and return where each lies: a scale could not show 0 and 0.5 both."""
    levels = sorted(set(levels))
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    axes.set_xlabel("poison factor β (one step a factor, not to scale)")
    return {level: place for place, level in enumerate(levels)}
