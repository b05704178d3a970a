"""The log-volume of a basin, and what is needed to judge it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from landscape.errors import LandscapeError
from landscape.results.ball import log_ball
from landscape.results.base import Cost, Result, finite, max_radius_of, plain
from landscape.results.dataset import Layout, Variable, laid_out
from landscape.results.estimate import VolumeEstimate
from landscape.results.table import columns, decimal, percent, wrapped
from landscape.results.verdicts import VERDICTS, Check
from landscape.results.volume_words import RESOLUTION, Body, main_table, sentence, value_cell

_DERIVED = ("reported", "nats_below_ball", "nats_below_ball_interval", "log10_volume", "log10_reported", "quotable")
_SETTINGS = ("criterion", "metric", "scope", "seed", "max_radius", "measure", "sigma", "measure_centre")


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
    _layout: ClassVar[Layout] = {"log_weights": ("direction cutoff", "nats")}
    _along: ClassVar[str] = "cutoff"
    _stored_elsewhere: ClassVar[tuple[str, ...]] = ("results",)
    _row_class: ClassVar[type | None] = VolumeEstimate
    unit: ClassVar[str] = "rays"  #: what ``directions`` counts

    results: tuple[VolumeEstimate, ...]
    log_weights: np.ndarray
    estimator: str
    dimension: int
    directions: int
    config: dict[str, Any]
    cost: Cost

    def __post_init__(self) -> None:
        body, ball = self.body, self.log_cap_ball
        rows = (replace(row, log_cap_ball=ball) for row in self.results)
        object.__setattr__(self, "results", tuple(replace(row, report=sentence(row, body)) for row in rows))

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        return tuple(map(_revived, value)) if name == "results" else super()._revive(name, value)

    @property
    def body(self) -> Body:
        """What V is of."""
        criterion, metric, scope = (self.config.get(key) for key in ("criterion", "metric", "scope"))
        return Body(self.dimension, criterion, metric, scope, max_radius_of(self.config), self.density)

    @property
    def log_cap_ball(self) -> float:
        """Log-volume of the ball of the cap; infinite without a cap, or if V is a probability."""
        return log_ball(self.dimension, self.body.max_radius) if self.body.capped else math.inf

    def report(self, cutoff: float) -> str:
        """Return the sentence to quote at one cutoff.

        Raises:
            LandscapeError: if V was not measured at this cutoff.
        """
        for row in self.results:
            if math.isclose(row.cutoff, cutoff, rel_tol=1e-9):
                return row.report
        raise LandscapeError(
            f"there is no volume at cutoff {cutoff:g}. Pass one of "
            f"{', '.join(f'{row.cutoff:g}' for row in self.results) or 'none: there are no results'}."
        )

    def summary(self) -> dict[str, Any]:
        """Return the one JSON object that ``landscape volume --json`` prints."""
        rows = [{**asdict(row), **{name: getattr(row, name) for name in _DERIVED}} for row in self.results]
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
        """Return one line per cutoff. For a lower bound it holds the bound, not the collapsed estimate."""
        known = any(not math.isnan(row.resolution) for row in self.results)
        return "\n".join([main_table(self.results, self.body), *([wrapped(RESOLUTION)] if known else [])])

    def _cells(self) -> str:
        return main_table(self.results, self.body)

    def _series(self) -> dict[str, Any]:
        rows = self.results
        return {
            "cutoff": [row.cutoff for row in rows],
            "verdict": [row.verdict for row in rows],
            "nats_below_ball": [row.nats_below_ball for row in rows],
            "nats_below_ball_low": [row.nats_below_ball_interval[0] for row in rows],
            "nats_below_ball_high": [row.nats_below_ball_interval[1] for row in rows],
            "reported_nats": [row.reported for row in rows],
            "reported_log10": [row.log10_reported for row in rows],
            "log_volume_nats": [row.log_volume for row in rows],
            "log_volume_raw_nats": [row.log_volume_raw for row in rows],
            "interval_low_nats": [row.interval[0] for row in rows],
            "interval_high_nats": [row.interval[1] for row in rows],
            "bound_nats": [row.bound for row in rows],
            "upper_bound_nats": [row.upper_bound for row in rows],
            "effective_sample_size": [row.ess for row in rows],
            "largest_weight_share": [row.largest_weight for row in rows],
            "pareto_k": [row.pareto_k for row in rows],
            "censored_share": [row.censored for row in rows],
            "censored_weight_share": [row.censored_weight for row in rows],
            "resolution_ratio": [row.resolution for row in rows],
            "survives_share": [row.survives for row in rows],
            "reasons": [". ".join(row.reasons) for row in rows],
            "report": [row.report for row in rows],
        }

    def _variables(self) -> dict[str, Variable]:
        # weights may be there before the first estimate: then their axes are not those of the estimates
        return super()._variables() if self.results else laid_out(self.arrays(), {})

    def _brief(self) -> str:
        unit = "nats below the ball" if self.body.capped else "nats"
        values = "; ".join(f"cutoff {row.cutoff:g}: {value_cell(row)} {unit} ({row.verdict})" for row in self.results)
        return f"{self.estimator}, n = {self.dimension:,}; {values or 'no cutoff yet'}"

    @property
    def density(self) -> str | None:
        """The normal distribution under which V is a probability, as a reader would write it; None for a volume."""
        if self.config.get("measure") != "gaussian":
            return None
        return f"N({'0' if self.config['measure_centre'] == 'zero' else 'theta'}, {self.config['sigma']:g}²)"

    @property
    def notes(self) -> tuple[str, ...]:
        """Why a verdict is not reliable, and how much of V is on rays at the cap."""
        notes = []
        for verdict in VERDICTS:
            rows = [row for row in self.results if row.verdict == verdict and row.reasons]
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
        """What the numbers of the table are, in words."""
        if self.density is not None:
            return f"log-probability of the basin under {self.density}"
        if not self.body.capped:
            return "log-volume of the basin, without a cap"
        ball = f"the ball of radius {self.body.max_radius:g}"
        return f"volume of the basin below {ball}, whose log10 is {decimal(self.log_cap_ball / math.log(10.0))}"

    def heading(self) -> str:
        """Return what the numbers are, and what they were measured with."""
        return f"{self.quantity}: {self.estimator} estimator, {self.count}, n = {self.dimension:,}"

    @property
    def count(self) -> str:
        """How many rays or islands there are, in words."""
        return f"{self.directions:,} {self.unit if self.directions != 1 else self.unit.removesuffix('s')}"

    def evidence(self) -> str:
        """Return what speaks for or against the numbers, beyond the table; empty if there is no more."""
        return ""

    def __str__(self) -> str:
        words = [*(row.report for row in self.results), *self.notes]
        parts = [wrapped(self.heading()), self.table(), self.evidence(), *map(wrapped, words)]
        return "\n".join(part for part in parts if part)


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
    _layout: ClassVar[Layout] = {
        **Volume._layout,
        "log_determinant": ("cutoff", "nats"),
        "standard_error": ("cutoff", "nats"),
        "quadrature_error": ("cutoff", "nats"),
        "shift": ("cutoff", "loss per squared metric unit"),
        "negative": ("", "1"),
    }

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
        cutoff = f"cutoff\n({self.body.criterion})" if self.body.criterion else "cutoff\n"
        errors = ["log det\n(nats)", "standard error\n(nats)", "quadrature error\n(nats)", "shift\n(of curvature)"]
        return columns([cutoff, *errors], rows) + f"\n{seen}"

    def heading(self) -> str:
        """Return what the numbers are, and which matrix they come from."""
        matrix = self.config.get("curvature", "curvature")
        return f"{self.quantity}: laplace estimator from the {matrix}, n = {self.dimension:,}"
