"""Moves on the unit sphere that leave pi_t(phi), proportional to r(phi)^(t n), as it is.

Every chain draws from a stream of its own, so that how it moves depends on no other chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.points import Points, sphere
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import Streams, normals, uniforms
from landscape.volume.annealing.targets import Target

MOST_SHRINKS = 100
_FASTEST = 4.0  # limit on the change of velocity in a half step, over the typical speed sqrt(n)

Guess = tuple[float, float] | None


def tangent(vectors: Tensor, phi: Tensor) -> Tensor:
    """Return vectors without their parts along phi, shape (k, n)."""
    return vectors - (vectors * phi).sum(1, keepdim=True) * phi


@dataclass(frozen=True)
class Moved:
    """What a move did.

    Attributes:
        points: where the chains are now.
        accepted: probability with which each chain's proposal was taken, shape (k,); of a slice move, whether it moved.
        angle: how far each chain went, radians, shape (k,).
    """

    points: Points
    accepted: np.ndarray
    angle: np.ndarray


def slice_move(
    body: StarBody, points: Points, power: float, width: float, streams: Streams, guess: Guess = None
) -> Moved:
    """Move along a random great circle by slice sampling with shrinkage (Neal 2003; Habeck et al. 2023).

    With level rho = r(phi) · U^(1/power), the next point is drawn on the part of a random great circle where r >= rho:
    an arc of length ``width`` is laid at random around phi; what is drawn on it outside shrinks it towards phi. A
    candidate where the criterion at rho has reached the cutoff costs one evaluation; one where it has not costs the
    search for its radius, since another wall may lie nearer in.

    1. The arc may be shorter than the circle, which in Habeck et al. it is not: placed at random and never widened, it
       leaves the target as it is (Neal 2003, section 4.1), and saves the first shrinkages.

    Args:
        body: whose radius it is.
        points: where the chains are.
        power: t · n, above 0.
        width: length of the arc, radians, at most 2π.
        streams: random numbers, one stream a chain.
        guess: for :meth:`StarBody.points_at`.
    """
    across = sphere(tangent(normals(streams, points.phi), points.phi))
    level = points.effective_log_radius + np.log(uniforms(streams)) / power
    low = -width * uniforms(streams)
    high = low + width
    now, angle, tries = points.copy(), np.zeros(len(points)), np.zeros(len(points), dtype=np.int64)
    candidates, drawn = points.phi.clone(), np.zeros(len(points))

    def shrink(rows: np.ndarray) -> np.ndarray:
        """Shrink these arcs to what was drawn on them; return those that may be drawn on again."""
        left = drawn[rows] < 0
        low[rows[left]], high[rows[~left]] = drawn[rows[left]], drawn[rows[~left]]
        return rows[tries[rows] < MOST_SHRINKS]

    active = np.arange(len(points))
    while len(active):
        looking, held = active, np.zeros(len(points), dtype=bool)
        while len(looking):  # all have found a candidate before their radii are searched for, in one batch
            drawn[looking] = low[looking] + (high[looking] - low[looking]) * uniforms(streams, looking)
            tries[looking] += 1
            chosen = torch.as_tensor(looking, device=points.phi.device)
            turn = torch.as_tensor(drawn[looking], device=points.phi.device)[:, None]
            candidates[chosen] = sphere(points.phi[chosen] * torch.cos(turn) + across[chosen] * torch.sin(turn))
            held[looking] = body.is_inside(candidates[chosen], level[looking])
            looking = shrink(looking[~held[looking]])
        rows = np.flatnonzero(held)
        if not len(rows):
            break
        found = body.points_at(candidates[torch.as_tensor(rows, device=points.phi.device)], guess)
        reached = found.effective_log_radius >= level[rows]
        now.put(rows[reached], found.take(np.flatnonzero(reached)))
        angle[rows[reached]] = np.abs(drawn[rows[reached]])
        active = shrink(rows[~reached])
    # an arc that has shrunk to nothing is the point itself, which lies above its level
    return Moved(now, (angle > 0).astype(np.float64), angle)


class Trajectory:
    """Points that fly over the sphere under the force of a target, one geodesic leapfrog step after the other.

    A step is half a kick by the force, a great circle, half a kick (Byrne & Girolami 2013).

    Args:
        target: whose force it is.
        phi: where they start, shape (k, n).
        velocity: tangent at phi, shape (k, n).
        step: time of a step, of all or of each, shape (k, 1).
    """

    def __init__(self, target: Target, phi: Tensor, velocity: Tensor, step: float | Tensor) -> None:
        self.phi, self.velocity = phi, velocity
        self._target, self._step = target, step
        self._force = target.force(phi)

    def advance(self) -> None:
        """Take one step."""
        self._kick()
        self._drift()
        self._force = self._target.force(self.phi)
        self._kick()

    def kinetic(self) -> np.ndarray:
        """Return |velocity|^2 / 2, shape (k,)."""
        return self.velocity.square().sum(1).cpu().numpy() / 2

    def _kick(self) -> None:
        change = self._force * (self._step / 2)
        # cut where it would be wild: still a function of phi alone
        most = _FASTEST * math.sqrt(change.shape[1])
        size = torch.linalg.vector_norm(change, dim=1, keepdim=True)
        self.velocity = self.velocity + change * torch.clamp(most / size, max=1.0)

    def _drift(self) -> None:
        speed = torch.linalg.vector_norm(self.velocity, dim=1, keepdim=True)
        cos, sin = torch.cos(speed * self._step), torch.sin(speed * self._step)
        phi = sphere(self.phi * cos + self.velocity / speed * sin)  # rounding would take it off over many steps
        self.velocity = tangent(self.velocity * cos - self.phi * speed * sin, phi)
        self.phi = phi


def hmc_move(
    target: Target,
    points: Points,
    step: float,
    count: int,
    streams: Streams,
    varied: float = 1.0,
    kept: float = 0.0,
) -> Moved:
    """Move by geodesic Hamiltonian Monte Carlo (Byrne & Girolami 2013).

    A velocity drawn from the standard normal in the tangent space, ``count`` leapfrog steps of great circles, and a
    proposal accepted with probability min(1, exp(H - H')), H = -log density + |velocity|^2 / 2.

    1. The force need not be the gradient of the log density. Leapfrog steps are reversible and keep the volume under
       any force that depends on phi alone, and the last step weighs the density itself, so the target is left as it
       is; the force only decides how often a proposal is accepted.

    Args:
        target: the density and a force for it.
        points: where the chains are.
        step: time of a leapfrog step.
        count: number of leapfrog steps.
        streams: random numbers, one stream a chain.
        varied: each chain draws a step from so much of ``step`` to all of it, even in proportion. Where the step that
            suits changes fast on the way, some of them suit.
        kept: c, by which a chain's velocity is c v + sqrt(1 - c²) of a new one; a chain whose proposal is refused turns
            back (Horowitz 1991). Steps that a wall keeps short add up along it, instead of to a random walk.
    """
    velocity = tangent(normals(streams, points.phi), points.phi)
    if kept and points.velocity is not None:
        velocity = kept * points.velocity + math.sqrt(1 - kept**2) * velocity
    times: float | Tensor = step
    if varied < 1:
        times = points.phi.new_tensor(step * varied ** uniforms(streams))[:, None]
    trajectory = Trajectory(target, points.phi, velocity, times)
    before = trajectory.kinetic()
    for _ in range(count):
        trajectory.advance()
    after = trajectory.kinetic()
    found = target.points_at(trajectory.phi)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = target.log_density(found) - target.log_density(points) + before - after
        accepted = np.where(np.isfinite(ratio), np.exp(np.minimum(ratio, 0.0)), 0.0)
    taken = np.flatnonzero(uniforms(streams) <= accepted)
    now = points.copy()
    if kept:
        now.velocity, found.velocity = -velocity, trajectory.velocity
    now.put(taken, found.take(taken))
    cosine = (now.phi * points.phi).sum(1).clamp(-1, 1).cpu().numpy()
    return Moved(now, accepted, np.arccos(cosine))
