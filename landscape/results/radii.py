"""The basin radius along each ray."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result


class RayStatus(IntEnum):
    """How the search along one ray ended."""

    PENDING = -1  #: not measured yet (only in the partial result of an interrupted run)
    CROSSED = 0  #: the loss reaches the cutoff inside the bracket
    CENSORED = 1  #: the loss stays below the cutoff up to ``max_radius``
    UNFINISHED = 2  #: the search gave up; the bracket is wider than ``rtol``


@dataclass(frozen=True)
class Radii(Result):
    """The basin radius along each ray, for each cutoff.

    Attributes:
        radii: first crossing of each cutoff, in metric units, shape (directions, cutoffs). A censored ray holds
            ``max_radius``, an unfinished one the inner end of its bracket, a pending one NaN.
        status: a :class:`RayStatus` for each radius, int8, shape (directions, cutoffs).
        lower, upper: largest radius seen inside (within ``rtol`` of the radius), smallest seen outside, shape
            (directions, cutoffs).
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
