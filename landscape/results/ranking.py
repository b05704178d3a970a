"""How well each measure predicts generalisation over a family of nets, and how far that can be told from chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.dataset import Layout, Variable
from landscape.results.table import columns, percent, wrapped
from landscape.results.units import TEXT

#: each statistic of a ranking -> what it is, as the page says it
STATISTICS = {
    "Psi": "granulated Kendall coefficient: mean over axes of psi",
    "tau": "Kendall's tau-b over configurations, seeds averaged",
    "tau-nets": "Kendall's tau-b over all nets",
    "spearman": "Spearman's rank correlation over configurations",
    "cmi": "normalised conditional mutual information, with its sign, above its permutation null",
    "partial": "rank correlation once axes and cheap baselines are accounted for",
    "sign-error": "robust sign error, mean over environments",
    "sign-error-90": "robust sign error, 90th percentile over environments",
}
_SHOWN = ("Psi", "tau", "cmi", "partial", "sign-error")


@dataclass(frozen=True)
class Ranking(Result):
    """Statistics of measures against one target; every measure is turned so that larger predicts worse.

    Attributes:
        target: what is predicted.
        measures: the measures and then the baselines, M of them.
        baselines: which of them are baselines.
        statistics: names of the statistics, S of them (:data:`STATISTICS`).
        estimates: shape (S, M); NaN if undefined.
        lower, upper: ends of the cluster-bootstrap interval of 95 %, shape (S, M); NaN if there is none.
        null_lower, null_upper: the band of 95 % if the measure had nothing to do with the target, shape (S, M).
        axes: names of the axes, A of them.
        psi: granulated coefficient along each axis, shape (A, M); NaN if undefined.
        psi_lower, psi_upper: ends of its interval, shape (A, M).
        cells: cells of each axis, shape (A,).
        cells_defined: cells in which the measure and the target both vary, shape (A, M).
        sign_errors: sign error in each environment, shape (E, M).
        sign_error_axis: which axis differs in each environment, shape (E,).
        sign_error_largest: the largest over environments, shape (M,).
        cmi_null: mean of the normalised information if the measure had nothing to do with the target, shape (M,).
        noise: share of the variance between nets that is the measure's own standard error, shape (M,).
        passes: mean over nets of the full passes that a value cost, shape (M,).
        seconds: mean over nets of the seconds that a value took, shape (M,).
        margin: Psi minus that of the baseline that is hardest to beat, shape (M,); NaN for baselines.
        margin_lower: its lower bound, simultaneous over measures and baselines with 95 %, shape (M,).
        hardest: the baseline that is hardest to beat for each measure; empty for baselines.
        differences: Psi of each measure minus that of each other one, shape (M, M). Along an axis on which a measure
            does not vary it counts as 0.
        differences_lower, differences_upper: ends of the paired bootstrap interval, shape (M, M).
        chance_of_best: 95 % quantile of the best Psi of all measures if none predicts anything.
        nets: number of nets.
        configurations: number of configurations.
        gaps: what is missing, by measure: why its statistics are undefined, or how many nets have no value.
        invariances: what each measure is invariant to, if known.
        closed_forms: for each measure, whether it passes its closed form, if known.
        notes: what a reader must know.
        config: everything that determines the numbers.
        cost: seconds of the statistics.
    """

    kind: ClassVar[str] = "ranking"
    _layout: ClassVar[Layout] = {
        "estimates": ("statistic measure", "1"),
        "lower": ("statistic measure", "1"),
        "upper": ("statistic measure", "1"),
        "null_lower": ("statistic measure", "1"),
        "null_upper": ("statistic measure", "1"),
        "psi": ("axis measure", "1"),
        "psi_lower": ("axis measure", "1"),
        "psi_upper": ("axis measure", "1"),
        "cells": ("axis", "1"),
        "cells_defined": ("axis measure", "1"),
        "sign_errors": ("environment measure", "1"),
        "sign_error_axis": ("environment", "1"),
        "sign_error_largest": ("measure", "1"),
        "cmi_null": ("measure", "1"),
        "noise": ("measure", "1"),
        "passes": ("measure", "passes"),
        "seconds": ("measure", "seconds"),
        "margin": ("measure", "1"),
        "margin_lower": ("measure", "1"),
        "differences": ("measure other_measure", "1"),
        "differences_lower": ("measure other_measure", "1"),
        "differences_upper": ("measure other_measure", "1"),
    }
    _labels: ClassVar[Mapping[str, str]] = {
        "statistic": "statistics",
        "measure": "measures",
        "other_measure": "measures",
        "axis": "axes",
    }

    target: str
    measures: tuple[str, ...]
    baselines: tuple[str, ...]
    statistics: tuple[str, ...]
    estimates: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    null_lower: np.ndarray
    null_upper: np.ndarray
    axes: tuple[str, ...]
    psi: np.ndarray
    psi_lower: np.ndarray
    psi_upper: np.ndarray
    cells: np.ndarray
    cells_defined: np.ndarray
    sign_errors: np.ndarray
    sign_error_axis: np.ndarray
    sign_error_largest: np.ndarray
    cmi_null: np.ndarray
    noise: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray
    margin: np.ndarray
    margin_lower: np.ndarray
    hardest: tuple[str, ...]
    differences: np.ndarray
    differences_lower: np.ndarray
    differences_upper: np.ndarray
    chance_of_best: float
    nets: int
    configurations: int
    gaps: dict[str, str]
    invariances: dict[str, list[str]]
    closed_forms: dict[str, bool]
    notes: tuple[str, ...]
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name in ("measures", "baselines", "statistics", "axes", "hardest"):
            return tuple(value)
        return super()._revive(name, value)

    def _variables(self) -> dict[str, Variable]:
        return {**super()._variables(), "hardest": Variable(("measure",), np.array(self.hardest, str), TEXT)}

    def estimate(self, statistic: str, measure: str) -> float:
        """Return one statistic of one measure."""
        return float(self.estimates[self.statistics.index(statistic), self.measures.index(measure)])

    def interval(self, statistic: str, measure: str) -> tuple[float, float]:
        """Return its cluster-bootstrap interval of 95 %."""
        place = self.statistics.index(statistic), self.measures.index(measure)
        return float(self.lower[place]), float(self.upper[place])

    def difference(self, first: str, second: str) -> tuple[float, float, float]:
        """Return Psi of the first measure minus that of the second, and the ends of its paired interval of 95 %."""
        place = self.measures.index(first), self.measures.index(second)
        tables = (self.differences, self.differences_lower, self.differences_upper)
        value, lower, upper = (float(table[place]) for table in tables)
        return value, lower, upper

    @property
    def order(self) -> list[int]:
        """The measures from the largest Psi to the smallest, undefined ones last; then the baselines likewise."""
        psi = self.estimates[self.statistics.index("Psi")]

        def place_of(number: int) -> tuple[bool, float]:
            return self.measures[number] in self.baselines, np.inf if np.isnan(psi[number]) else -float(psi[number])

        return sorted(range(len(self.measures)), key=place_of)

    @property
    def beats_baselines(self) -> tuple[str, ...]:
        """The measures that predict better than every baseline, with 95 % confidence for all of them at once."""
        return tuple(self.measures[place] for place in self.order if self.margin_lower[place] > 0)

    @property
    def headline(self) -> str:
        """What the ranking says, in a few sentences."""
        own = [place for place in self.order if self.measures[place] not in self.baselines]
        family = f"{self.nets} nets of {self.configurations} configurations"
        known = [place for place in own if np.isfinite(self.estimates[0, place])]
        if not known:
            return f"No measure has a granulated coefficient for the target {self.target} over {family}."
        best = known[0]
        facts = f"The best, {self.measures[best]}, has Psi {signed(self.estimates[0, best])} "
        facts += f"{ends(self.lower[0, best], self.upper[0, best])}. Its difference to {self.hardest[best]}, the "
        facts += f"baseline that is hardest to beat, is {signed(self.margin[best])}, at least "
        facts += f"{signed(self.margin_lower[best])}. By chance alone the best of {len(known)} would reach "
        facts += f"{signed(self.chance_of_best)} in one family of 20."
        winners = self.beats_baselines
        if not winners:
            return f"No measure can be told from the baselines as a predictor of the {self.target}, {family}. {facts}"
        verb = "predicts" if len(winners) == 1 else "predict"
        counted = f"{len(winners)} of {len(own)} measures {verb} the {self.target} better than every baseline"
        return f"{counted}, {family}: {', '.join(winners)}. {facts}"

    def table(self) -> str:
        """Return one line per measure, the best first, without columns that are empty for every measure."""
        rows = []
        for place in self.order:
            name = self.measures[place]
            cells = []
            for statistic in _SHOWN:
                row = self.statistics.index(statistic)
                cells.append(signed(self.estimates[row, place]))
                if statistic == "Psi":
                    cells.append(ends(self.lower[row, place], self.upper[row, place]))
            defined = f"{self.cells_defined[:, place].sum()}/{self.cells.sum()}"
            rows.append([name + ("*" if name in self.baselines else ""), *cells, defined, share(self.noise[place])])
        heads = ["measure", "Psi", "95 % interval", "tau", "CMI", "partial", "sign err", "cells", "noise"]
        kept = [column for column in range(len(heads)) if any(row[column] != "-" for row in rows)]
        return columns([heads[c] for c in kept], [[row[c] for c in kept] for row in rows], left=["measure"])

    def _series(self) -> dict[str, Any]:
        order = self.order
        series: dict[str, Any] = {
            "measure": [self.measures[place] for place in order],
            "baseline": [self.measures[place] in self.baselines for place in order],
        }
        for row, statistic in enumerate(self.statistics):
            series[statistic] = self.estimates[row, order]
            series[f"{statistic}_low"], series[f"{statistic}_high"] = self.lower[row, order], self.upper[row, order]
        return {
            **series,
            "margin": self.margin[order],
            "margin_low": self.margin_lower[order],
            "hardest_baseline": [self.hardest[place] for place in order],
            "noise_share": self.noise[order],
            "passes": self.passes[order],
            "time_seconds": self.seconds[order],
        }

    def _brief(self) -> str:
        return f"{len(self.measures)} measures, {self.headline}"

    def __str__(self) -> str:
        gaps = [f"{name}: {reason}" for name, reason in self.gaps.items()]
        lines = [wrapped(self.headline), "", self.table(), "* baseline", *map(wrapped, (*gaps, *self.notes))]
        return "\n".join(lines)


def signed(value: float) -> str:
    """Return a coefficient with two decimals.

    >>> signed(0.456), signed(-0.001), signed(float("nan"))
    ('0.46', '0.00', '-')
    """
    return "-" if np.isnan(value) else f"{value if abs(value) >= 0.005 else 0.0:.2f}"


def ends(lower: float, upper: float) -> str:
    """Return an interval with two decimals.

    >>> ends(0.1, 0.5)
    '[0.10, 0.50]'
    """
    return "-" if np.isnan(lower) or np.isnan(upper) else f"[{signed(lower)}, {signed(upper)}]"


def share(value: float) -> str:
    """Return a share in per cent; a dash if it is unknown."""
    return "-" if np.isnan(value) else percent(value)
