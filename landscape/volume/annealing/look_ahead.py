"""A cheap look ahead, for at most some thousand passes: can particles get to the cap, and do walls stand before it?"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

import numpy as np
import torch

from landscape.objective.evaluate import GRADIENT_COST
from landscape.rays.streams import Purpose, stream
from landscape.volume.annealing.path import start_of
from landscape.volume.annealing.readings import gradients_at, with_rises
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody

_RAYS, _MOST_STEPS = 8, 60
_SHARE = 4.0  # the budget must pay for so many times what a look costs
_TINY = 1e-300
_AIM = 0.5  # rise that a step aims at
_LONGEST = 0.3  # radians that a ray may turn in a step
_HIGH = 3.0  # a wall that rises so far above the cutoff will not give way by itself
_OUTSIDE = 1.2  # a cap at which the rise stays above this is not reached
_STALLED = 0.8  # share of the rise that the second half of the steps leaves, if it hardly helps
_LOOK = 2**31  # step of the random numbers: no pilot has so many levels


class Ahead(Enum):
    """What is seen ahead.

    Attributes:
        FREE: the cap may be reached, and no wall before it stands out.
        WALLED: high walls stand before the cap.
        UNSURE: no ray has come inside at the cap, and they are still on their way.
        OUT_OF_REACH: the loss at the cap stays above the cutoff, so the body ends before it.
    """

    FREE = auto()
    WALLED = auto()
    UNSURE = auto()
    OUT_OF_REACH = auto()


def look_ahead(
    path: ShellPath, seed: int, stage: int, check: Callable[[], None], affords: Callable[[float], bool]
) -> Ahead:
    """Return what stands between theta and the cap.

    A few uniform rays turn down the slope of the rise at the cap until they are inside there, or for some steps. Each
    step is that of Polyak (1969): it would reach the aim if the rise were linear. If none gets inside, and the second
    half of the steps has hardly brought them on, the cap is out of reach. Otherwise the rises at the grid's radii below
    the cap are read. Walls are seen if most rays meet one there that is high, and higher than at the cap.

    Args:
        path: of the body, whose density knows walls only after the cap.
        seed, stage: key the random numbers.
        check: called before each step; it may raise to stop.
        affords: returns whether the budget pays for so many times what was spent so far. If it has no room for a look,
            the way counts as free.
    """
    body: StarBody = path.body
    random = stream(Purpose.CHAIN, seed, 0, step=_LOOK, stage=stage)
    phi = start_of(path, body, _RAYS, random).phi
    radii, lowest, way = np.full(_RAYS, body.max_radius), np.full(_RAYS, np.inf), []
    for step in range(_MOST_STEPS):
        check()
        rises, gradient = gradients_at(body, phi, radii)
        lowest = np.minimum(lowest, rises)
        way.append(float(np.median(lowest)))
        outside = rises >= 1
        if not outside.any():
            break
        if step == 0 and not affords(_SHARE * _MOST_STEPS * _RAYS * GRADIENT_COST / body.spent.evaluations):
            return Ahead.FREE
        slope = tangent(gradient * body.max_radius, phi)
        size = torch.linalg.vector_norm(slope, dim=1, keepdim=True).clamp(min=_TINY)
        angle = np.where(outside, np.minimum((rises - _AIM) / size[:, 0].cpu().numpy(), _LONGEST), 0.0)
        turn = torch.as_tensor(angle, device=phi.device)[:, None]
        phi = sphere(phi * torch.cos(turn) - slope / size * torch.sin(turn))
    there = with_rises(body, path.look(phi, path.start), path.grid, first=path.grid_column).values
    walls = there[:, path.grid_column :].max(axis=1, initial=0.0)
    if (walls > np.maximum(there[:, 0], _HIGH)).mean() > 1 / 2:
        return Ahead.WALLED
    if lowest.min() < 1:
        return Ahead.FREE
    stalled = lowest.min() > _OUTSIDE and way[-1] > _STALLED * way[len(way) // 2]
    return Ahead.OUT_OF_REACH if stalled else Ahead.UNSURE
