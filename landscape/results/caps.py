"""Volumes of one basin under several caps, and how many rays reach them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from landscape.results.base import Cost, Result, finite, plain
from landscape.results.estimate import marked
from landscape.results.table import columns


@dataclass(frozen=True)
class CapRow:
    """One cutoff under one cap.

    Attributes:
        cutoff: the cutoff of the criterion.
        cap: largest radius, infinite for none.
        log_volume: log V of the basin inside the cap, metric coordinates, natural log.
        interval, ess, verdict: as in :class:`VolumeEstimate`.
        log_probability: log of the share of uniform rays that reach the cap inside the basin.
        probability_interval, probability_ess, probability_verdict: as above, for ``log_probability``.
    """

    cutoff: float
    cap: float
    log_volume: float
    interval: tuple[float, float]
    ess: float
    verdict: str
    log_probability: float
    probability_interval: tuple[float, float]
    probability_ess: float
    probability_verdict: str


@dataclass(frozen=True)
class Caps(Result):
    """How the log-volume of a basin changes with the cap on its radii, from one run of annealed chains.

    Attributes:
        rows: one :class:`CapRow` per cutoff and cap, ascending.
        dimension: n.
        config: what determined the numbers.
        cost: of the run.
    """

    kind: ClassVar[str] = "caps"

    rows: tuple[CapRow, ...]
    dimension: int
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name == "rows":
            pairs = ("interval", "probability_interval")
            return tuple(CapRow(**{**row, **{pair: tuple(row[pair]) for pair in pairs}}) for row in value)
        return super()._revive(name, value)

    def summary(self) -> list[dict[str, Any]]:
        """Return one JSON object per row."""
        rows: list[dict[str, Any]] = finite(plain(list(self.rows)))
        return rows

    def __str__(self) -> str:
        body = [
            [
                f"{row.cutoff:g}",
                "none" if math.isinf(row.cap) else f"{row.cap:g}",
                marked(_reported(row.log_volume, row.interval, row.verdict), row.verdict),
                row.verdict,
                marked(
                    _reported(row.log_probability, row.probability_interval, row.probability_verdict),
                    row.probability_verdict,
                ),
                row.probability_verdict,
            ]
            for row in self.rows
        ]
        cutoff = f"cutoff\n({self.config['criterion']})" if self.config.get("criterion") else "cutoff\n"
        headers = [cutoff, "cap\n(r)", "log10 V\n", "verdict\n", "log10 P\n(r = cap)", "verdict\n"]
        return columns(headers, body, left=["verdict\n"])


def _reported(value: float, interval: tuple[float, float], verdict: str) -> float:
    """Return what to report, in orders of magnitude."""
    return (interval[0] if verdict == "lower bound" else value) / math.log(10)
