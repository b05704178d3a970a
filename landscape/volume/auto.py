"""The ``auto`` estimator: a first look with uniform rays, and where that is not enough, annealed chains in a budget.

Chains that cannot be paid for leave what their pilots' coordinates tell: rays drawn along it (:func:`along_slopes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landscape.objective import Objective
from landscape.results import Volume
from landscape.volume.annealed import volume_from_chains
from landscape.volume.annealing.anneal import Stopped, anneal
from landscape.volume.compare import best_volume
from landscape.volume.importance import importance_volume
from landscape.volume.uniform import uniform_volume

BUDGET = "2min"


def auto_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    budget: str | float = BUDGET,
    directions: int = 1000,
    path: str = "auto",
    rtol: float | None = None,
    **options: Any,
) -> Volume:
    """Return the log-volume from uniform rays where it is reliable at all cutoffs, and else from annealed chains.

    Where the pilots of the chains use up two thirds of the budget, the rest goes into rays of the ``importance``
    estimator with the proposal ``slopes``, drawn along the coordinates that were learnt for the chains. Of what these
    rays and the uniform ones say, mostly two lower bounds, that is handed back which says more
    (:func:`landscape.volume.compare.best_volume`).

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        budget: what the chains may cost, as for :func:`landscape.volume.annealing.anneal.anneal`.
        directions: uniform rays.
        path, rtol: of the chains, as for :func:`landscape.volume.annealing.anneal.anneal`; the rays take an ``rtol``
        of 0.001.
        options: criterion, metric, seed, max_radius, step_ratio and first_step of both.

    >>> import math, torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = auto_volume(bowl, [4.0], metric="identity")
    >>> round(math.exp(disc.results[0].log_volume) / math.pi, 6), disc.estimator
    (4.0, 'uniform')
    """
    plain = uniform_volume(objective, cutoffs, directions=directions, **options)
    if is_enough(plain):
        return plain
    stopped: list[Stopped] = []
    chains = anneal(objective, cutoffs, budget=budget, path=path, rtol=rtol, on_stop=stopped.append, **options)
    if chains.done.all():
        return volume_from_chains(chains)
    if not is_of_use(stopped[0]):
        return plain
    drawn = along_slopes(objective, cutoffs, stopped[0], rtol=rtol, **options)
    return best_volume({"uniform": plain, "importance": drawn}, "this run")


def is_enough(plain: Volume) -> bool:
    """Whether uniform rays have measured the volume at all cutoffs, so that nothing else is needed."""
    return all(row.verdict == "reliable" for row in plain.results)


def is_of_use(stopped: Stopped) -> bool:
    """Whether there are coordinates to draw rays along, and rays enough left in the budget."""
    return stopped.shape is not None and stopped.rays > 0


def along_slopes(objective: Objective, cutoffs: Sequence[float], stopped: Stopped, **options: Any) -> Volume:
    """Return the log-volume from rays along the coordinates that a stopped run had learnt.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        stopped: what the run has left, of use.
        options: of :func:`landscape.volume.importance.importance_volume`.
    """
    assert stopped.shape is not None
    return importance_volume(objective, cutoffs, proposal=stopped.shape, directions=stopped.rays, **options)
