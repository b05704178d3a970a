"""The uniform rays that islands are compared with: those that the caller has already, or measured for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from landscape.errors import OutOfBudget
from landscape.objective import Objective
from landscape.rays import basin_radii, random_directions, require_same_function
from landscape.rays.budget import FEWEST_RAYS, RAYS, Budget, radii_within
from landscape.rays.march import March, describe_search
from landscape.results import NOTHING, Cost, Islands, Radii

REFERENCE_RAYS = 512  #: that are measured if none are given


def reference_rays(
    objective: Objective,
    cutoffs: Sequence[float],
    search: dict[str, Any],
    *,
    limit: Budget,
    given: Radii | None,
    resume: Islands | None,
    tell: Callable[[int], None],
) -> tuple[Radii, Cost]:
    """Return the rays and what they have cost here: nothing, if they were given.

    Given rays are taken if they are uniform ones of the same basin and seed. The islands then use their grid, even if
    it was settled at a smaller cutoff. Given rays keep their own tolerance.

    Args:
        objective, cutoffs: of the islands.
        search: criterion, metric, seed, max_radius, rtol, step_ratio and first_step of the islands.
        limit: the budget; a share of it is for rays.
        given: rays that are measured already; those count that are done before the first one that is not.
        resume: the run that goes on. It needs the rays that it had.
        tell: called with the percentage of the budget that is spent, after every block of rays.

    Raises:
        LandscapeError: if the given rays are of another function, though all settings are the same.
    """
    if given is not None and (chosen := _fitting(given, resume, objective, cutoffs, search, limit)) is not None:
        return chosen, NOTHING
    known = 0 if resume is None else math.floor(100 * min(limit.used(resume.cost), 1.0))
    directions = REFERENCE_RAYS if resume is None else len(resume.reference_radii)

    def measured(**other: Any) -> Radii:
        measure = partial(basin_radii, objective, cutoffs, directions=directions, **{**search, **other})
        share = RAYS if resume is None else math.inf
        return radii_within(limit, share, lambda call: measure(on_progress=call), lambda _: tell(known))

    rays = measured()
    if resume is None or (grid := resume.config["first_step_taken"]) == rays.config["first_step_taken"]:
        return rays, rays.cost
    again = measured(first_step=grid)  # that run had been given rays of such a grid
    return replace(again, config={**rays.config, "first_step_taken": grid}), rays.cost + again.cost


def _fitting(
    given: Radii,
    resume: Islands | None,
    objective: Objective,
    cutoffs: Sequence[float],
    search: dict[str, Any],
    limit: Budget,
) -> Radii | None:
    """Return the given rays at the wanted cutoffs, as if measured now; None if they are not what is needed."""
    metric, seed, grid = search["metric"], search["seed"], given.config["first_step_taken"]
    march = March(search["max_radius"], search["rtol"], search["step_ratio"], search["first_step"])
    config = describe_search(objective, search["criterion"], metric, seed, march)
    asked = {**config, "rtol": given.config["rtol"], "proposal": None, "generator": None}
    same = all(given.config.get(name) == value for name, value in asked.items()) and set(cutoffs) <= set(given.cutoffs)
    count = int(np.argmin(np.append(given.done, False)))
    if not same or count < FEWEST_RAYS:
        return None
    chosen = replace(given.at(cutoffs), config={**config, "first_step_taken": grid})
    if resume is not None:
        past, count = resume.reference_radii, len(resume.reference_radii)
        known = chosen.radii[:count]
        if grid != resume.config["first_step_taken"] or len(known) < count or not np.allclose(past, known, rtol=1e-3):
            return None
    try:
        with objective.running(), limit.deadline():
            require_same_function(given, objective, random_directions(objective, metric, seed))
    except OutOfBudget:
        return None  # measuring says what a budget must be
    return chosen.first(count)
