"""Points drawn uniformly in the ball of the cap: which of them the basin contains, and what that says of its volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import NOTHING, Cost, Result, finite, plain
from landscape.results.dataset import Layout, Variable
from landscape.results.table import columns
from landscape.results.units import CRITERION, TEXT
from landscape.results.volume import Volume
from landscape.results.volume_words import nats


@dataclass(frozen=True)
class Count:
    """The hits at one cutoff.

    Attributes:
        rays: how many were drawn, up to the one that gave the last hit that was wanted.
        sublevel: how many of these points lie below the cutoff.
        inside: how many of those have no wall on the way from theta, so that the basin contains them.
        stopped: whether the count ended because ``inside`` reached what was wanted.
    """

    rays: int
    sublevel: int
    inside: int
    stopped: bool


@dataclass(frozen=True)
class Hits(Result):
    """Uniform points in the ball of the cap, of which those below the largest cutoff are kept: the *hits*.

    Attributes:
        ray: index of the ray of each hit, ascending, shape (hits,).
        radius: how far out the point lies, in metric units, shape (hits,).
        loss: the criterion there, shape (hits,).
        peak: the largest criterion at the points of the grid nearer to theta, infinite if it was not finite. -inf if
            there is no such point. The search ends at the first that reaches the largest cutoff. Shape (hits,).
        rays: how many rays were drawn.
        cutoffs: the cutoffs, ascending.
        dimension: n, the number of entries in scope.
        log_scale_sum: sum of log s_i over the scope.
        centre: the criterion at the trained point.
        config: everything that determines the numbers.
        cost: what all rays together cost, pilot rays included.
        pilot: what the pilot rays cost that settled the grid.
    """

    kind: ClassVar[str] = "hits"
    _layout: ClassVar[Layout] = {
        "ray": ("hit", "1"),
        "radius": ("hit", "metric units"),
        "loss": ("hit", CRITERION),
        "peak": ("hit", CRITERION),
    }

    ray: np.ndarray
    radius: np.ndarray
    loss: np.ndarray
    peak: np.ndarray
    rays: int
    cutoffs: tuple[float, ...]
    dimension: int
    log_scale_sum: float
    centre: float
    config: dict[str, Any]
    cost: Cost
    pilot: Cost = NOTHING

    @property
    def wanted(self) -> int:
        """How many hits without a wall are wanted at each cutoff."""
        return int(self.config["hits"])

    def inside(self, column: int) -> np.ndarray:
        """Return which hits the basin of one cutoff contains, shape (hits,), bool."""
        return np.maximum(self.loss, self.peak) < self.cutoffs[column]

    def count(self, column: int) -> Count:
        """Return the hits at one cutoff, up to the last one that is wanted."""
        inside = self.ray[self.inside(column)]
        stopped = len(inside) >= self.wanted
        rays = int(inside[self.wanted - 1]) + 1 if stopped else self.rays
        sublevel = int(((self.loss < self.cutoffs[column]) & (self.ray < rays)).sum())
        return Count(rays, sublevel, int((inside < rays).sum()), stopped)

    @property
    def done(self) -> np.ndarray:
        """Which of the hits that are wanted were counted, at the cutoff with the fewest, shape (wanted,), bool."""
        return np.arange(self.wanted) < min(self.count(column).inside for column in range(len(self.cutoffs)))

    def table(self) -> str:
        """Return one line per cutoff with what was counted."""
        counts = [self.count(column) for column in range(len(self.cutoffs))]
        cells = [
            [f"{cutoff:g}", f"{count.rays:,}", f"{count.sublevel:,}", f"{count.inside:,}"]
            for cutoff, count in zip(self.cutoffs, counts, strict=True)
        ]
        return columns(["cutoff", "rays", "below the cutoff", "and no wall"], cells)

    def _series(self) -> dict[str, Any]:
        return {
            "ray": self.ray,
            "radius_metric_units": self.radius,
            "loss": self.loss,
            "peak_loss": self.peak,
        }

    def __str__(self) -> str:
        return f"points in the ball of the cap along {self.rays:,} rays, n = {self.dimension:,}\n{self.table()}"


@dataclass(frozen=True)
class CountedVolume(Volume):
    """A :class:`Volume` from counted hits. Its weights are 0 and 1, so ``log_weights`` has no rows.

    Attributes:
        rays, sublevel, inside: of each cutoff, as in :class:`Count`, shape (cutoffs,).
        log_sublevel_volume: log of the volume of all points below the cutoff, walls or not, shape (cutoffs,). -inf if
            no point was below.
        sublevel_interval: 95 % interval for it, shape (cutoffs, 2).
    """

    kind: ClassVar[str] = "counted"
    _layout: ClassVar[Layout] = {
        **Volume._layout,
        "rays": ("cutoff", "1"),
        "sublevel": ("cutoff", "1"),
        "inside": ("cutoff", "1"),
        "log_sublevel_volume": ("cutoff", "nats"),
        "sublevel_interval": ("cutoff end", "nats"),
    }

    rays: np.ndarray
    sublevel: np.ndarray
    inside: np.ndarray
    log_sublevel_volume: np.ndarray
    sublevel_interval: np.ndarray

    def summary(self) -> dict[str, Any]:
        """Return the JSON object of a volume, with the counts and the sublevel volume."""
        names = ("rays", "sublevel", "inside", "log_sublevel_volume", "sublevel_interval")
        return {**super().summary(), **finite({name: plain(getattr(self, name)) for name in names})}

    def _coordinates(self) -> dict[str, Variable]:
        return {**super()._coordinates(), "end": Variable(("end",), np.array(["low", "high"]), TEXT)}

    def evidence(self) -> str:
        """Return one line per cutoff with the counts, and with how large the sublevel set is without walls."""
        cells = [
            [
                f"{row.cutoff:g}",
                *(f"{counts[i]:,}" for counts in (self.rays, self.sublevel, self.inside)),
                _ends(self.log_cap_ball - high, self.log_cap_ball - low),
            ]
            for i, (row, (low, high)) in enumerate(zip(self.results, self.sublevel_interval, strict=True))
        ]
        heads = [
            "cutoff\n",
            "rays\n",
            "below the\ncutoff",
            "and no wall\n",
            "sublevel set, nats below\nthe ball (95 %)",
        ]
        return columns(heads, cells)


def _ends(low: float, high: float) -> str:
    return f"{nats(low)} to {nats(high)}" if np.isfinite(high) else f"{nats(low)} or more"
