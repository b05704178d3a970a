"""The log-volume of one basin, with its bounds and the conditions of its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

from landscape.results.base import plain, same_values
from landscape.results.table import decimal
from landscape.results.verdicts import Check, grade

_LOG10 = math.log(10.0)


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
            probability. It and ``report`` are filled in by :class:`Volume`; NaN for an estimate that is in none.
        report: the sentence to quote.
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
    report: str = ""

    def __post_init__(self) -> None:
        if self.verdict == "lower bound":  # then the interval consists of the two bounds
            object.__setattr__(self, "bound", self.interval[0])
            if math.isnan(self.upper_bound):
                object.__setattr__(self, "upper_bound", self.interval[1])

    def __eq__(self, other: object) -> bool:
        # written out, since NaN equals NaN: Python's own comparison of dataclasses says so up to 3.12 only
        if type(self) is not type(other):
            return NotImplemented
        return same_values(plain(self), plain(other))

    @property
    def measured(self) -> bool:
        """Whether the interval is one for V itself: the verdict is ``settled`` or ``reliable``."""
        return grade(self.verdict) > grade("lower bound")

    @property
    def reported(self) -> float:
        """Log V as it is reported everywhere, natural log: the bound of a ``lower bound``, else the estimate."""
        return self.interval[0] if self.verdict == "lower bound" else self.log_volume

    @property
    def reported_interval(self) -> tuple[float, float]:
        """Between which log V lies: ``interval``, or the two bounds of a ``lower bound``."""
        return (self.bound, self.upper_bound) if self.verdict == "lower bound" else self.interval

    @property
    def nats_below_ball(self) -> float:
        """How far the reported log V is below the ball of the cap; for a bound the most it can be. NaN: no cap."""
        return self.log_cap_ball - self.reported if math.isfinite(self.log_cap_ball) else math.nan

    @property
    def nats_below_ball_interval(self) -> tuple[float, float]:
        """``reported_interval`` as nats below the ball of the cap, the smaller first. NaN without a cap."""
        if not math.isfinite(self.log_cap_ball):
            return math.nan, math.nan
        low, high = self.reported_interval
        return self.log_cap_ball - high, self.log_cap_ball - low

    @property
    def log10_volume(self) -> float:
        """Orders of magnitude: ``log_volume`` / log 10."""
        return self.log_volume / _LOG10

    @property
    def log10_reported(self) -> float:
        """Orders of magnitude of what is reported: ``reported`` / log 10."""
        return self.reported / _LOG10

    @property
    def log10_interval(self) -> tuple[float, float]:
        """The interval in orders of magnitude."""
        low, high = self.interval
        return low / _LOG10, high / _LOG10

    @property
    def quotable(self) -> str:
        """What to report as log10 V: the estimate (with ~ if it is an approximation), or the bound of a lower bound."""
        return marked(self.log10_reported, self.verdict)


def marked(value: float, verdict: str) -> str:
    """Return a logarithm as it is reported: marked as a bound or as an approximation if it is one.

    >>> marked(-3593.551, "lower bound"), marked(-2.0, "approximation"), marked(-2.0, "settled")
    ('>= -3,593.55', '~ -2.00', '-2.00')
    >>> marked(-math.inf, "lower bound")
    'no bound'
    """
    if math.isinf(value):
        return "no bound"
    return {"lower bound": ">= ", "approximation": "~ "}.get(verdict, "") + decimal(value)
