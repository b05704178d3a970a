"""Moves on the unit sphere that leave pi_t(phi), proportional to r(phi)^(t n), as it is.

Every chain draws from a stream of its own, so how it moves does not depend on the other chains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.points import Points, sphere
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import Streams, normals, uniforms
from landscape.volume.annealing.targets import Target

MOST_SHRINKS = 100  # then the arc is too short to tell its ends apart, and the chain stays
_FASTEST = 4.0  # limit on the change of velocity in a half step, over the typical speed sqrt(n)

Guess = tuple[float, float] | None


@dataclass(frozen=True)
class Moved:
    """What a move did.

    Attributes:
        points: where the chains are now.
        accepted: acceptance probability of each chain's proposal, shape (k,); for a slice move, whether it moved.
        angle: how far each chain went, radians, shape (k,).
    """

    points: Points
    accepted: np.ndarray
    angle: np.ndarray


def slice_move(
    body: StarBody, points: Points, power: float, width: float, streams: Streams, guess: Guess = None
) -> Moved:
    """Move along a random great circle by slice sampling with shrinkage (Neal 2003; Habeck et al. 2023).

    With the level rho = r(phi) · U^(1/power), the next point is uniform on the part of a random great circle where
    r >= rho. It is drawn on an arc of length ``width`` that is placed at random around phi. A candidate outside shrinks
    the arc towards phi, and another one is drawn. A candidate at which the criterion reaches the cutoff at rho costs
    one evaluation. Otherwise its radius is searched for, since another wall may be nearer in.

    1. The arc may be shorter than the circle; in Habeck et al. it is not. Placed at random and never widened, it leaves
       the target as it is (Neal 2003, section 4.1), and saves the first shrinkages.

    Args:
        body: whose radius it is.
        points: where the chains are.
        power: t · n, above 0.
        width: length of the arc, radians, at most 2π.
        streams: random numbers, one stream per chain.
        guess: for :meth:`StarBody.points_at`.
    """
    across = sphere(tangent(normals(streams, points.phi), points.phi))
    level = points.effective_log_radius + np.log(uniforms(streams)) / power
    low = -width * uniforms(streams)
    high = low + width
    now, angle, tries = points.copy(), np.zeros(len(points)), np.zeros(len(points), dtype=np.int64)
    candidates, drawn = points.phi.clone(), np.zeros(len(points))

    def shrink(rows: np.ndarray) -> np.ndarray:
        """Shrink these arcs to the candidates drawn on them; return those that may draw again."""
        left = drawn[rows] < 0
        low[rows[left]], high[rows[~left]] = drawn[rows[left]], drawn[rows[~left]]
        return rows[tries[rows] < MOST_SHRINKS]

    def draw(rows: np.ndarray) -> np.ndarray:
        """Draw a candidate on each of these arcs; return whether it may be in the slice."""
        drawn[rows] = low[rows] + (high[rows] - low[rows]) * uniforms(streams, rows)
        tries[rows] += 1
        chosen = torch.as_tensor(rows, device=points.phi.device)
        turn = torch.as_tensor(drawn[rows], device=points.phi.device)[:, None]
        candidates[chosen] = sphere(points.phi[chosen] * torch.cos(turn) + across[chosen] * torch.sin(turn))
        return body.is_inside(candidates[chosen], level[rows])

    active = np.arange(len(points))
    while len(active):
        # first every chain finds a candidate; then all radii are searched for in one batch
        without, promising = active, np.zeros(len(points), dtype=bool)
        while len(without):
            promising[without] = draw(without)
            without = shrink(without[~promising[without]])
        rows = np.flatnonzero(promising)
        if not len(rows):
            break
        measured = body.points_at(candidates[torch.as_tensor(rows, device=points.phi.device)], guess)
        in_slice = measured.effective_log_radius >= level[rows]
        now.put(rows[in_slice], measured.take(np.flatnonzero(in_slice)))
        angle[rows[in_slice]] = np.abs(drawn[rows[in_slice]])
        active = shrink(rows[~in_slice])
    # an arc that has shrunk to nothing is the point itself, which is above its level
    return Moved(now, (angle > 0).astype(np.float64), angle)


class Trajectory:
    """Points that move over the sphere under the force of a target, by geodesic leapfrog steps.

    A step is half a kick by the force, a great circle, half a kick (Byrne & Girolami 2013).

    Args:
        target: whose force it is.
        phi: where they start, shape (k, n).
        velocity: tangent at phi, shape (k, n).
        step: time of a step, for all or for each, shape (k, 1).
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
        # a wild force is cut; it is still a function of phi alone
        most = _FASTEST * math.sqrt(change.shape[1])
        size = torch.linalg.vector_norm(change, dim=1, keepdim=True)
        self.velocity = self.velocity + change * torch.clamp(most / size, max=1.0)

    def _drift(self) -> None:
        speed = torch.linalg.vector_norm(self.velocity, dim=1, keepdim=True)
        cos, sin = torch.cos(speed * self._step), torch.sin(speed * self._step)
        phi = sphere(self.phi * cos + self.velocity / speed * sin)  # over many steps rounding would leave the sphere
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

    The velocity is standard normal in the tangent space. After ``count`` leapfrog steps along great circles the end is
    accepted with probability min(1, exp(H - H')), H = -log density + |velocity|^2 / 2.

    1. The force need not be the gradient of the log density. Leapfrog steps are reversible and keep the volume under
       any force that depends on phi alone, and the acceptance weighs the density itself. So the target stays as it is;
       the force only decides how often a proposal is accepted.

    Args:
        target: the density and a force for it.
        points: where the chains are.
        step: time of a leapfrog step.
        count: number of leapfrog steps.
        streams: random numbers, one stream per chain.
        varied: each chain draws its step from ``varied`` · ``step`` to ``step``, log-uniformly. If the step that suits
            changes fast on the way, some of them suit.
        kept: c, by which a chain's velocity is c v + sqrt(1 - c²) times a new one; a chain whose proposal is refused
            turns back (Horowitz 1991). Steps that a wall keeps short then add up along it, instead of to a random walk.
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
    proposed = target.points_at(trajectory.phi)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = target.log_density(proposed) - target.log_density(points) + before - after
        accepted = np.where(np.isfinite(ratio), np.exp(np.minimum(ratio, 0.0)), 0.0)
    taken = np.flatnonzero(uniforms(streams) <= accepted)
    now = points.copy()
    if kept:
        now.velocity, proposed.velocity = -velocity, trajectory.velocity
    now.put(taken, proposed.take(taken))
    cosine = (now.phi * points.phi).sum(1).clamp(-1, 1).cpu().numpy()
    return Moved(now, accepted, np.arccos(cosine))
