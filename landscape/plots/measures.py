"""Sharpness measures of one net -> a figure: each value on a scale of its own magnitude, with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from landscape.plots.style import SHORT_NUMBERS, WIDTH, Figure, bare, number, shades, with_checkpoint
from landscape.results import NetMeasures, SharpnessTable
from landscape.results.sharpness import ESTIMATE, EXACT

_SURE = (EXACT, ESTIMATE)


def measures_figure(result: SharpnessTable | NetMeasures) -> Figure:
    """Return the magnitude of every measure on one log scale, with its standard error.

    Measures have units of their own, so places are comparable along a row only, between figures of several nets. A
    negative value is drawn at its size as a square; a hollow mark is a number whose error is not known.

    Args:
        result: with at least one finite value other than 0.
    """
    if isinstance(result, NetMeasures):
        title, names, verdicts = f"Measures of {result.net}", result.measures, result.verdicts
        values, errors = result.values, result.standard_errors
    else:
        nets = {str(each.config.get("checkpoint", "")) for each in result.values()}
        title = with_checkpoint("Sharpness measures of one net", {"checkpoint": nets.pop()} if len(nets) == 1 else {})
        names = tuple(result)
        verdicts = tuple(each.verdict for each in result.values())
        values = np.array([each.value for each in result.values()])
        errors = np.array([each.standard_error for each in result.values()])
    figure = Figure(figsize=(1.2 * WIDTH, 1.3 + 0.24 * max(len(names), 3)), layout="constrained")
    _draw(figure, names, values, errors, verdicts)
    figure.suptitle(title, fontsize="medium")
    return figure


def drawable(result: SharpnessTable | NetMeasures) -> bool:
    """Return whether there is a value to draw."""
    values = [each.value for each in result.values()] if isinstance(result, SharpnessTable) else result.values
    return bool((np.isfinite(values) & (np.asarray(values) != 0)).any())


def _draw(
    figure: Figure, names: Sequence[str], values: np.ndarray, errors: np.ndarray, verdicts: Sequence[str]
) -> None:
    axes, colour = figure.subplots(), shades(1)[0]
    at = np.arange(len(names))
    for place, (value, error, verdict) in enumerate(zip(values, errors, verdicts, strict=True)):
        words = f"{number(float(value))}  {verdict}" if np.isfinite(value) else verdict
        axes.text(1.02, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize="x-small")
        if not np.isfinite(value) or value == 0:
            continue
        size, face = abs(value), colour if verdict in _SURE else "white"
        if error > 0 and np.isfinite(error):
            axes.plot([max(size - error, size / 1e3), size + error], [place, place], color=colour, linewidth=1.2)
        axes.plot(size, place, "o" if value > 0 else "s", color=colour, markerfacecolor=face, markersize=5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(SHORT_NUMBERS)
    axes.set_yticks(at, list(names), fontsize="small")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_xlabel("absolute value in the unit of each measure, log scale")
    kinds: list[tuple[str, Any, str]] = [
        ("o", colour, "exact or with its error"),
        ("o", "white", "error not known, or a bound"),
    ]
    if (values < 0).any():
        kinds.append(("s", colour, "negative"))
    handles = [
        Line2D([], [], linestyle="", marker=mark, color=colour, markerfacecolor=face, label=label)
        for mark, face, label in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    bare(axes)
