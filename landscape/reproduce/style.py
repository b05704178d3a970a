"""What the figures of the study share: a net is a point, coloured by its poison factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.plots.style import Colour, shades
from landscape.reproduce.nets import Net
from landscape.training.sweep import rank_correlation


def colour_of(factors: Sequence[float]) -> dict[float, Colour]:
    """Return a colour per poison factor, dark to light; the lightest shades would vanish on white."""
    levels = sorted(set(factors))
    return dict(zip(levels, shades(len(levels), lightest=0.88), strict=True))


def legend(figure: Figure, nets: Sequence[Net], extra: Sequence[Line2D] = ()) -> None:
    """Say below the figure which colour is which poison factor, and above it what the marks of ``extra`` mean."""
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


def correlation_text(x: Sequence[float], y: Sequence[float]) -> str:
    """Return Spearman's rank correlation with the number of nets, for a caption or a title.

    >>> correlation_text([1.0, 2.0, 3.0], [10.0, 8.0, 1.0]), correlation_text([1.0], [1.0])
    ('rank correlation -1.00 (3 nets)', 'no rank correlation (1 net)')
    """
    correlation = rank_correlation(x, y)
    text = "no rank correlation" if correlation is None else f"rank correlation {correlation:.2f}"
    return f"{text} ({len(x)} net{'s' * (len(x) != 1)})"


def level_axis(axes: Axes, levels: Sequence[float]) -> dict[float, int]:
    """Give an axis one even step per poison factor; return the place of each. No scale shows both 0 and 0.001."""
    levels = sorted(set(levels))
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    axes.set_xlabel("poison factor β (one step per factor, not to scale)")
    return {level: place for place, level in enumerate(levels)}


def side_by_side(place: int, count: int) -> np.ndarray:
    """Return the places of ``count`` points around one step of a level axis, so that they do not hide each other."""
    return place + (np.linspace(-0.15, 0.15, count) if count > 1 else np.zeros(1))
