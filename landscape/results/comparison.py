"""Which of two basins is larger, and how far the estimates can tell."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from landscape.results.base import finite, plain
from landscape.results.table import columns, decimal

CANNOT_TELL = "cannot tell"
_LOG10 = math.log(10.0)


@dataclass(frozen=True)
class ComparisonRow:
    """Two basins at one cutoff.

    Attributes:
        cutoff: the cutoff of the criterion.
        difference: log V_A - log V_B of the two estimates in metric coordinates, natural log. It means nothing for
            two lower bounds.
        interval: for the true log V_A - log V_B, metric coordinates.
        raw_interval: the same in parameter coordinates.
        verdicts: of A and of B.
        larger: ``"first"``, ``"second"`` or ``"cannot tell"``, in metric coordinates.
        raw_larger: the same in parameter coordinates.
    """

    cutoff: float
    difference: float
    interval: tuple[float, float]
    raw_interval: tuple[float, float]
    verdicts: tuple[str, str]
    larger: str
    raw_larger: str


@dataclass(frozen=True)
class Comparison:
    """Two basins at every cutoff that both were measured at.

    Attributes:
        rows: one :class:`ComparisonRow` per cutoff.
        dimension: n, the same for both.
        estimators: of A and of B.
        notes: what else differs between the two, and what these estimates cannot say.
    """

    rows: tuple[ComparisonRow, ...]
    dimension: int
    estimators: tuple[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return every field as strict JSON types, with each interval in orders of magnitude too."""
        rows = [
            {
                **asdict(row),
                "log10_interval": tuple(end / _LOG10 for end in row.interval),
                "log10_raw_interval": tuple(end / _LOG10 for end in row.raw_interval),
            }
            for row in self.rows
        ]
        fields: dict[str, Any] = finite(plain({**asdict(self), "rows": rows}))
        return fields

    def table(self) -> str:
        """Return two rows per cutoff, metric and parameter: the interval in orders of magnitude, then in words."""
        lines = []
        for row in self.rows:
            for name, (low, high), larger in (
                ("metric", row.interval, row.larger),
                ("parameter", row.raw_interval, row.raw_larger),
            ):
                ends = f"[{decimal(low / _LOG10)}, {decimal(high / _LOG10)}]"
                lines.append([f"{row.cutoff:g}", name, ends, says(low, high, larger)])
        headers = ["cutoff", "coordinates", "log10 V(first) / V(second)", "larger"]
        return columns(headers, lines, left=["coordinates", "larger"])


def says(low: float, high: float, larger: str) -> str:
    """Return in words what an interval for log V_A - log V_B allows to say.

    >>> says(23.03, 46.05, "first"), says(-1.0, 1.0, "cannot tell")
    ('first, by 10.00 to 20.00 orders of magnitude', 'cannot tell')
    """
    if larger == CANNOT_TELL:
        return CANNOT_TELL
    near, far = sorted((abs(low) / _LOG10, abs(high) / _LOG10))
    orders = f"at least {decimal(near)}" if math.isinf(far) else f"{decimal(near)} to {decimal(far)}"
    return f"{larger}, by {orders} orders of magnitude"
