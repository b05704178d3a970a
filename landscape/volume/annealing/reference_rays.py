"""The uniform rays that islands are compared with: those that the caller has already, or measured for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from landscape.objective import Objective
from landscape.rays import basin_radii, random_directions, require_same_function
from landscape.rays.march import March, describe_search
from landscape.results import NOTHING, Cost, Islands, OnProgress, Radii
from landscape.volume.annealing.budget import RAYS, Budget, radii_within

REFERENCE_RAYS = 512  #: that are measured if none are given


def reference_rays(
    objective: Objective,
    cutoffs: Sequence[float],
    search: dict[str, Any],
    *,
    rtol: float,
    limit: Budget,
    given: Radii | None,
    resume: Islands | None,
    tell: Callable[[int], None],
) -> tuple[Radii, Cost]:
    """Return the rays and what they have cost here: nothing, if they were given.

    Args:
        objective, cutoffs: of the islands.
        search: criterion, metric, seed, max_radius, step_ratio and first_step of the islands.
        rtol: of rays that are measured; given ones may have another.
        limit: the budget; a share of it is for rays.
        given: uniform rays that are measured already. They are taken if they are of the same basin, seed and grid.
        resume: the run that goes on. It needs the rays that it had.
        tell: called with the percentage of the budget that is spent, after every block of rays.

    Raises:
        LandscapeError: if the given rays are of another function, though all settings are the same.
    """
    if given is not None and (chosen := _fitting(given, resume, objective, cutoffs, search, rtol)) is not None:
        return chosen, NOTHING
    known = 0 if resume is None else math.floor(100 * min(limit.used(resume.cost), 1.0))
    directions = REFERENCE_RAYS if resume is None else len(resume.reference_radii)

    def measure(on_block: OnProgress[Radii]) -> Radii:
        return basin_radii(objective, cutoffs, directions=directions, rtol=rtol, on_progress=on_block, **search)

    measured = radii_within(limit, RAYS if resume is None else math.inf, measure, lambda _: tell(known))
    return measured, measured.cost


def _fitting(
    given: Radii,
    resume: Islands | None,
    objective: Objective,
    cutoffs: Sequence[float],
    search: dict[str, Any],
    rtol: float,
) -> Radii | None:
    """Return the given rays at the wanted cutoffs, or None if they are not what is needed."""
    metric, seed = search["metric"], search["seed"]
    march = March(search["max_radius"], rtol, search["step_ratio"], search["first_step"])
    asked = describe_search(objective, search["criterion"], metric, seed, march)
    asked |= {"rtol": given.config["rtol"], "proposal": None, "generator": None}
    same = all(given.config.get(name) == value for name, value in asked.items())
    if not (same and given.done.all() and set(cutoffs) <= set(given.cutoffs)):
        return None
    chosen = given.at(cutoffs)
    if resume is not None:
        past = resume.reference_radii
        if len(past) > chosen.directions or not np.allclose(past, chosen.radii[: len(past)], rtol=1e-3):
            return None
        chosen = chosen.first(len(past))
    with objective.running():
        require_same_function(given, objective, random_directions(objective, metric, seed))
    return chosen
