"""The ``auto`` estimator: a first look with uniform rays, and where that is not enough, annealed chains in a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landscape.objective import Objective
from landscape.results import Volume
from landscape.volume.annealed import volume_from_chains
from landscape.volume.chains import anneal
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

    Where the pilots of the chains use up the budget, what the rays say is handed back: a lower bound.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        budget: what the chains may cost, as for :func:`landscape.volume.chains.anneal`.
        directions: uniform rays.
        path, rtol: of the chains, as for :func:`landscape.volume.chains.anneal`; the rays take an ``rtol`` of 0.001.
        options: criterion, metric, seed, max_radius, growth and first_step of both.

    >>> import math, torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = auto_volume(bowl, [4.0], metric="identity")
    >>> round(math.exp(disc.results[0].log_volume) / math.pi, 6), disc.estimator
    (4.0, 'uniform')
    """
    plain = uniform_volume(objective, cutoffs, directions=directions, **options)
    if is_enough(plain):
        return plain
    chains = anneal(objective, cutoffs, budget=budget, path=path, rtol=rtol, **options)
    return volume_from_chains(chains) if chains.done.all() else plain


def is_enough(plain: Volume) -> bool:
    """Whether uniform rays have measured the volume at all cutoffs, so that nothing else is needed."""
    return all(row.verdict == "reliable" for row in plain.results)
