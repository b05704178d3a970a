"""A cheap look ahead, for some thousand passes: do walls stand before the cap, or only there?"""

from __future__ import annotations

import numpy as np
import torch

from landscape.rays.streams import Purpose, stream
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.path import start_of
from landscape.volume.annealing.points import sphere
from landscape.volume.annealing.readings import gradients_at, with_rises
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.annealing.star_body import StarBody

_RAYS, _MOST_STEPS = 8, 60
_TINY = 1e-300
_AIM = 0.5  # rise that a step aims at
_LONGEST = 0.3  # radians that a ray may turn in a step
_HIGH = 3.0  # a wall that rises so far above the cutoff will not give way by itself
_LOOK = 2**31  # step of the random numbers: no pilot has so many levels


def walls_inside(path: ShellPath, seed: int, stage: int) -> bool:
    """Return whether the walls that matter most stand before the cap, so that a path by way of the cap is no help.

    A few uniform rays turn down the slope of the rise at the cap until they are inside there, or for some steps. Each
    step is that of Polyak (1969): it would reach the aim if the rise were linear. Then the rises at the grid's radii
    below the cap are read. The answer is yes if most rays meet a wall there that is high, and higher than at the cap.

    Args:
        path: of the body, whose density knows walls only after the cap.
        seed, stage: key the random numbers.
    """
    body: StarBody = path.body
    random = stream(Purpose.CHAIN, seed, 0, step=_LOOK, stage=stage)
    phi = start_of(path, body, _RAYS, random).phi
    radii = np.full(_RAYS, body.max_radius)
    for _ in range(_MOST_STEPS):
        rises, gradient = gradients_at(body, phi, radii)
        outside = rises >= 1
        if not outside.any():
            break
        slope = tangent(gradient * body.max_radius, phi)
        size = torch.linalg.vector_norm(slope, dim=1, keepdim=True).clamp(min=_TINY)
        angle = np.where(outside, np.minimum((rises - _AIM) / size[:, 0].cpu().numpy(), _LONGEST), 0.0)
        turn = torch.as_tensor(angle, device=phi.device)[:, None]
        phi = sphere(phi * torch.cos(turn) - slope / size * torch.sin(turn))
    there = with_rises(body, path.look(phi, path.start), path.grid, first=path.grid_column).values
    walls = there[:, path.grid_column :].max(axis=1, initial=0.0)
    return bool((walls > np.maximum(there[:, 0], _HIGH)).mean() > 1 / 2)
