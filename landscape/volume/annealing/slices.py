"""A move of particles over the sphere for bodies with edges: slices along random great circles."""

from __future__ import annotations

import numpy as np
import torch

from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.readings import rises_at, with_radii
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.points import normals, sphere
from landscape.volume.body.star_body import StarBody

_MOST_SHRINKS = 60  # then the arc is too short to tell its ends apart, and the particle stays


def slice_move(
    body: StarBody, power: float, particles: Particles, width: float, random: np.random.Generator
) -> Particles:
    """Move along a random great circle under r(phi)^power by slice sampling with shrinkage (Neal 2003; Habeck 2023).

    With the level rho = r(phi) · U^(1/power), the next point is uniform on the part of a random arc where r >= rho. The
    arc is placed at random around phi. A candidate outside shrinks it towards phi, and another one is drawn. Outside at
    rho costs one evaluation; otherwise the radius is searched for, since another wall may be nearer in.

    The density need not have a gradient, and its edges refuse nothing: so it suits polytopes, where
    :func:`landscape.volume.annealing.moves.move` must take tiny steps.

    Args:
        body: whose volume is measured.
        power: t · n, above 0.
        particles: with their radii.
        width: length of the arc, radians.
        random: all random numbers of the move.
    """
    count = len(particles)
    across = sphere(tangent(normals(random, particles.phi), particles.phi))
    level = particles.log_radius + np.log1p(-random.random(count)) / power
    low = -width * random.random(count)
    high = low + width
    now, active = particles, np.arange(count)
    for _ in range(_MOST_SHRINKS):
        if not len(active):
            break
        chosen = torch.as_tensor(active, device=particles.phi.device)
        angle = low[active] + (high - low)[active] * random.random(len(active))
        turn = torch.as_tensor(angle, device=particles.phi.device)[:, None]
        phi = sphere(particles.phi[chosen] * torch.cos(turn) + across[chosen] * torch.sin(turn))
        at_level = np.minimum(np.exp(level[active]), body.max_radius)
        inside = rises_at(body, phi, at_level) < 1
        in_slice = np.zeros(len(active), dtype=bool)
        if inside.any():
            rows = np.flatnonzero(inside)
            candidates = phi[torch.as_tensor(rows, device=phi.device)]
            found = with_radii(body, Particles.bare(candidates, np.zeros((len(rows), 0))))
            good = found.log_radius >= level[active[rows]]
            in_slice[rows[good]] = True
            now = now.put(active[rows[good]], found.take(np.flatnonzero(good)))
        left = angle < 0
        low[active] = np.where(left & ~in_slice, angle, low[active])
        high[active] = np.where(~left & ~in_slice, angle, high[active])
        active = active[~in_slice]
    return now


def cosines(before: Particles, after: Particles) -> np.ndarray:
    """Return the cosine of the angle that each particle moved, shape (k,)."""
    return (before.phi * after.phi).sum(1).clamp(-1, 1).cpu().numpy()


def moved_per_pass(before: Particles, after: Particles, passes: float) -> float:
    """Return the mean squared sine of the angle that particles moved, for each pass over the data of a particle."""
    return float((1 - cosines(before, after) ** 2).mean()) / max(passes / len(before), 1e-9)
