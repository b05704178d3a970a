"""The ``auto`` estimator: uniform rays first; if these are not enough, annealed chains within a budget.

If the pilots exhaust the budget, the rest goes into rays along coordinates that they learned (:func:`along_slopes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.objective import Objective
from landscape.results import AnnealedVolume, Chains, Volume
from landscape.results.best import best_volume
from landscape.volume.annealed import volume_from_chains
from landscape.volume.annealing.anneal import Stopped, anneal
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
    estimator with the proposal ``slopes``, drawn along the coordinates that the pilots learned. The result holds the
    best estimate at each cutoff (:func:`landscape.volume.best_volume`), from these rays mostly a lower bound.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        budget: what the chains may cost, as for :func:`landscape.volume.annealing.anneal.anneal`.
        directions: number of uniform rays.
        path, rtol: of the chains, as for :func:`landscape.volume.annealing.anneal.anneal`. The uniform rays take an
            ``rtol`` of 0.001.
        options: criterion, metric, seed, max_radius, step_ratio and first_step of both.

    >>> import math
    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = auto_volume(bowl, [4.0], metric="identity")
    >>> round(math.exp(disc.results[0].log_volume) / math.pi, 6), disc.estimator
    (4.0, 'uniform')
    """

    def chains(on_stop: Callable[[Stopped], None]) -> AnnealedVolume | Chains:
        annealed = anneal(objective, cutoffs, budget=budget, path=path, rtol=rtol, on_stop=on_stop, **options)
        return volume_from_chains(annealed) if annealed.done.all() else annealed

    return measure_in_steps(
        budget,
        uniform=lambda: uniform_volume(objective, cutoffs, directions=directions, **options),
        chains=chains,
        slopes=lambda stopped: along_slopes(objective, cutoffs, stopped, rtol=rtol, **options),
    ).best


@dataclass(frozen=True)
class AutoVolumes:
    """What ``auto`` measured.

    Attributes:
        volumes: by estimator, in the order in which they were measured.
        notes: why it measured these and nothing else.
    """

    volumes: dict[str, Volume]
    notes: tuple[str, ...]

    @property
    def best(self) -> Volume:
        """The volume to report: the best estimate at each cutoff."""
        return best_volume(self.volumes, "this run")


def measure_in_steps(
    budget: str | float,
    *,
    uniform: Callable[[], Volume],
    chains: Callable[[Callable[[Stopped], None]], AnnealedVolume | Chains],
    slopes: Callable[[Stopped], Volume],
) -> AutoVolumes:
    """Decide what ``auto`` measures; the callables measure it, and may show and keep what they measure.

    Args:
        budget: what the chains may cost, for the notes.
        uniform: measures uniform rays.
        chains: measures annealed chains, called with ``on_stop``. Returns their volume, or the unfinished chains if the
            pilots used up the budget.
        slopes: measures rays along the coordinates that the pilots learned.
    """
    plain = uniform()
    if all(row.verdict == "reliable" for row in plain.results):
        return AutoVolumes({"uniform": plain}, ("The uniform rays measure V: annealed chains would add nothing.",))
    leftovers: list[Stopped] = []
    annealed = chains(leftovers.append)
    if isinstance(annealed, AnnealedVolume):
        return AutoVolumes({"uniform": plain, "annealed": annealed}, ())
    (stopped,) = leftovers
    pilots = f"{len(annealed.trace):,} temperatures of their pilots, {annealed.cost.evaluations:,.0f} passes"
    if stopped.preconditioner is None or stopped.rays == 0:
        note = f"The budget of {budget} was used up before the chains began ({pilots}): pass a longer `budget=...`."
        return AutoVolumes({"uniform": plain}, (note,))
    volumes = {"uniform": plain, "importance": slopes(stopped)}
    note = (
        f"Two thirds of the budget of {budget} were used up before the chains began ({pilots}). The rest went into "
        f"{stopped.rays:,} rays along the coordinates that the pilots learned. For chains pass a longer `budget=...`."
    )
    return AutoVolumes(volumes, (note,))


def along_slopes(objective: Objective, cutoffs: Sequence[float], stopped: Stopped, **options: Any) -> Volume:
    """Return the log-volume from rays along the coordinates that a stopped run had learned.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        stopped: what the run has left, with coordinates and rays.
        options: of :func:`landscape.volume.importance.importance_volume`.
    """
    assert stopped.preconditioner is not None
    return importance_volume(objective, cutoffs, proposal=stopped.preconditioner, directions=stopped.rays, **options)
