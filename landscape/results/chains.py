"""Annealed chains: their weights, a trace of every temperature, and the state to continue from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.table import columns
from landscape.results.volume import Volume

STAGES = ("pilot", "half", "full")
COLUMNS = (
    "stage",
    "inverse_temperature",
    "penalty",
    "log_weight_increment_sd",
    "log_density",
    "log_density_spread",
    "weight_spread",
    "hmc",
    "accepted",
    "angle",
    "correlation",
    "evaluations",
    "step",
    "time",
    "width",
    "hmc_gain",
    "slice_gain",
    "log_radius",
    "log_radius_spread",
    "outer_radius",
    "resampled",
)


@dataclass(frozen=True)
class Chains(Result):
    """Chains annealed from uniform directions to the basin of each cutoff: a pilot, a run of half effort, a full one.

    If the basin is measured by another measure than volume, each ray holds a mass m in place of r^n
    (:mod:`landscape.volume.ray_weights.measure`). The four fields that say so have no entries for volumes.

    Attributes:
        log_weights: log of the weight of each finished chain, by effort (half, full), shape (cutoffs, 2, chains). Each
            weight is an unbiased estimate of E[r^n]; after resampling only their mean is. NaN if unfinished.
        censored_last: whether the last ray of the chain ends at the cap, shape (cutoffs, 2, chains), bool.
        log_radius_last: log r of that last ray, shape (cutoffs, 2, chains). NaN if unfinished.
        path_log_weights: log-weight of each chain at each temperature for a mean over *uniform* directions: the weight
            so far over the density of the current target, shape (cutoffs, 2, temperatures, chains). NaN if unfinished,
            and for the temperatures that half effort does not have.
        path_log_radii: log r of the chain at each temperature, same shape.
        unfinished: number of radius searches that gave up, by effort, shape (cutoffs, 2).
        trace: one row per temperature, in the order of the run, shape (rows, columns). ``columns`` names them. Every
            row: ``stage`` (3 · cutoff + 0 for the pilot, 1 for half, 2 for full effort), ``inverse_temperature`` t,
            ``penalty`` b of the soft path (NaN by radius), ``outer_radius`` R of the growing part of a ray (NaN on
            other paths), standard deviation over chains of the gain in log-weight, mean and standard deviation over
            chains of n log r (NaN if a pilot needed no radius), standard deviation of the log-weights after the gain,
            and whether the chains were resampled after it (0 or 1). The move that follows: whether it is Hamiltonian
            (``hmc``, 1) or a slice (0), share accepted, mean angle, correlation of the log density before and after,
            evaluations per chain. Pilots: time of a leapfrog step and of a trajectory, width of the slice's arc,
            squared sine of the angle moved per evaluation by either move, median of log r and its spread.
        phi: unit directions of the chains in the current stage, shape (chains, n).
        phi_log_radius, phi_log_weight: log r and the log-weight so far of these chains, shape (chains,).
        phi_censored, phi_unfinished: whether that r is the cap, or its search gave up, shape (chains,), bool.
        phi_rises: rises of the criterion along their rays over the rise of the cutoff, shape (chains, points).
        reference_radii: radii along the uniform reference rays, shape (rays, cutoffs). They show if the function has
            changed.
        position: the stage, and the number of its temperatures that are done.
        cutoffs: the cutoffs, ascending.
        columns: names of the columns of the trace.
        dimension: n, the number of entries in scope.
        log_scale_sum: sum of log s_i over the scope.
        config: everything that determines the numbers.
        cost: total cost.
        path_measure: log m / n of the ray of each chain at each temperature, and the coefficients a and b of the
            measure along it, shape (cutoffs, 2, temperatures, chains, 3).
        phi_measure: the same for the chains in the current stage, shape (chains, 3).
        phi_velocity: velocities of chains that keep them from trajectory to trajectory, tangent at phi, shape
            (chains, n). Other chains have none.
        reference_measure: as ``path_measure`` along the reference rays, shape (rays, cutoffs, 3).
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
    reference_radii: np.ndarray
    position: tuple[int, int]
    cutoffs: tuple[float, ...]
    columns: tuple[str, ...]
    dimension: int
    log_scale_sum: float
    config: dict[str, Any]
    cost: Cost
    path_measure: np.ndarray
    phi_measure: np.ndarray
    reference_measure: np.ndarray
    phi_velocity: np.ndarray

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in ("cutoffs", "columns", "position") else super()._revive(name, value)

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.log_weights.shape[2]

    @property
    def done(self) -> np.ndarray:
        """Which temperatures of half and full effort are done, over all cutoffs, shape (temperatures,), bool."""
        if self.config["temperatures"] is None:  # decided by the cost of the pilots, which still run
            return np.zeros(1, dtype=bool)
        full = int(self.config["temperatures"])
        total = len(self.cutoffs) * (full // 2 + full)
        count = int((self.trace[:, 0] % 3 > 0).sum())
        return np.arange(total) < count

    @property
    def max_radius(self) -> float:
        """The cap on every radius; infinite if there is none."""
        cap = self.config.get("max_radius")
        return math.inf if cap is None else float(cap)

    @property
    def of_probability(self) -> bool:
        """Whether the measure is Gaussian, so that V is a probability."""
        return self.config.get("measure") == "gaussian"

    @property
    def steepness(self) -> float:
        """A bound on d log m / d log r, with m the mass of a ray: n for r^n."""
        return float(self.config.get("steepness", self.dimension))

    def reference_effective_log_radii(self, column: int) -> np.ndarray:
        """Return log m / n of the reference rays at one cutoff (log r for volumes), shape (rays,)."""
        if self.reference_measure.size:
            return self.reference_measure[:, column, 0]
        with np.errstate(divide="ignore"):
            return np.log(self.reference_radii[:, column])

    def last_effective_log_radii(self, column: int) -> np.ndarray:
        """Return log m / n of the last rays of the chains of full effort, shape (chains,)."""
        if self.path_measure.size:
            return self.path_measure[column, 1, -1, :, 0]
        return self.log_radius_last[column, 1]

    def column(self, name: str, cutoff: int = 0, stage: str = "full") -> np.ndarray:
        """Return one column of the trace for one stage of one cutoff.

        Args:
            name: one of ``columns``.
            cutoff: index of the cutoff.
            stage: ``pilot``, ``half`` or ``full``.
        """
        rows = self.trace[:, 0] == len(STAGES) * cutoff + STAGES.index(stage)
        return self.trace[rows, self.columns.index(name)]

    def resamplings(self, cutoff: int) -> tuple[int, int]:
        """Return how often the chains of half and of full effort were resampled. Resampled chains share ancestors."""
        half, full = (int(np.nansum(self.column("resampled", cutoff, stage))) for stage in STAGES[1:])
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
    """A :class:`Volume` from annealed chains, with the evidence for or against it.

    ``directions`` is the number of chains; ``log_weights`` holds one weight per chain.

    Attributes:
        log_weights_half: log-weights of the run of half effort, shape (chains, cutoffs).
        log_volume_half: log V from half effort, shape (cutoffs,).
        weight_spread: standard deviation of the chains' log-weights at half and full effort, shape (cutoffs, 2). For
            resampled chains it counts the gains since the last resampling only.
        inverse_temperature: t at every temperature of full effort, shape (temperatures, cutoffs).
        log_density, log_density_spread: mean and standard deviation over chains of n log r at every temperature, or of
            log m for another measure than volume, shape (temperatures, cutoffs).
        accepted: share of proposals accepted in the move that follows (1 for slices), shape (temperatures, cutoffs).
        correlation: correlation over chains of the log density before and after that move, same shape.
        unseen: how much more of V the uniform reference rays show on long rays than the chains do, shape (cutoffs,).
        resampled: how often the chains of half and of full effort were resampled, shape (cutoffs, 2). On the path by
            growth, chains with little weight give way to copies of others, and all continue with equal weights. Such
            chains share ancestors: their mean is one unbiased draw, and their spread shows little.
    """

    kind: ClassVar[str] = "annealed"
    unit: ClassVar[str] = "chains"

    log_weights_half: np.ndarray
    log_volume_half: np.ndarray
    weight_spread: np.ndarray
    inverse_temperature: np.ndarray
    log_density: np.ndarray
    log_density_spread: np.ndarray
    accepted: np.ndarray
    correlation: np.ndarray
    unseen: np.ndarray
    resampled: np.ndarray

    def evidence(self) -> str:
        """Return a table with one row per cutoff: what speaks for or against the estimate."""
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
        if self.resampled.any():  # the spread then counts only the gains since
            heads.append("resampled")
            rows = [[*row, f"{times:,}"] for row, (_, times) in zip(rows, self.resampled.tolist(), strict=True)]
        return columns(heads, rows)


def _mean(values: np.ndarray) -> str:
    """Return the mean of the known values, or a dash if there are none: chains that cannot move have no correlation."""
    known = values[~np.isnan(values)]
    return f"{known.mean():.2f}" if len(known) else "-"
