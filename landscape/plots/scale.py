"""Losses -> colours and heights: round levels, on a log scale if the losses span more than a decade."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from landscape.plots.style import number

DECADES = 4  #: of a log scale of colours, at most: a deep, narrow minimum would leave one colour for all the rest
_MOST_TICKS = 9
_LOG_FROM = 10.0  #: largest over smallest loss from which a log scale shows more


def wants_log(values: np.ndarray) -> bool:
    """Whether no finite value is negative, and the positive ones span more than a decade."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    return len(positive) > 0 and finite.min() >= 0 and positive.max() > _LOG_FROM * positive.min()


@dataclass(frozen=True)
class Scale:
    """How values become colours and heights.

    Attributes:
        heights: the values, or their log10; NaN where they are not finite.
        levels: round levels that span the heights, ascending; heights below the first are drawn at it.
        logarithmic: whether these are logs.
        clipped: whether there are heights below the first level.
    """

    heights: np.ndarray
    levels: np.ndarray
    logarithmic: bool
    clipped: bool

    @classmethod
    def of(cls, values: np.ndarray, most: int) -> Scale:
        """Return a scale of at most ``most`` steps: of logs where :func:`wants_log`, of at most ``DECADES`` decades."""
        finite = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(finite).all():
            return cls(finite, np.array([0.0, 1.0]), False, False)
        low, high = float(np.nanmin(finite)), float(np.nanmax(finite))
        if wants_log(values):
            shown = max(float(np.nanmin(finite[finite > 0])), high * 10.0**-DECADES)
            levels = np.log10(log_levels(shown, high, most))
            # a zero goes a little below, so that its neighbours' contours run smoothly
            heights = np.log10(np.maximum(finite, 10.0 ** (levels[0] - 1)))
            return cls(heights, levels, True, low < 10.0 ** levels[0] * (1 - 1e-9))
        if high - low <= 1e-9 * abs(high):
            low, high = low - 0.5, high + 0.5
        return cls(finite, np.asarray(MaxNLocator(nbins=most).tick_values(low, high)), False, False)

    @property
    def norm(self) -> Normalize:
        """Heights -> [0, 1]."""
        return Normalize(float(self.levels[0]), float(self.levels[-1]), clip=True)

    @property
    def ticks(self) -> list[float]:
        """Heights to write numbers at: whole decades, or 1, 2 and 5 times them if they are fewer than three.

        Without logs they are round numbers in even steps.
        """
        slack = 1e-9 * float(np.ptp(self.levels))
        low, high = float(self.levels[0]) - slack, float(self.levels[-1]) + slack
        if not self.logarithmic:
            return [
                float(tick) for tick in MaxNLocator(nbins=_MOST_TICKS - 2).tick_values(low, high) if low <= tick <= high
            ]
        decades = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
        if len(decades) > 2:
            return decades[:: -(-len(decades) // _MOST_TICKS)]
        steps = [power + math.log10(step) for power in range(math.floor(low), math.ceil(high)) for step in (1, 2, 5)]
        return [step for step in steps if low <= step <= high]

    @property
    def labelled(self) -> list[float]:
        """The levels to write numbers on: whole decades where there are a few, else at most nine."""
        decades = [float(level) for level in self.levels if self.logarithmic and abs(level - round(level)) < 1e-9]
        return decades if len(decades) > 2 else self.levels[:: -(-(len(self.levels) - 1) // 8)].tolist()

    def text(self, height: float, _: object = None) -> str:
        """Return the value at a height, for a label."""
        return number(10.0**height if self.logarithmic else height)

    def name(self, of: str) -> str:
        """Return the label of an axis that this scale is on."""
        return f"{of}, log scale" if self.logarithmic else of


def log_levels(low: float, high: float, most: int) -> np.ndarray:
    """Return levels in even ratios, each a round power of ten, that span low to high in at most ``most`` steps.

    >>> log_levels(0.5, 20.0, 3).round(2), log_levels(0.5, 20.0, 6).round(2)
    (array([  0.1,   1. ,  10. , 100. ]), array([ 0.46,  1.  ,  2.15,  4.64, 10.  , 21.54]))
    """
    first, last = math.log10(low), math.log10(high)
    for parts in (20, 10, 5, 3, 2, 1):
        start, stop = math.floor(first * parts + 1e-9), math.ceil(last * parts - 1e-9)
        if stop - start <= most:
            break
    else:
        every = -(-(stop - start) // most)
        return 10.0 ** np.arange(start, stop + every, every)
    return 10.0 ** (np.arange(start, stop + 1) / parts)
