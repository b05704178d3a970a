"""Which of two basins is larger, and how far the estimates can tell."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from landscape.results.base import finite, plain
from landscape.results.dataset import Contents, along_axis
from landscape.results.described import descriptions
from landscape.results.shown import Shown
from landscape.results.table import Table, columns, decimal, wrapped
from landscape.results.verdicts import grade
from landscape.results.volume_words import Body, ends, nats, place

CANNOT_TELL = "cannot tell"
_LOG10 = math.log(10.0)
#: How an interval for the difference was made -> what the sentence to quote says of it.
METHODS = {
    "paired rays": "95 % interval from paired rays",
    "intervals added": "95 % interval, from both intervals added",
    "intervals combined": "95 % interval, from both intervals in quadrature",
    "bounds": "as far as bounds can tell, each with 95 % confidence",
    "approximations": "approximations decide nothing",
}


@dataclass(frozen=True)
class ComparisonRow:
    """Two basins at one cutoff.

    Attributes:
        cutoff: the cutoff of the criterion.
        difference: log V_A - log V_B in metric coordinates, natural log. NaN if one of the two is a bound.
        raw_difference: the same in parameter coordinates.
        interval: for the true log V_A - log V_B, metric coordinates.
        raw_interval: the same in parameter coordinates.
        verdicts: of A and of B.
        larger: ``"first"``, ``"second"`` or ``"cannot tell"``, in metric coordinates.
        raw_larger: the same in parameter coordinates.
        method: how the interval was made, one of :data:`METHODS`.
        report: the sentences to quote.
    """

    cutoff: float
    difference: float
    raw_difference: float
    interval: tuple[float, float]
    raw_interval: tuple[float, float]
    verdicts: tuple[str, str]
    larger: str
    raw_larger: str
    method: str
    report: str = ""

    @property
    def verdict(self) -> str:
        """The weaker of the two verdicts, on which the answer rests."""
        return min(self.verdicts, key=grade)

    @property
    def one_answer(self) -> bool:
        """Whether parameter coordinates add nothing: they say the same as those of the metric, or are unknown."""
        return self.raw_interval == self.interval or any(map(math.isnan, self.raw_interval))


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Two basins at every cutoff that both were measured at.

    Attributes:
        rows: one :class:`ComparisonRow` per cutoff.
        dimension: n, the same for both.
        criterion: of the cutoffs; None if unknown.
        estimators: of A and of B.
        notes: what else differs between the two, and what these estimates cannot say.
    """

    rows: tuple[ComparisonRow, ...]
    dimension: int
    criterion: str | None
    estimators: tuple[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return every field as strict JSON types, with each interval in orders of magnitude too."""
        rows = [
            {
                **asdict(row),
                "verdict": row.verdict,
                "log10_interval": tuple(end / _LOG10 for end in row.interval),
                "log10_raw_interval": tuple(end / _LOG10 for end in row.raw_interval),
            }
            for row in self.rows
        ]
        fields: dict[str, Any] = finite(plain({**asdict(self), "rows": rows}))
        return fields

    def table(self) -> Table:
        """Return one line per cutoff and kind of coordinates: log V(first) - log V(second), and which is larger."""
        lines = []
        for row in self.rows:
            metric = ("metric", row.difference, row.interval, row.larger)
            raw = ("parameter", row.raw_difference, row.raw_interval, row.raw_larger)
            for name, difference, interval, larger in [metric] if row.one_answer else [metric, raw]:
                first = [f"{row.cutoff:g}" if name == "metric" else "", name]
                lines.append([*first, _value(difference, interval), ends(*interval), larger, row.verdict])
        cutoff = f"cutoff\n({self.criterion})" if self.criterion else "cutoff\n"
        heads = [cutoff, "coordinates\n", "difference\n(nats)", "95 % interval\n(nats)", "larger\n", "rests on\n"]
        return columns(heads, lines, left=["coordinates\n", "larger\n", "rests on\n"])

    def _series(self) -> dict[str, Any]:
        return {
            "cutoff": [row.cutoff for row in self.rows],
            "difference_nats": [row.difference for row in self.rows],
            "interval_low_nats": [row.interval[0] for row in self.rows],
            "interval_high_nats": [row.interval[1] for row in self.rows],
            "raw_difference_nats": [row.raw_difference for row in self.rows],
            "raw_interval_low_nats": [row.raw_interval[0] for row in self.rows],
            "raw_interval_high_nats": [row.raw_interval[1] for row in self.rows],
            "larger": [row.larger for row in self.rows],
            "raw_larger": [row.raw_larger for row in self.rows],
            "verdict": [row.verdict for row in self.rows],
            "method": [row.method for row in self.rows],
            "report": [row.report for row in self.rows],
        }

    def _contents(self) -> Contents:
        attributes = {
            "kind": "comparison",
            "verdict": ", ".join(dict.fromkeys(row.verdict for row in self.rows)),
            "dimension": self.dimension,
            "criterion": self.criterion,
            "estimators": self.estimators,
            "notes": self.notes,
        }
        variables = along_axis(self._series(), "cutoff")
        return Contents(variables, {}, attributes, descriptions(ComparisonRow), self.criterion)

    @property
    def _criterion(self) -> str | None:
        return self.criterion

    def _brief(self) -> str:
        answers = "; ".join(
            f"cutoff {row.cutoff:g}: {CANNOT_TELL if row.larger == CANNOT_TELL else f'{row.larger} is larger'} "
            f"({row.verdict})"
            for row in self.rows
        )
        return f"n = {self.dimension:,}; {answers}"

    def __str__(self) -> str:
        return "\n".join([self.table(), *map(wrapped, (*(row.report for row in self.rows), *self.notes))])


def _value(difference: float, interval: tuple[float, float]) -> str:
    return "unknown" if math.isnan(difference) else nats(difference, interval[1] - interval[0])


def says(low: float, high: float, larger: str) -> str:
    """Return in words what an interval for log V_A - log V_B allows to say.

    >>> says(23.03, 46.05, "first"), says(-1.0, 1.0, "cannot tell")
    ('first, by 23.0 to 46.0 nats, or 10.00 to 20.00 orders of magnitude', 'cannot tell')
    """
    return CANNOT_TELL if larger == CANNOT_TELL else f"{larger}, by {_by(low, high)}"


def _by(low: float, high: float) -> str:
    """Return by how much the larger basin is larger."""
    near, far = sorted((abs(low), abs(high)))
    if math.isinf(far):
        return f"at least {nats(near)} nats, or {decimal(near / _LOG10)} orders of magnitude"
    orders = f"{decimal(near / _LOG10)} to {decimal(far / _LOG10)} orders of magnitude"
    return f"{nats(near, far - near)} to {nats(far, far - near)} nats, or {orders}"


def comparison_sentences(row: ComparisonRow, body: Body) -> str:
    """Return the sentences to quote: one for metric coordinates, and one for parameter coordinates if they differ."""
    where = place(row.cutoff, body)
    words = f"{where} {_answer(row.interval, row.larger)} ({METHODS[row.method]}; {row.verdict})."
    if not row.one_answer:
        words += f" In parameter coordinates {_answer(row.raw_interval, row.raw_larger)}."
    return words


def _answer(interval: tuple[float, float], larger: str) -> str:
    if larger != CANNOT_TELL:
        return f"the {larger} basin is larger by {_by(*interval)}"
    if all(map(math.isfinite, interval)):
        return f"the larger basin is unknown: log V(first) - log V(second) is {ends(*interval)} nats"
    return "the larger basin is unknown"
