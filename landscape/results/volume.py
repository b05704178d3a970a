"""The log-volume of a basin, and what is needed to judge it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result, finite, plain
from landscape.results.table import columns, decimal, percent

_WIDEST = len("lower bound")  # words stand to the left in a column


@dataclass(frozen=True)
class VolumeEstimate:
    """The log-volume of one basin (one cutoff), with what is needed to judge it.

    Attributes:
        cutoff: the cutoff of the criterion.
        log_volume: log V in metric coordinates, natural log.
        log_volume_raw: log V in parameter coordinates: ``log_volume`` + sum of log s_i.
        interval: 95 % interval for ``log_volume``. Under the verdict ``lower bound`` its lower end is the bound that
            holds with 95 % confidence and its upper end is what the cap alone allows (infinite without a cap).
        ess: effective sample size, (sum of w)^2 / (sum of w^2).
        largest_weight: share of the estimate that the single largest weight carries.
        censored: share of rays that end at ``max_radius``.
        censored_weight: their share of the estimate.
        pareto_k: tail index of the weights (Vehtari et al. 2024); above 0.5 their variance is not to be trusted.
        verdict: ``"reliable"`` or ``"lower bound"``.
    """

    cutoff: float
    log_volume: float
    log_volume_raw: float
    interval: tuple[float, float]
    ess: float
    largest_weight: float
    censored: float
    censored_weight: float
    pareto_k: float
    verdict: str

    @property
    def log10_volume(self) -> float:
        """Orders of magnitude: ``log_volume`` / log 10."""
        return self.log_volume / math.log(10.0)

    @property
    def log10_interval(self) -> tuple[float, float]:
        """The interval in orders of magnitude."""
        low, high = self.interval
        return low / math.log(10.0), high / math.log(10.0)

    @property
    def quotable(self) -> str:
        """What may be quoted as log10 V: the estimate, or under the verdict ``lower bound`` the bound alone."""
        return decimal(self.log10_volume) if self.verdict == "reliable" else f">= {decimal(self.log10_interval[0])}"


@dataclass(frozen=True)
class Volume(Result):
    """Log-volumes of the basin, one entry a cutoff, under one estimator.

    Attributes:
        results: one :class:`VolumeEstimate` a cutoff, ascending.
        log_weights: log of each ray's weight, up to a constant, shape (directions, cutoffs).
        estimator: name of the estimator.
        dimension: n, the number of entries in scope.
        directions: number of rays.
        config: what determined the numbers, as in :class:`Radii`.
        cost: what the estimate cost.
    """

    kind: ClassVar[str] = "volume"

    results: tuple[VolumeEstimate, ...]
    log_weights: np.ndarray
    estimator: str
    dimension: int
    directions: int
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name == "results":
            return tuple(VolumeEstimate(**{**row, "interval": tuple(row["interval"])}) for row in value)
        return super()._revive(name, value)

    def summary(self) -> dict[str, Any]:
        """Return the one JSON object that ``landscape volume --json`` prints."""
        rows = [{**asdict(row), "log10_volume": row.log10_volume} for row in self.results]
        settings = {key: self.config.get(key) for key in ("criterion", "metric", "scope", "seed", "max_radius")}
        return finite(
            plain(
                {
                    "estimator": self.estimator,
                    **settings,
                    "dimension": self.dimension,
                    "directions": self.directions,
                    "evaluations": self.cost.evaluations,
                    "seconds": self.cost.seconds,
                    "results": rows,
                }
            )
        )

    def table(self) -> str:
        """Return a row a cutoff, which for a lower bound holds the bound and not the collapsed estimate."""
        rows = [
            [
                f"{row.cutoff:g}",
                row.quotable,
                "[{}, {}]".format(*map(decimal, row.log10_interval)),
                f"{row.ess:,.1f}",
                percent(row.censored),
                row.verdict.ljust(_WIDEST),
            ]
            for row in self.results
        ]
        return columns(["cutoff", "log10 V", "95 % interval", "ess", "at cap", "verdict".ljust(_WIDEST)], rows)

    def __str__(self) -> str:
        head = f"log-volume of the basin: {self.estimator} estimator, {self.directions:,} rays, n = {self.dimension:,}"
        return f"{head}\n{self.table()}"
