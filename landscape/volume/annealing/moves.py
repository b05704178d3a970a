"""A move of particles over the sphere that leaves a density as it is: Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import Path
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.schedule import Level
from landscape.volume.annealing.slices import slice_move
from landscape.volume.body.points import normals

_FASTEST = 4.0  # limit on the change of velocity in half a step, over the typical speed sqrt(n)
_FORGETS = 1.5  # radians after which a velocity keeps 1/e: about a quarter of a circle
_REMEMBERED, _RARE = 0.8, 0.05  # of the moves of a level, at the next; share of moves that stray
_MOST_VARIED = 1.25  # steps are drawn up to so many times their length: orbits of one length may be in step


@dataclass(frozen=True)
class Moved:
    """What a move did.

    Attributes:
        particles: where they are now.
        accepted: acceptance probability of each proposal, shape (k,).
        strayed: which proposals have another aim than where they began, shape (k,), bool.
        scores: n phi minus the force, at some of the places visited, each of shape (k, n).
    """

    particles: Particles
    accepted: np.ndarray
    strayed: np.ndarray
    scores: tuple[Tensor, ...]


def move(
    path: Path, level: Level, particles: Particles, random: np.random.Generator, check: Callable[[], None]
) -> Moved:
    """Move as the level says: by slices, or by leapfrog steps (Neal 2011) of points on the rays.

    The end is accepted with probability min(1, exp(H - H')), with H = -log density + n |x|² / 2 + |velocity|² / 2.
    Between kicks points turn exactly as under a normal density (Shahbaba, Lan, Johnson & Neal 2014).

    If the level says so, particles keep most of their velocity after a short move, so that many of them do not make a
    random walk (Horowitz 1991). A particle that stays where it is turns back.

    The force need not be the gradient of the log density. Steps are reversible and keep the volume under any force that
    depends on the point alone, and the acceptance weighs the density itself.

    If the level says so, a move keeps the aim of the place where it begins. It is refused if its end has another aim,
    because the way back would then differ from the way there.

    Args:
        path, level: the density and how to move.
        particles: complete for the level's place.
        random: all random numbers of the move.
        check: called before every leapfrog step; it may raise to stop.
    """
    if level.slices and isinstance(path, RadiusPath):
        for _ in range(level.slices):
            check()
            particles = slice_move(path.body, level.place[0] * path.body.dimension, particles, level.width, random)
        return Moved(particles, np.ones(len(particles)), np.zeros(len(particles), dtype=bool), ())
    flight = _Flight(path, level, particles, random)
    before, back = flight.energy(), -flight.velocity
    for _ in range(level.leaps):
        check()
        flight.leap()
    proposed = path.look(flight.phi, level.place)
    aim_there = path.aim(proposed)
    if flight.aim is None or aim_there is None:
        strayed = np.zeros(len(particles), dtype=bool)
    else:
        strayed = np.not_equal(flight.aim, aim_there)
    with np.errstate(over="ignore", invalid="ignore"):
        gain = path.log_density(proposed, level.place) - path.log_density(particles, level.place)
        ratio = gain + before - flight.energy()
        accepted = np.where(np.isfinite(ratio) & ~(strayed & level.aimed), np.exp(np.minimum(ratio, 0.0)), 0.0)
    taken = random.random(len(accepted)) < accepted
    particles = replace(particles, velocity=back, pull=flight.first_pull)
    proposed = replace(proposed, velocity=flight.velocity, pull=flight.lasting_pull)
    return Moved(particles.where(taken, proposed), accepted, strayed, (flight.half_way, flight.score))


def _drawn_steps(level: Level, count: int, random: np.random.Generator) -> Tensor:
    """Return the length of a leapfrog step of each particle, shape (k, 1)."""
    if level.own_steps:
        varied = _MOST_VARIED * (level.shortest / _MOST_VARIED) ** random.random((count, 1))
    else:
        varied = np.full((count, 1), level.shortest + (_MOST_VARIED - level.shortest) * random.random())
    return torch.as_tensor(level.step * varied)


class Straying:
    """How often moves have ended with another aim than where they began; a pilot counts that."""

    def __init__(self) -> None:
        self._moves = self._strayed = 0.0

    def add(self, moved: Moved) -> None:
        """Count some moves."""
        self._moves += len(moved.strayed)
        self._strayed += float(moved.strayed.sum())

    def fade(self) -> None:
        """Let what has been counted count for less, since another level comes."""
        self._moves, self._strayed = _REMEMBERED * self._moves, _REMEMBERED * self._strayed

    @property
    def is_rare(self) -> bool:
        """Whether it pays to refuse such moves, because the others are then cheaper; by Laplace's rule of succession.

        >>> straying = Straying()
        >>> straying.is_rare
        False
        """
        return (self._strayed + 1) / (self._moves + 2) < _RARE


class _Flight:
    """Points x = A z on the rays of some directions, in the coordinates z of a level, with their velocities.

    On its ray a point is as far from theta as a normal one with variance 1/n. So z has the density of a ray times
    exp(-n |A z|² / 2). Between kicks z turns as under exp(-n |z|² / 2), and the kicks make up for the difference.
    """

    def __init__(self, path: Path, level: Level, particles: Particles, random: np.random.Generator) -> None:
        phi = particles.phi
        self._path, self._place = path, level.place
        self._stretch = None if level.stretch is None else level.stretch.rounded()
        self.aim = path.aim(particles)
        self._kept_aim = self.aim if level.aimed else None
        n = phi.shape[1]
        self._frequency = math.sqrt(n)
        lengths = np.sqrt(random.chisquare(n, (len(phi), 1)) / n)
        x = phi * torch.as_tensor(lengths, device=phi.device)
        self._z = x if level.stretch is None else level.stretch.invert(x)
        fresh = normals(random, phi)
        angle = self._frequency * _drawn_steps(level, len(phi), random).to(phi.device)
        self.velocity = fresh
        if level.goes_on and particles.velocity is not None:
            kept = torch.exp(-level.leaps * angle / _FORGETS)
            self.velocity = kept * particles.velocity + torch.sqrt(1 - kept.square()) * fresh
        self._cos, self._sin = torch.cos(angle), torch.sin(angle)
        self._half = angle / self._frequency / 2
        self._most = _FASTEST * self._frequency
        self._read(particles.pull)
        self.half_way = self.score
        self.first_pull = self.lasting_pull
        self._left = level.leaps // 2

    @property
    def lasting_pull(self) -> Tensor | None:
        """The pull where the point is now, if it is the same at other places of the path."""
        return None if self.aim is None else self.pull

    def energy(self) -> np.ndarray:
        """Return |velocity|² / 2 + n |x|² / 2, shape (k,)."""
        return (self.velocity.square().sum(1) + self._frequency**2 * self._squared).cpu().numpy() / 2

    def leap(self) -> None:
        """Take one step: half a kick by the force, a turn, half a kick."""
        self._kick()
        z, turned = self._z, self.velocity / self._frequency
        self._z = z * self._cos + turned * self._sin
        self.velocity = (turned * self._cos - z * self._sin) * self._frequency
        self._read()
        self._kick()
        self._left -= 1
        if self._left == 0:
            self.half_way = self.score

    def _kick(self) -> None:
        change = self._force * self._half
        # a wild force is cut; it is still a function of z alone
        size = torch.linalg.vector_norm(change, dim=1, keepdim=True)
        self.velocity = self.velocity + change * torch.clamp(self._most / size, max=1.0)

    def _read(self, pull: Tensor | None = None) -> None:
        """Find the direction phi, its pull unless that is known, the force of a kick, and the score."""
        n, stretch = self._z.shape[1], self._stretch
        x = self._z if stretch is None else stretch.apply(self._z)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        self.phi, self._squared = x / length, length[:, 0].square()
        if pull is None:
            pull = self._path.pull(self.phi, self._place, self._kept_aim)
        self.pull = pull
        force = self._path.strength(self._place) * self.pull
        self._force = force / length
        if stretch is not None:  # the turn follows n |z|² / 2, and the density has n |x|² / 2
            self._force = stretch.transpose_apply(self._force - n * x) + n * self._z
        self.score = n * self.phi - force
