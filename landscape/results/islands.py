"""Islands of annealed particles: what each has found, round by round, and the volume that they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from landscape.results.base import Cost, Result, max_radius_of
from landscape.results.dataset import Layout, Variable
from landscape.results.table import at_least, columns
from landscape.results.units import TEXT
from landscape.results.volume import Volume


class PilotRow(NamedTuple):
    """What a pilot found for a cutoff.

    Attributes:
        cutoff: its index.
        path: index in ``PATHS``.
        levels: of the schedule, at effort 1.
        passes_per_level: what a level costs a particle, full passes over the data.
        tried: levels that the pilot has been at.
        evaluations, calls: what it cost.
        careful: levels before it began to hurry; infinite if it did not.
        particles: how many it had.
    """

    cutoff: float
    path: float
    levels: float
    passes_per_level: float
    tried: float
    evaluations: float
    calls: float
    careful: float
    particles: float


class GroupRow(NamedTuple):
    """A group of islands that is done.

    Attributes:
        cutoff, round, group: which one.
        accepted: mean acceptance on the way out.
        evaluations, calls: what it cost.
    """

    cutoff: float
    round: float
    group: float
    accepted: float
    evaluations: float
    calls: float


class RoundRow(NamedTuple):
    """A round; what is known only once it is whole is NaN before.

    Attributes:
        cutoff, round: which one.
        effort: how many times the pilot's levels it has. It counts twice if islands have twice the particles.
        levels: number of levels.
        groups: that it has; a round of one group only goes out.
        start_shift, start_error: how far log m of chains that began at the longest uniform rays ends from that of the
            particles, and the error of that. NaN for a round that only goes out, and for the first one that comes back.
        survives: share of V on a finer grid.
        censored: share of ends at the cap.
        evaluations, calls: what the look at its end cost.
    """

    cutoff: float
    round: float
    effort: float
    levels: float
    groups: float
    start_shift: float = math.nan
    start_error: float = math.nan
    survives: float = math.nan
    censored: float = math.nan
    evaluations: float = math.nan
    calls: float = math.nan

    @property
    def whole(self) -> bool:
        """Whether the round is done."""
        return not math.isnan(self.evaluations)


TRAIL = (
    "estimate",
    "effort",
    "levels",
    "log_volume_forwards",
    "sd_over_islands",
    "log_volume_backwards",
    "second_start_shift",
    "survives_share",
)  #: the columns of the trail of an :class:`AnnealedVolume`
PATHS = ("radius", "shell", "growth", "ellipsoid")  #: by the number in the column ``path``


@dataclass(frozen=True)
class Islands(Result):
    """Islands of particles for the basin of each cutoff, in rounds of growing effort.

    A group of islands goes along the schedule together, forwards and then back. A round is whole once all its groups
    are done and its end has been looked at. All that follows from it is in these tables.

    Attributes:
        pilots: a :class:`PilotRow` per cutoff whose schedule is known, shape (pilots, 9).
        groups: a :class:`GroupRow` per group that is done, shape (groups, 6).
        forwards, backwards: log of the mean weight of each island of these groups, shape (groups, islands): estimates
            of log E[r^n] from below and from above. A round that only goes out has one island. The places of others are
            NaN then, and its way back is infinite.
        log_radii: log r at the ends of their particles, shape (groups, particles); NaN in places that islands of fewer
            particles leave empty.
        rounds: a :class:`RoundRow` per round that has begun, shape (rounds, 11).
        reference_radii: radii along the uniform reference rays, shape (rays, cutoffs). They show if the function has
            changed.
        reference_masses: log m along them, n log r for volume, same shape.
        cutoffs: the cutoffs, ascending.
        dimension: n, the number of entries in scope.
        log_scale_sum: sum of log s_i over the scope.
        share: of the budget that is spent; 1 if the run has come to its end.
        config: everything that determines the numbers.
        cost: total cost.
    """

    kind: ClassVar[str] = "islands"
    _layout: ClassVar[Layout] = {
        "pilots": ("pilot pilot_column", "1"),
        "groups": ("group group_column", "1"),
        "forwards": ("group chain", "nats"),
        "backwards": ("group chain", "nats"),
        "log_radii": ("group particle", "nats"),
        "rounds": ("round round_column", "1"),
        "reference_radii": ("reference_ray cutoff", "metric units"),
        "reference_masses": ("reference_ray cutoff", "nats"),
    }
    _labels: ClassVar[Mapping[str, str]] = {"cutoff": "cutoffs"}

    pilots: np.ndarray
    groups: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    log_radii: np.ndarray
    rounds: np.ndarray
    reference_radii: np.ndarray
    reference_masses: np.ndarray
    cutoffs: tuple[float, ...]
    dimension: int
    log_scale_sum: float
    share: float
    config: dict[str, Any]
    cost: Cost

    @property
    def done(self) -> np.ndarray:
        """Hundredths of the budget, and whether each is spent, shape (100,), bool."""
        return np.arange(100) < math.floor(100 * self.share)

    @property
    def max_radius(self) -> float:
        """The cap on every radius; infinite if there is none."""
        return max_radius_of(self.config)

    @property
    def of_probability(self) -> bool:
        """Whether the measure is Gaussian, so that V is a probability."""
        return self.config.get("measure") == "gaussian"

    @property
    def steepness(self) -> float:
        """A bound on d log m / d log r, with m the mass of a ray: n for r^n."""
        return float(self.config.get("steepness", self.dimension))

    def whole(self, cutoff: int) -> list[RoundRow]:
        """Return the rounds that are whole, for the cutoff of this index."""
        rows = (RoundRow(*row) for row in self.rounds.tolist())
        return [row for row in rows if row.cutoff == cutoff and row.whole]

    def of_round(self, row: RoundRow) -> np.ndarray:
        """Return the places in ``groups`` of those that belong to a round."""
        groups = (GroupRow(*group) for group in self.groups.tolist())
        return np.array([i for i, group in enumerate(groups) if group[:2] == row[:2]], dtype=np.int64)

    def _variables(self) -> dict[str, Variable]:
        """Particles of one island as the draws of a chain: the axes that ArviZ reads."""
        variables = super()._variables()
        islands = self.forwards.shape[1]
        if islands:
            sizes = islands, self.log_radii.shape[1] // islands
            variables["log_radii"] = variables["log_radii"].split("particle", ("chain", "draw"), sizes)
        return variables

    def _coordinates(self) -> dict[str, Variable]:
        columns = {
            "pilot_column": PilotRow._fields[: self.pilots.shape[1]],  # older files lack the last one
            "group_column": GroupRow._fields,
            "round_column": RoundRow._fields,
        }
        named = {axis: Variable((axis,), np.array(names), TEXT) for axis, names in columns.items()}
        return {**super()._coordinates(), **named}

    def __str__(self) -> str:
        whole = [len(self.whole(cutoff)) for cutoff in range(len(self.cutoffs))]
        rounds = ", ".join(f"{count} at cutoff {cutoff:g}" for cutoff, count in zip(self.cutoffs, whole, strict=True))
        return f"islands of annealed particles: n = {self.dimension:,}, whole rounds: {rounds}"


@dataclass(frozen=True)
class AnnealedVolume(Volume):
    """A :class:`Volume` from annealed islands, with the evidence for or against it.

    ``directions`` is the number of islands. ``log_weights`` holds one weight per island of the last whole round; NaN
    where another cutoff has more islands.

    Attributes:
        trail: one row per whole round, shape (rounds, 8): index of its estimate in ``results``, effort, levels, log V
            forwards, standard deviation over islands, log V backwards, shift of the second start, share that survives
            a finer grid.
    """

    kind: ClassVar[str] = "annealed"
    _layout: ClassVar[Layout] = {
        "log_weights": ("island cutoff", "nats"),
        "trail": ("round trail_column", "1"),
    }
    unit: ClassVar[str] = "islands"

    trail: np.ndarray

    def _coordinates(self) -> dict[str, Variable]:
        return {**super()._coordinates(), "trail_column": Variable(("trail_column",), np.array(TRAIL), TEXT)}

    def evidence(self) -> str:
        """Return a table with one row per round: what speaks for or against the estimate."""
        capped = math.isfinite(self.log_cap_ball)

        def below(value: float) -> str:
            if not math.isfinite(value):
                return "-"
            return f"{self.log_cap_ball - value if capped else value:,.2f}"

        rows = [
            [
                f"{self.results[int(cutoff)].cutoff:g}",
                f"{int(levels):,}",
                below(forwards),
                f"{scatter:.2f}" if math.isfinite(scatter) else "-",
                below(backwards),
                f"{shift:+,.1f}" if math.isfinite(shift) else "-",
                at_least(survives) if math.isfinite(survives) else "-",
            ]
            for cutoff, _, levels, forwards, scatter, backwards, shift, survives in self.trail
        ]
        quantity = "nats below the ball" if capped else "log V, nats"
        heads = ["cutoff", "levels", "out", "sd", "back", "2nd start", "finer"]
        table = columns(heads, rows)
        return f"rounds ({quantity}; sd over islands; shift of the second start, nats):\n{table}"
