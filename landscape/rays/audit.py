"""Look for walls between the points of the grid: rays that are measured already, searched again on finer grids."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.objective.moved_weights import StepList
from landscape.rays.crossing import FirstCrossing
from landscape.rays.march import walk
from landscape.results import NOTHING, Cost

FINER = (1.2, 1.1, 1.05)  #: step ratios at which a claim of a resolution is looked at again
_CLOSER = 8.0  # the finer grid begins at this share of the first step: walls further in than half the radius are common


@dataclass(frozen=True)
class FinerRadii:
    """Radii of some rays on finer grids.

    Attributes:
        step_ratios: of the grids, shape (grids,).
        radii: shape (grids, rays), at most the radii that were given.
        cost: what they cost.
    """

    step_ratios: tuple[float, ...]
    radii: np.ndarray
    cost: Cost


def finer_radii(
    objective: Objective,
    steps: Tensor | StepList,
    radii: np.ndarray,
    *,
    cutoff: float,
    first_step: float | np.ndarray,
    criterion: str = "loss",
    step_ratios: Sequence[float] = FINER,
    rtol: float = 1e-3,
) -> FinerRadii:
    """Search these rays again on finer grids, and return their radii there. Call it inside ``objective.running()``.

    Only points of the finer grid inside a radius are evaluated. If none of them is outside the basin, the radius stays
    as it is, to the last bit.

    Args:
        objective: the loss around the trained point.
        steps: one step for r = 1 per ray, shape (rays, D).
        radii: of these rays, shape (rays,).
        cutoff, criterion: what bounds the basin.
        first_step: r_0 of the grid that gave the radii, one for all rays or shape (rays,). A finer grid begins at an
            eighth of it.
        step_ratios: of the finer grids.
        rtol: as for :func:`landscape.basin_radii`.

    >>> walled = Objective.from_function(
    ...     lambda x: torch.where((x.norm(dim=-1) > 1.2) & (x.norm(dim=-1) < 1.4), 9.0, 0.1 * x.norm(dim=-1)),
    ...     torch.zeros(2, dtype=torch.float64),
    ... )
    >>> steps = torch.eye(2, dtype=torch.float64)
    >>> finer = finer_radii(walled, steps, np.array([1.0, 2.0]), cutoff=1.0, first_step=1.0, step_ratios=[1.1])
    >>> finer.radii.round(2).tolist()
    [[1.0, 1.2]]
    """
    centre = objective.centre_of(criterion)
    first = np.broadcast_to(np.asarray(first_step, dtype=np.float64) / _CLOSER, len(radii))
    finer = np.tile(np.asarray(radii, dtype=np.float64), (len(step_ratios), 1))
    evaluations, calls, started = 0.0, 0, time.perf_counter()
    for row, step_ratio in zip(finer, step_ratios, strict=True):
        rays = np.flatnonzero(row * (1 - rtol) > first)
        points = np.floor(np.log(row[rays] * (1 - rtol) / first[rays]) / math.log(step_ratio))
        search = FirstCrossing(
            len(rays),
            np.array([cutoff - centre]),
            first_step=first[rays],
            max_radius=first[rays] * step_ratio**points,
            step_ratio=step_ratio,
            rtol=rtol,
        )
        walked = walk(search, objective, steps[torch.as_tensor(rays, device=steps.device)], criterion, centre)
        evaluations, calls = evaluations + float(walked.evaluations.sum()), calls + int(search.calls.sum())
        walls = np.isfinite(search.upper[:, 0])
        row[rays[walls]] = search.radii[walls, 0]
    return FinerRadii(tuple(step_ratios), finer, Cost(evaluations, calls, time.perf_counter() - started))


def finer_in_blocks(
    objective: Objective,
    steps_of: Callable[[list[int]], Tensor | StepList],
    rays: np.ndarray,
    radii: np.ndarray,
    **options: Any,
) -> tuple[np.ndarray, Cost]:
    """Return the radii of these rays on one finer grid, shape (rays,), and what they cost; a block at a time.

    Args:
        objective: the loss around the trained point.
        steps_of: returns the steps of rays by their indices.
        rays, radii: the indices, and the radius of each, shape (rays,).
        options: of :func:`finer_radii`, with one step ratio.
    """
    again, spent, block = [np.zeros(0)], NOTHING, objective.plan.block
    with objective.running():
        for part in np.split(np.arange(len(rays)), range(block, len(rays), block)):
            steps = steps_of([int(ray) for ray in rays[part]])
            finer = finer_radii(objective, steps, radii[part], **options)
            again.append(finer.radii[0])
            spent += finer.cost
    return np.concatenate(again), spent
