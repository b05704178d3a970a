"""Frozen results: what was measured, how sure it is and what it cost.

Every result is a frozen dataclass whose fields are numpy arrays or plain values (numbers, strings, tuples, dicts).
That is all a store needs: :meth:`Result.arrays` and :meth:`Result.attributes` take it apart,
:meth:`Result.from_parts` puts it together again, and nothing here knows about files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self

import numpy as np

from landscape.errors import LandscapeError


class RayStatus(IntEnum):
    """How the search along one ray ended."""

    PENDING = -1  #: not measured yet (only in the partial result of an interrupted run)
    CROSSED = 0  #: the loss reaches the cutoff inside the bracket
    CENSORED = 1  #: the loss stays below the cutoff up to ``max_radius``
    UNFINISHED = 2  #: the search gave up; the bracket is wider than ``rtol``


@dataclass(frozen=True)
class Cost:
    """What a measurement cost.

    Attributes:
        evaluations: full passes over the data; a pass stopped early counts as the fraction that was read.
        calls: loss evaluations started, whether or not they were stopped early.
        seconds: wall-clock time.
    """

    evaluations: float
    calls: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """Base of all results: taken apart into arrays and attributes, and put together again."""

    kind: ClassVar[str] = ""
    _kinds: ClassVar[dict[str, type[Result]]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        Result._kinds[cls.kind] = cls

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the array fields by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}

    def attributes(self) -> dict[str, Any]:
        """Return the other fields by name as dicts, lists and scalars; infinities stay floats."""
        arrays = self.arrays()
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in arrays}

    def to_dict(self) -> dict[str, Any]:
        """Return every field as strict JSON types: arrays as nested lists, infinity and NaN as None."""
        return _finite({f.name: _plain(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_parts(cls, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> Self:
        """Build the result from what :meth:`arrays` and :meth:`attributes` returned."""
        return cls(**arrays, **{name: cls._revive(name, value) for name, value in attributes.items()})

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        """Turn one attribute back into the type of its field."""
        return Cost(**value) if name == "cost" else value


def result_class(kind: str) -> type[Result]:
    """Return the result class called ``kind`` (``"radii"``, ``"volume"``, ...)."""
    if kind not in Result._kinds:
        raise LandscapeError(
            f"this version of landscape does not know a result of kind {kind!r} (it knows {sorted(Result._kinds)}).\n"
            "The file was probably written by a newer version: pip install --upgrade landscape-lab"
        )
    return Result._kinds[kind]


@dataclass(frozen=True)
class Radii(Result):
    """The basin radius along each ray, for each cutoff.

    Attributes:
        radii: first crossing of each cutoff, in metric units, shape (directions, cutoffs). A censored ray holds
            ``max_radius``, an unfinished one the inner end of its bracket, a pending one NaN.
        status: a :class:`RayStatus` for each radius, int8, shape (directions, cutoffs).
        lower, upper: the bracket: largest radius seen inside, smallest seen outside, shape (directions, cutoffs).
        calls: loss evaluations started on each ray, all cutoffs together, shape (directions,).
        evaluations: the same in full passes over the data, shape (directions,).
        nonfinite: points on each ray where the loss was NaN or infinite (counted as outside), shape (directions,).
        profile_ray, profile_radius, profile_loss: every full evaluation on the first few rays, shape (points,) each.
        cutoffs: the cutoffs, ascending.
        dimension: n, the number of entries in scope.
        log_scale_sum: sum of log s_i over the scope: log-volume in parameter coordinates minus that in metric ones.
        centre: the criterion at the trained point.
        config: everything that determines the numbers (criterion, metric, scope, seed, rtol, hashes, ...).
        cost: what all rays together cost.
    """

    kind: ClassVar[str] = "radii"

    radii: np.ndarray
    status: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    calls: np.ndarray
    evaluations: np.ndarray
    nonfinite: np.ndarray
    profile_ray: np.ndarray
    profile_radius: np.ndarray
    profile_loss: np.ndarray
    cutoffs: tuple[float, ...]
    dimension: int
    log_scale_sum: float
    centre: float
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "cutoffs" else super()._revive(name, value)

    @property
    def directions(self) -> int:
        """Number of rays."""
        return len(self.radii)

    @property
    def done(self) -> np.ndarray:
        """Which rays are measured, shape (directions,), bool."""
        return ~(self.status == RayStatus.PENDING).any(axis=1)

    @property
    def max_radius(self) -> float:
        """The cap on every radius; infinite where there is none."""
        cap = self.config.get("max_radius")
        return math.inf if cap is None else float(cap)

    def __str__(self) -> str:
        lines = [
            f"basin radii along {self.directions} rays, n = {self.dimension:,}",
            f"{'cutoff':>10} {'median':>10} {'10 %':>10} {'90 %':>10} {'smallest':>10} {'largest':>10} {'censored':>9}",
        ]
        for column, cutoff in enumerate(self.cutoffs):
            known = self.radii[self.done, column]
            if not len(known):
                lines.append(f"{cutoff:>10g} no ray measured yet")
                continue
            quantiles = np.quantile(known, [0.5, 0.1, 0.9, 0.0, 1.0])
            censored = np.mean(self.status[self.done, column] == RayStatus.CENSORED)
            lines.append(f"{cutoff:>10g} " + " ".join(f"{q:>10.4g}" for q in quantiles) + f" {censored:>8.1%}")
        return "\n".join(lines)


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
        return _finite(
            _plain(
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

    def __str__(self) -> str:
        head = f"log-volume of the basin, {self.estimator} estimator, {self.directions} rays, n = {self.dimension:,}"
        lines = [head, f"{'cutoff':>10} {'log10 V':>14} {'95 % interval':>27} {'ess':>8} {'censored':>9}  verdict"]
        for row in self.results:
            low, high = (end / math.log(10.0) for end in row.interval)
            lines.append(
                f"{row.cutoff:>10g} {row.log10_volume:>14,.2f} [{low:>12,.2f}, {high:>12,.2f}] {row.ess:>7.1f} "
                f"{row.censored:>9.1%}  {row.verdict}"
            )
        return "\n".join(lines)


def merge_cost(first: Cost, second: Cost) -> Cost:
    """Return the cost of two measurements together."""
    return Cost(first.evaluations + second.evaluations, first.calls + second.calls, first.seconds + second.seconds)


def _plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists and Python scalars."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _finite(value: Any) -> Any:
    """Return ``value`` with None for infinity and NaN, for which JSON has no word."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
