"""Annealed chains: the state to continue from, the weights they earned, and a trace of every temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.table import columns
from landscape.results.volume import Volume

LEGS = ("pilot", "half", "full")
COLUMNS = (
    "leg",
    "temperature",
    "hardness",
    "stride",
    "energy",
    "energy_spread",
    "weight_spread",
    "flight",
    "accepted",
    "angle",
    "correlation",
    "evaluations",
    "step",
    "time",
    "width",
    "flight_gain",
    "slice_gain",
    "log_radius",
    "log_radius_spread",
    "reach",
    "resampled",
)


@dataclass(frozen=True)
class Chains(Result):
    """Chains annealed from uniform directions to the basin, for each cutoff: a pilot, a run of half effort, a full one.

    Attributes:
        log_weights: log of each finished chain's weight, an unbiased estimate of E[r^n], by effort (half, full); of
            chains that were resampled their mean is. NaN where unfinished, shape (cutoffs, 2, chains).
        censored_last: whether the chain's last ray ends at the cap, shape (cutoffs, 2, chains), bool.
        log_radius_last: log r of that last ray, NaN where unfinished, shape (cutoffs, 2, chains).
        path_log_weights: log of each chain's weight at every temperature for a mean over *uniform* directions: that of
            the chain so far over the density it stands at, shape (cutoffs, 2, temperatures, chains); NaN where
            unfinished, and beyond the fewer temperatures of half effort.
        path_log_radii: log r where the chain is then, same shape.
        unfinished: searches for a radius that were given up, by effort, shape (cutoffs, 2).
        trace: one row a temperature, in the order in which they were done, shape (rows, columns): which leg (3 · cutoff
            + 0 for the pilot, 1 for half, 2 for full effort), temperature t, hardness b of the soft path or of growth
            (NaN by radius), standard deviation of the gain over the chains, mean over chains of n log r and its
            standard deviation (NaN in a pilot where no radius was needed), standard deviation of the log-weights after
            the gain; of the move that follows: whether by Hamiltonian flight (1) or slice (0), share accepted, mean
            angle, correlation of the log density before and after, evaluations a chain; of the pilot: time of a
            leapfrog step and of a flight, width of the arc, squared sine of the angle gone an evaluation by flight and
            by slice, median log r and its spread; of both: reach R of the growing part of a ray (NaN on other paths);
            whether the chains were resampled before the move that follows (0 or 1).
        phi: where the chains of the current leg are: unit directions, shape (chains, n).
        phi_log_radius, phi_log_weight: log r there and the weight so far, shape (chains,).
        phi_censored, phi_unfinished: whether that r is the cap, or its search was given up, shape (chains,), bool.
        phi_rises: rises on points of the rays there, over that of the cutoff, shape (chains, points).
        look: radii along the first uniform rays, shape (rays, cutoffs): a changed function shows there.
        position: the leg, and the number of temperatures done of it.
        cutoffs: the cutoffs, ascending.
        columns: names of the columns of the trace.
        dimension: n, the number of entries in scope.
        log_scale_sum: sum of log s_i over the scope.
        config: everything that determines the numbers.
        cost: what it all cost.
        path_along: by another measure than volume, where the chain is then: log m / n of its ray, with m what takes the
            place of r^n, and the ray's coefficients a and b (:mod:`landscape.volume.ray_weights.measure`), shape
            (cutoffs, 2, temperatures, chains, 3); of volumes, whose m is r^n, an array of no size, as the next two.
        phi_along: the same where the chains of the current leg are, shape (chains, 3).
        phi_velocity: the velocities of chains that keep theirs from flight to flight, tangent at phi, shape
            (chains, n); of others an array of no size.
        look_along: the same along the first uniform rays, shape (rays, cutoffs, 3).
    """

    kind: ClassVar[str] = "chains"

    log_weights: np.ndarray
    censored_last: np.ndarray
    log_radius_last: np.ndarray
    path_log_weights: np.ndarray
    path_log_radii: np.ndarray
    unfinished: np.ndarray
    trace: np.ndarray
    phi: np.ndarray
    phi_log_radius: np.ndarray
    phi_log_weight: np.ndarray
    phi_censored: np.ndarray
    phi_unfinished: np.ndarray
    phi_rises: np.ndarray
    look: np.ndarray
    position: tuple[int, int]
    cutoffs: tuple[float, ...]
    columns: tuple[str, ...]
    dimension: int
    log_scale_sum: float
    config: dict[str, Any]
    cost: Cost
    path_along: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 0, 0, 0)))
    phi_along: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    look_along: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    phi_velocity: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in ("cutoffs", "columns", "position") else super()._revive(name, value)

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.log_weights.shape[2]

    @property
    def done(self) -> np.ndarray:
        """Which temperatures of the runs of half and full effort are done, all cutoffs, shape (temperatures,), bool."""
        if self.config["temperatures"] is None:  # the pilots are not done, whose cost decides how many there will be
            return np.zeros(1, dtype=bool)
        full = int(self.config["temperatures"])
        total = len(self.cutoffs) * (full // 2 + full)
        count = int((self.trace[:, 0] % 3 > 0).sum())
        return np.arange(total) < count

    @property
    def max_radius(self) -> float:
        """The cap on every radius; infinite where there is none."""
        cap = self.config.get("max_radius")
        return math.inf if cap is None else float(cap)

    @property
    def of_probability(self) -> bool:
        """Whether what is measured is a Gaussian measure, and V is a probability."""
        return self.config.get("measure") == "gaussian"

    @property
    def steepness(self) -> float:
        """A bound on how log m changes with log r, with m the share of V that a ray stands for: n for r^n."""
        return float(self.config.get("steepness", self.dimension))

    def look_extents(self, column: int) -> np.ndarray:
        """Return log m / n along the first uniform rays at one cutoff: of volumes log r, shape (rays,)."""
        with np.errstate(divide="ignore"):
            return self.look_along[:, column, 0] if self.look_along.size else np.log(self.look[:, column])

    def last_extents(self, column: int) -> np.ndarray:
        """Return the same where the chains of full effort ended, shape (chains,)."""
        if self.path_along.size:
            return self.path_along[column, 1, -1, :, 0]
        return self.log_radius_last[column, 1]

    def column(self, name: str, cutoff: int = 0, leg: str = "full") -> np.ndarray:
        """Return one column of the trace for one leg of one cutoff.

        Args:
            name: one of ``columns``.
            cutoff: its number.
            leg: ``pilot``, ``half`` or ``full``.
        """
        rows = self.trace[:, 0] == len(LEGS) * cutoff + LEGS.index(leg)
        return self.trace[rows, self.columns.index(name)]

    def resamplings(self, cutoff: int) -> tuple[int, int]:
        """Return how often the chains of half and of full effort were resampled; then they share ancestors."""
        if "resampled" not in self.columns:  # of an earlier version
            return 0, 0
        half, full = (int(np.nansum(self.column("resampled", cutoff, leg))) for leg in LEGS[1:])
        return half, full

    def __str__(self) -> str:
        done = self.done
        if self.config["temperatures"] is None:
            return f"annealed chains: {len(self.trace):,} temperatures of the pilots done, n = {self.dimension:,}"
        return (
            f"annealed chains: {self.chains} of {int(self.config['temperatures']):,} temperatures, n = "
            f"{self.dimension:,}, {int(done.sum()):,} of {len(done):,} temperatures done"
        )


@dataclass(frozen=True)
class AnnealedVolume(Volume):
    """A :class:`Volume` from annealed chains, with what shows whether they settled.

    ``directions`` is the number of chains, ``log_weights`` holds one weight a chain.

    Attributes:
        log_weights_half: the same from the run of half effort, shape (chains, cutoffs).
        log_volume_half: log V from half the temperatures, shape (cutoffs,).
        weight_spread: standard deviation of the chains' log-weights, at half and full effort; of resampled chains what
            has come since. Shape (cutoffs, 2).
        temperature: t of every temperature of the full run, shape (temperatures, cutoffs).
        energy, energy_spread: mean and standard deviation over the chains of n log r there, or of log m by another
            measure than volume, shape (temperatures, cutoffs).
        accepted: share of proposals accepted in the move that follows (1 for slices), shape (temperatures, cutoffs).
        unseen: how much of V uniform rays show on long rays more than the chains do, shape (cutoffs,).
        correlation: of the log density before and after that move, over the chains, shape (temperatures, cutoffs).
        resampled: how often the chains of half and of full effort were resampled, shape (cutoffs, 2): on the way by
            growth, where those that carry little of the weights give way to copies of others, which go on with equal
            weights. Such chains share ancestors: their mean is one unbiased draw, their spread shows little.
    """

    kind: ClassVar[str] = "annealed"

    log_weights_half: np.ndarray
    log_volume_half: np.ndarray
    weight_spread: np.ndarray
    temperature: np.ndarray
    energy: np.ndarray
    energy_spread: np.ndarray
    accepted: np.ndarray
    correlation: np.ndarray
    unseen: np.ndarray
    resampled: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    def evidence(self) -> str:
        """Return a row a cutoff of what speaks for or against the estimate."""
        rows = [
            [
                f"{row.cutoff:g}",
                f"{row.log_volume:,.2f}",
                f"{row.log_volume - self.log_volume_half[i]:+,.2f}",
                f"{self.weight_spread[i, 1]:.2f}",
                *(_mean(column[:, i]) for column in (self.accepted, self.correlation)),
            ]
            for i, row in enumerate(self.results)
        ]
        heads = ["cutoff", "log V", "over half effort", "spread", "accepted", "autocorrelation"]
        if self.resampled.any():  # the spread is what has come since
            heads.append("resampled")
            rows = [[*row, f"{times:,}"] for row, (_, times) in zip(rows, self.resampled.tolist(), strict=True)]
        return columns(heads, rows)

    def __str__(self) -> str:
        return f"{self.heading('chains')}\n{self.table()}\n{self.evidence()}"


def _mean(values: np.ndarray) -> str:
    """Return the mean of what is known, a dash where nothing is: chains that cannot move have no correlation."""
    known = values[~np.isnan(values)]
    return f"{known.mean():.2f}" if len(known) else "-"
