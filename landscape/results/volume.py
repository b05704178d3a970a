"""The log-volume of a basin, and what is needed to judge it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from landscape.results.ball import log_ball
from landscape.results.base import Cost, Result, finite, plain
from landscape.results.table import columns, decimal, percent
from landscape.results.verdicts import Check

_SETTINGS = ("criterion", "metric", "scope", "seed", "max_radius", "measure", "sigma", "measure_centre")


@dataclass(frozen=True)
class VolumeEstimate:
    """The log-volume of one basin (one cutoff), with what is needed to judge it.

    Attributes:
        cutoff: the cutoff of the criterion.
        log_volume: log V in metric coordinates, natural log.
        log_volume_raw: log V in parameter coordinates: ``log_volume`` + sum of log s_i.
        interval: 95 % interval for ``log_volume``. For a ``lower bound`` its lower end holds with 95 % confidence, and
            its upper end is what the cap allows (infinite without a cap). For an ``approximation`` it is for the
            volume of the model, whose distance from the basin is unknown.
        ess: effective sample size, (sum of w)^2 / (sum of w^2). It and the next four are NaN for an estimate that has
            no rays.
        largest_weight: share of the estimate that the largest weight carries.
        censored: share of rays that end at ``max_radius``, or of chains whose last ray does.
        censored_weight: their share of the estimate.
        pareto_k: tail index of the weights (Vehtari et al. 2024). Above 0.5 their variance does not exist.
        verdict: one of :data:`landscape.results.VERDICTS`, which says what each claims.
        reasons: why the verdict is not ``"reliable"``, in words, with the keyword to pass if one helps. Empty if it is.
        resolution: q, the ratio of neighbouring radii of the grid on which the basin is defined. NaN if there is no
            fixed grid. V is that of the basin without walls that lie between two points of the grid.
        survives: share of V that is left on a finer grid. NaN if nobody looked.
        bound: log V is at least this with 95 % confidence, whatever the verdict; for a ``lower bound`` it is the lower
            end of ``interval``. NaN if there is none.
        upper_bound: log V is at most this with 95 % confidence if hits in the ball of the cap could be counted. Else it
            is what the cap allows, infinite without a cap. NaN if there is none.
        checks: the conditions of the verdict, met or not, as data.
        log_cap_ball: log-volume of the ball of the cap, the most that V can be; infinite without a cap or if V is a
            probability. :class:`Volume` fills it in; NaN for an estimate that is in none.
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
    reasons: tuple[str, ...]
    resolution: float = math.nan
    survives: float = math.nan
    bound: float = math.nan
    upper_bound: float = math.nan
    checks: tuple[Check, ...] = ()
    log_cap_ball: float = math.nan

    def __post_init__(self) -> None:
        if self.verdict == "lower bound":  # then the interval consists of the two bounds
            object.__setattr__(self, "bound", self.interval[0])
            if math.isnan(self.upper_bound):
                object.__setattr__(self, "upper_bound", self.interval[1])

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
        """What to report as log10 V: the estimate (with ~ if it is an approximation), or the bound of a lower bound."""
        if self.verdict == "lower bound":
            return f">= {decimal(self.log10_interval[0])}"
        return f"~ {decimal(self.log10_volume)}" if self.verdict == "approximation" else decimal(self.log10_volume)


