"""The basin radius along each ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import NOTHING, Cost, Result, max_radius_of
from landscape.results.dataset import Layout, Variable
from landscape.results.table import columns, percent
from landscape.results.units import CRITERION

_PER_RAY = ("radii", "status", "lower", "upper", "calls", "evaluations", "nonfinite")


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
        status: a :class:`RayStatus` for each radius, int8: 0 crossed, 1 censored, 2 unfinished, -1 not measured
            yet. Shape (directions, cutoffs).
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
        cost: what all rays together cost, pilot rays included.
        pilot: what the pilot rays cost that settled the grid; their radii are not kept.
    """

    kind: ClassVar[str] = "radii"
    _layout: ClassVar[Layout] = {
        "radii": ("direction cutoff", "metric units"),
        "status": ("direction cutoff", "1"),
        "lower": ("direction cutoff", "metric units"),
        "upper": ("direction cutoff", "metric units"),
        "calls": ("direction", "1"),
        "evaluations": ("direction", "passes"),
        "nonfinite": ("direction", "1"),
        "profile_ray": ("profile_point", "1"),
        "profile_radius": ("profile_point", "metric units"),
        "profile_loss": ("profile_point", CRITERION),
    }
    _labels: ClassVar[Mapping[str, str]] = {"cutoff": "cutoffs"}

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
    pilot: Cost = NOTHING

    @property
    def directions(self) -> int:
        """Number of rays."""
        return len(self.radii)

    @property
    def done(self) -> np.ndarray:
        """Which rays are measured, shape (directions,), bool."""
        return ~(self.status == RayStatus.PENDING).any(axis=1)

    def first(self, count: int) -> Radii:
        """Return the first rays alone, all of which are measured; a run continues from them as from any others."""
        rows = {name: getattr(self, name)[:count] for name in _PER_RAY}
        kept = self.profile_ray < count
        profiles = {name: getattr(self, name)[kept] for name in ("profile_ray", "profile_radius", "profile_loss")}
        passes, all_passes = float(rows["evaluations"].sum()), float(self.evaluations.sum())
        seconds = (self.cost.seconds - self.pilot.seconds) * passes / max(all_passes, passes, 1e-9)
        spent = Cost(passes, int(rows["calls"].sum()), seconds)
        return replace(self, **rows, **profiles, cost=self.pilot + spent)

    def at(self, cutoffs: Sequence[float]) -> Radii:
        """Return the rays at some of their cutoffs, ascending; the cost stays that of all."""
        wanted = [index for index, cutoff in enumerate(self.cutoffs) if cutoff in cutoffs]
        chosen = {name: getattr(self, name)[:, wanted] for name in ("radii", "status", "lower", "upper")}
        return replace(self, **chosen, cutoffs=tuple(self.cutoffs[column] for column in wanted))

    @property
    def max_radius(self) -> float:
        """The cap on every radius; infinite where there is none."""
        return max_radius_of(self.config)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about rays that did not end in a clean crossing."""
        notes = []
        if points := int(self.nonfinite.sum()):
            rays = int((self.nonfinite > 0).sum())
            notes.append(f"The loss was NaN or infinite at {points:,} points on {rays:,} rays; they count as outside.")
        if unfinished := int((self.status == RayStatus.UNFINISHED).any(axis=1).sum()):
            notes.append(f"The search gave up on {unfinished:,} rays; their radius is the largest one seen inside.")
        return tuple(notes)

    def table(self) -> str:
        """Return one row per cutoff, over the rays measured so far."""
        headers = ["cutoff", "median r", "10 %", "90 %", "smallest", "largest", "at cap"]
        known = self.done
        rows = []
        for column, cutoff in enumerate(self.cutoffs):
            if not known.any():
                rows.append([f"{cutoff:g}", *["-"] * 6])
                continue
            quantiles = np.quantile(self.radii[known, column], [0.5, 0.1, 0.9, 0.0, 1.0])
            censored = float(np.mean(self.status[known, column] == RayStatus.CENSORED))
            rows.append([f"{cutoff:g}", *(f"{q:.4g}" for q in quantiles), percent(censored)])
        return columns(headers, rows)

    def _series(self) -> dict[str, Any]:
        rays, cutoffs = self.radii.shape
        return {
            "ray": np.repeat(np.arange(rays), cutoffs),
            "cutoff": np.tile(np.array(self.cutoffs, dtype=float), rays),
            "radius_metric_units": self.radii.ravel(),
            "lower_metric_units": self.lower.ravel(),
            "upper_metric_units": self.upper.ravel(),
            "status": [RayStatus(status).name.lower() for status in self.status.ravel().tolist()],
        }

    def _variables(self) -> dict[str, Variable]:
        variables = super()._variables()
        return {name: each.transposed() if "cutoff" in each.axes else each for name, each in variables.items()}

    def _brief(self) -> str:
        known = self.radii[self.done]
        medians = ", ".join(
            f"{radius:.4g} at cutoff {cutoff:g}"
            for radius, cutoff in zip(np.median(known, axis=0) if len(known) else (), self.cutoffs, strict=False)
        )
        return f"{len(known):,} of {self.directions:,} rays, n = {self.dimension:,}, median radius {medians or '-'}"

    def __str__(self) -> str:
        done = int(self.done.sum())
        rays = f"{done:,} rays" if done == self.directions else f"{done:,} of {self.directions:,} rays measured so far"
        return f"basin radii along {rays}, n = {self.dimension:,}\n{self.table()}"
