"""The ``auto`` estimator: the cheapest estimator that measures V, within a budget.

Uniform rays come first, for at most a quarter of the budget. Under a cap, hits near the cap are counted next, unless
all rays end so far below it that there will be none. The count is given up early if too few come, and takes twice its
share if half of those that a verdict needs have come by then. Annealed islands take the rest of the budget, at the
cutoffs where neither was reliable; they know the uniform rays already.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np

from landscape import distributed
from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.objective.deadline import BUDGET
from landscape.objective.shards.whole import require_whole
from landscape.rays import basin_radii
from landscape.rays.budget import FEWEST_RAYS, RAYS, Budget, TooLittleTime, radii_within
from landscape.results import NOTHING, Cost, OnProgress, Radii, Volume, VolumeEstimate
from landscape.results.best import best_volume
from landscape.volume.annealed import NoWholeRound, annealed_volume
from landscape.volume.counted import counted_volume
from landscape.volume.options import BasinOptions
from landscape.volume.ray_weights.measure import check_measure
from landscape.volume.uniform import volume_of_rays

COUNTED = 1 / 4  # share of what is left that counting may cost, or twice as much if that brings a verdict
_FAR, _HOPELESS = 6.0, 30.0  # standard deviations and nats beyond which no ray will reach the cap
_FEWEST_SECONDS = 0.1  # of a budget of time for what comes next


def auto_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    budget: str | float = BUDGET,
    directions: int = 1000,
    rtol: float | None = None,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
    progress: bool = False,
    on_progress: OnProgress[Any] | None = None,
    **options: Unpack[BasinOptions],
) -> Volume:
    """Return the best log-volume at each cutoff that uniform rays, counted hits or annealed islands give in a budget.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        budget: what everything may cost, as for :func:`landscape.volume.annealing.run.run_islands`.
        directions: number of uniform rays; fewer if they cost more than a quarter of the budget.
        rtol: of the islands, as there. The uniform rays take an ``rtol`` of 0.001.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`.
        progress: show a bar for each estimator in turn.
        on_progress: called by each estimator in turn, with its own ``done`` and ``total``.
        options: criterion, metric, seed, max_radius, step_ratio and first_step of all.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = auto_volume(bowl, [4.0], metric="identity")
    >>> round(math.exp(disc.results[0].log_volume) / math.pi, 6), disc.estimator
    (4.0, 'uniform')
    """
    require_whole(objective.program, "the estimator auto")
    by: dict[str, Any] = {"measure": measure, "sigma": sigma, "measure_centre": measure_centre}
    told: dict[str, Any] = {"progress": progress, "on_progress": on_progress}

    rays: list[Radii] = []

    def uniform(limit: Budget) -> Volume:
        check_measure(**by)
        measured = radii_within(
            limit,
            RAYS,
            lambda call: basin_radii(
                objective, cutoffs, directions=directions, progress=progress, on_progress=call, **options
            ),
            on_progress,
        )
        rays.append(measured)
        return volume_of_rays(objective, measured, **by)

    def counted(left: str | float) -> Volume | None:
        if measure != "lebesgue":
            return None
        return counted_volume(objective, cutoffs, budget=left, adaptive=True, **told, **options)

    def annealed(some: Sequence[float], left: str | float) -> Volume:
        return annealed_volume(objective, some, budget=left, rtol=rtol, radii=rays[0], **told, **options, **by)

    return measure_in_steps(budget, uniform=uniform, counted=counted, annealed=annealed).best


@dataclass(frozen=True)
class AutoVolumes:
    """What ``auto`` measured.

    Attributes:
        volumes: by estimator, in the order in which they were measured.
        reasons: why it measured these and nothing else.
        wasted: what islands have cost that are in none of the volumes.
        missed: cutoffs at which islands were tried, and have no whole round.
    """

    volumes: dict[str, Volume]
    reasons: tuple[str, ...]
    wasted: Cost = NOTHING
    missed: tuple[float, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Why it measured these and nothing else, and what is missing."""
        return (*self.reasons, *(_missed(cutoff) for cutoff in self.missed))

    @property
    def best(self) -> Volume:
        """The volume to report: the best estimate at each cutoff, with the cost of all. A bound says why it is one."""
        cost = sum((volume.cost for volume in self.volumes.values()), self.wasted)
        best = best_volume(self.volumes, "this run")
        return replace(best, results=tuple(map(self._explained, best.results)), cost=cost)

    def _explained(self, row: VolumeEstimate) -> VolumeEstimate:
        """Return an estimate with all reasons for which it is a bound."""
        if row.verdict != "lower bound":
            return row
        why = (*self.reasons, *(_missed(cutoff) for cutoff in self.missed if cutoff == row.cutoff))
        return replace(row, reasons=row.reasons + tuple(note.rstrip(".") for note in why))


@dataclass
class _Purse:
    """A budget, and what is left of it."""

    budget: Budget
    started: float = field(default_factory=time.perf_counter)
    spent: Cost = NOTHING

    def left(self, share: float = 1.0) -> str | float | None:
        """Return a share of what is left, as a budget; None if nothing is."""
        if math.isfinite(self.budget.passes):
            passes = share * (self.budget.passes - self.spent.evaluations)
            return passes if passes >= 1 else None
        elapsed = distributed.from_first(lambda: time.perf_counter() - self.started)
        elapsed = max(elapsed, self.spent.seconds)  # what was measured in an earlier run counts too
        seconds = share * (self.budget.seconds - elapsed)
        return f"{seconds:.3f}s" if seconds > _FEWEST_SECONDS else None


def measure_in_steps(
    budget: str | float,
    *,
    uniform: Callable[[Budget], Volume],
    counted: Callable[[str | float], Volume | None],
    annealed: Callable[[list[float], str | float], Volume],
    late: float = 0.0,
) -> AutoVolumes:
    """Decide what ``auto`` measures; the callables measure it, and may show and keep what they measure.

    Args:
        budget: what all of it may cost.
        uniform: measures uniform rays, for at most :data:`RAYS` of the budget.
        counted: counts hits near the cap within a budget; None if there is no cap.
        annealed: measures annealed islands at some cutoffs within a budget.
        late: seconds of a budget of time that were gone before the call.
    """
    purse = _Purse(Budget.parse(budget), time.perf_counter() - late)
    with purse.budget.deadline(late):
        return _measure_from(purse, budget, uniform, counted, annealed)


def _measure_from(
    purse: _Purse,
    budget: str | float,
    uniform: Callable[[Budget], Volume],
    counted: Callable[[str | float], Volume | None],
    annealed: Callable[[list[float], str | float], Volume],
) -> AutoVolumes:
    """Measure in steps from a purse. Arguments as for :func:`measure_in_steps`."""
    volumes = {"uniform": uniform(purse.budget)}
    purse.spent += volumes["uniform"].cost
    missing = _unreliable(volumes)
    if not missing:
        return AutoVolumes(volumes, ("The uniform rays measure V: more effort would add nothing.",))
    if _may_hit(volumes["uniform"]) and (share := purse.left(COUNTED)) is not None:
        with suppress(TooLittleTime):
            hits = counted(share)
            if hits is not None:
                volumes["counted"] = hits
                purse.spent += hits.cost
                missing = _unreliable(volumes)
    if not missing:
        return AutoVolumes(volumes, ())
    left = purse.left()
    if left is None:
        return AutoVolumes(volumes, (_used_up(budget),))
    try:
        volumes["annealed"] = annealed(missing, left)
    except TooLittleTime:
        return AutoVolumes(volumes, (_used_up(budget),))
    except NoWholeRound as error:
        return AutoVolumes(volumes, (_sentence(error),), error.cost)
    except ObjectiveError as error:
        return AutoVolumes(volumes, (_sentence(error),))
    unreached = set(missing) - {row.cutoff for row in volumes["annealed"].results}
    return AutoVolumes(volumes, (), missed=tuple(sorted(unreached)))


def _missed(cutoff: float) -> str:
    return f"No round of islands was whole at cutoff {cutoff:g}: pass a longer `budget=...`."


def _sentence(error: Exception) -> str:
    words = str(error)
    return words[0].upper() + words[1:]


def _used_up(budget: str | float) -> str:
    return f"The budget of {budget} was used up before annealing could begin: pass a longer `budget=...`."


def _may_hit(rays: Volume) -> bool:
    """Return whether uniform points near the cap may lie in the basin, by how far uniform rays end below it."""
    if not rays.body.capped:
        return False
    masses = rays.log_weights[:, -1]  # at the largest cutoff
    known = masses[np.isfinite(masses)]
    if len(known) < FEWEST_RAYS:
        return True
    missing = rays.dimension * math.log(rays.body.max_radius) - known
    return bool(missing.min() < _HOPELESS or missing.mean() < _FAR * missing.std())


def _unreliable(volumes: dict[str, Volume]) -> list[float]:
    """Return the cutoffs at which no volume is reliable."""
    first = next(iter(volumes.values()))
    return [
        row.cutoff
        for index, row in enumerate(first.results)
        if not any(volume.results[index].verdict == "reliable" for volume in volumes.values())
    ]
