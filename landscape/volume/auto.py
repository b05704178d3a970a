"""The ``auto`` estimator: uniform rays first; if these are not enough, annealed chains within a budget.

If the pilot exhausts the budget, the rest goes into rays along the coordinates that it learnt (:func:`along_slopes`).
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
    """Return the log-volume from uniform rays if it is reliable at all cutoffs, and otherwise from annealed chains.

    If the pilots of the chains use up two thirds of the budget, the rest goes into rays of the ``importance``
    estimator with the proposal ``slopes``, drawn along the coordinates that the pilots learnt. The result is then the
    better one of these rays and the uniform ones (:func:`landscape.volume.compare.best_volume`), mostly a lower bound.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        budget: what the chains may cost, as for :func:`landscape.volume.annealing.anneal.anneal`.
        directions: number of uniform rays.
        path, rtol: of the chains, as for :func:`landscape.volume.annealing.anneal.anneal`. The uniform rays take an
            ``rtol`` of 0.001.
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
    """Return whether uniform rays have measured the volume at all cutoffs, so that nothing else is needed."""
    return all(row.verdict == "reliable" for row in plain.results)


def is_of_use(stopped: Stopped) -> bool:
    """Return whether there are coordinates to draw rays along, and enough rays left in the budget."""
    return stopped.preconditioner is not None and stopped.rays > 0


def along_slopes(objective: Objective, cutoffs: Sequence[float], stopped: Stopped, **options: Any) -> Volume:
    """Return the log-volume from rays along the coordinates that a stopped run had learnt.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        stopped: what the run has left; :func:`is_of_use` must hold.
        options: of :func:`landscape.volume.importance.importance_volume`.
    """
    assert stopped.preconditioner is not None
    return importance_volume(objective, cutoffs, proposal=stopped.preconditioner, directions=stopped.rays, **options)