@dataclass(frozen=True)
class Volume(Result):
    """Log-volumes of the basin, one entry per cutoff, by one estimator.

    Attributes:
        results: one :class:`VolumeEstimate` per cutoff, ascending.
        log_weights: log of each ray's weight, up to a constant, shape (directions, cutoffs).
        estimator: name of the estimator.
        dimension: n, the number of entries in scope.
        directions: number of rays.
        config: what determined the numbers, as in :class:`Radii`.
        cost: what the estimate cost.
    """

    kind: ClassVar[str] = "volume"
    unit: ClassVar[str] = "rays"  #: what ``directions`` counts

    results: tuple[VolumeEstimate, ...]
    log_weights: np.ndarray
    estimator: str
    dimension: int
    directions: int
    config: dict[str, Any]
    cost: Cost

    def __post_init__(self) -> None:
        rows = tuple(replace(row, log_cap_ball=self.log_cap_ball) for row in self.results)
        object.__setattr__(self, "results", rows)

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        return tuple(map(_revived, value)) if name == "results" else super()._revive(name, value)

    @property
    def log_cap_ball(self) -> float:
        """Log-volume of the ball of the cap; infinite without a cap, or if V is a probability."""
        cap = self.config.get("max_radius")
        if cap is None or self.density is not None:
            return math.inf
        return log_ball(self.dimension, float(cap))

    def summary(self) -> dict[str, Any]:
        """Return the one JSON object that ``landscape volume --json`` prints."""
        rows = [{**asdict(row), "log10_volume": row.log10_volume} for row in self.results]
        settings = {key: self.config.get(key) for key in _SETTINGS}
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
        """Return one row per cutoff. For a lower bound it holds the bound, not the collapsed estimate."""
        rows = [
            [
                f"{row.cutoff:g}",
                row.quotable,
                "[{}, {}]".format(*map(decimal, row.log10_interval)),
                *(["-", "-"] if math.isnan(row.ess) else [f"{row.ess:,.1f}", percent(row.censored)]),
                row.verdict,
            ]
            for row in self.results
        ]
        return columns(["cutoff", "log10 V", "95 % interval", "ess", "at cap", "verdict"], rows, left=["verdict"])

    @property
    def density(self) -> str | None:
        """The normal distribution under which V is a probability, as a reader would write it; None for a volume."""
        if self.config.get("measure") != "gaussian":
            return None
        return f"N({'0' if self.config['measure_centre'] == 'zero' else 'theta'}, {self.config['sigma']:g}²)"

    @property
    def notes(self) -> tuple[str, ...]:
        """What to report, why a verdict is not reliable, and how much of V is on rays at the cap."""
        notes = []
        bounds = [row for row in self.results if row.verdict == "lower bound"]
        if bounds:
            quoted = "; ".join(f"log10 V {row.quotable} at cutoff {row.cutoff:g}" for row in bounds)
            notes.append(f"Report as: {quoted} (95 % confidence{', each' if len(bounds) > 1 else ''}).")
        for verdict in ("approximation", "lower bound"):
            rows = [row for row in self.results if row.verdict == verdict]
            if rows:  # one reason is enough to read: that of the estimate with the fewest effective samples
                worst = min(rows, key=lambda row: row.ess)
                notes.append(f"{verdict}: {'. '.join(worst.reasons)}.")
        for row in self.results:
            if row.censored == 1 and self.unit == "rays":
                notes.append(
                    f"Every ray reached the cap at cutoff {row.cutoff:g}, so V is that of the cap alone: pass "
                    "`max_radius=math.inf`."
                )
            elif row.censored_weight > 0:
                share = percent(row.censored_weight)
                notes.append(f"{share} of the estimate at cutoff {row.cutoff:g} is on rays that reach the cap.")
        return tuple(notes)

    @property
    def quantity(self) -> str:
        """What it is the logarithm of, in words."""
        if self.density is None:
            return "log-volume of the basin"
        return f"log-probability of the basin (V is a probability, under {self.density})"

    def heading(self) -> str:
        """Return what it is the logarithm of, and what it was measured with."""
        return f"{self.quantity}: {self.estimator} estimator, {self.directions:,} {self.unit}, n = {self.dimension:,}"

    def __str__(self) -> str:
        return "\n".join([self.heading(), self.table(), *self.notes])


def _revived(row: dict[str, Any]) -> VolumeEstimate:
    """Return an estimate from what a file holds of it; older files lack the fields that have defaults."""
    tuples = {name: tuple(row[name]) for name in ("interval", "reasons")}
    return VolumeEstimate(**{**row, **tuples, "checks": tuple(Check(**check) for check in row.get("checks", ()))})


@dataclass(frozen=True)
class LaplaceVolume(Volume):
    """A :class:`Volume` from curvature alone: no rays, so ``directions`` is 0 and ``log_weights`` has no rows.

    Attributes:
        log_determinant: log det(H + shift) in metric coordinates, shape (cutoffs,); NaN if the cap alone bounds it.
        standard_error, quadrature_error: of ``log_determinant``, shape (cutoffs,).
        shift: what was added to the diagonal to keep the body within the cap, shape (cutoffs,); infinite if the cap
            alone bounds it.
        negative: H itself has at least about this many negative eigenvalues.
    """

    kind: ClassVar[str] = "laplace"

    log_determinant: np.ndarray
    standard_error: np.ndarray
    quadrature_error: np.ndarray
    shift: np.ndarray
    negative: float

    def summary(self) -> dict[str, Any]:
        """Return the JSON object of a volume, with the curvature, its errors and the negative eigenvalues seen."""
        names = ("log_determinant", "standard_error", "quadrature_error", "shift")
        errors = {name: plain(getattr(self, name)) for name in names}
        extra = {"curvature": self.config.get("curvature"), "negative": self.negative, **errors}
        return {**super().summary(), **finite(extra)}

    def evidence(self) -> str:
        """Return one row per cutoff with the log-determinant and its errors; dashes if the cap is all."""
        rows = [
            [
                f"{row.cutoff:g}",
                *(
                    f"{values[i]:.{digits}g}" if math.isfinite(values[i]) else "-"
                    for values, digits in (
                        (self.log_determinant, 6),
                        (self.standard_error, 2),
                        (self.quadrature_error, 2),
                        (self.shift, 3),
                    )
                ),
            ]
            for i, row in enumerate(self.results)
        ]
        seen = f"negative eigenvalues: at least about {self.negative:.3g} of {self.dimension:,}"
        return columns(["cutoff", "log det", "standard error", "quadrature error", "shift"], rows) + f"\n{seen}"

    def __str__(self) -> str:
        matrix = self.config.get("curvature", "curvature")
        head = f"log-volume of the basin: laplace estimator from the {matrix}, n = {self.dimension:,}"
        return "\n".join([head, self.table(), self.evidence(), *self.notes])
