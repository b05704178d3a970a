"""A move of particles over the sphere that leaves a density as it is: geodesic Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import Path
from landscape.volume.annealing.points import normals, sphere
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.schedule import Level
from landscape.volume.annealing.slices import slice_move

_FASTEST = 4.0  # limit on the change of velocity in half a step, over the typical speed sqrt(n)
_MOST_VARIED = 1.25  # steps are drawn up to so many times their length: orbits of one length may be in step


@dataclass(frozen=True)
class Moved:
    """What a move did.

    Attributes:
        particles: where they are now.
        accepted: acceptance probability of each proposal, shape (k,).
        scores: n phi minus the force, at some of the places visited, each of shape (k, n).
    """

    particles: Particles
    accepted: np.ndarray
    scores: tuple[Tensor, ...]


def move(
    path: Path, level: Level, particles: Particles, random: np.random.Generator, check: Callable[[], None]
) -> Moved:
    """Move as the level says: by slices, or by leapfrog steps along great circles (Byrne & Girolami 2013).

    With phi = A y / |A y| the density of y is that of phi times |A y|^-n. The velocity of y is standard normal in the
    tangent space. The end is accepted with probability min(1, exp(H - H')), H = -log density + |velocity|² / 2.

    The force need not be the gradient of the log density. Steps are reversible and keep the volume under any force that
    depends on phi alone, and the acceptance weighs the density itself.

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
        return Moved(particles, np.ones(len(particles)), ())
    flight = _Flight(path, level, particles.phi, random)
    before = flight.energy()
    for _ in range(level.leaps):
        check()
        flight.leap()
    proposed = path.look(flight.phi, level.place)
    with np.errstate(over="ignore", invalid="ignore"):
        gain = path.log_density(proposed, level.place) - path.log_density(particles, level.place)
        ratio = gain + before - flight.energy()
        accepted = np.where(np.isfinite(ratio), np.exp(np.minimum(ratio, 0.0)), 0.0)
    taken = random.random(len(accepted)) < accepted
    return Moved(particles.where(taken, proposed), accepted, (flight.half_way, flight.score))


def _drawn_steps(level: Level, count: int, random: np.random.Generator) -> Tensor:
    """Return the length of a leapfrog step of each particle, shape (k, 1)."""
    if level.own_steps:
        varied = _MOST_VARIED * (level.shortest / _MOST_VARIED) ** random.random((count, 1))
    else:
        varied = np.full((count, 1), level.shortest + (_MOST_VARIED - level.shortest) * random.random())
    return torch.as_tensor(level.step * varied)


class _Flight:
    """Directions in the coordinates of a level, with their velocities."""

    def __init__(self, path: Path, level: Level, phi: Tensor, random: np.random.Generator) -> None:
        self._path, self._place, self._stretch = path, level.place, level.stretch
        self._y = phi if level.stretch is None else sphere(level.stretch.invert(phi))
        self._velocity = tangent(normals(random, phi), self._y)
        self._step = _drawn_steps(level, len(phi), random).to(phi.device)
        self._most = _FASTEST * math.sqrt(phi.shape[1])
        self._read()
        self.half_way = self.score
        self._left = level.leaps // 2

    def energy(self) -> np.ndarray:
        """Return |velocity|² / 2 + n log |A y|, shape (k,)."""
        return (self._velocity.square().sum(1) / 2 + self._log_jacobian).cpu().numpy()

    def leap(self) -> None:
        """Take one step: half a kick by the force, a great circle, half a kick."""
        self._kick()
        speed = torch.linalg.vector_norm(self._velocity, dim=1, keepdim=True)
        cos, sin = torch.cos(speed * self._step), torch.sin(speed * self._step)
        y = sphere(self._y * cos + self._velocity / speed * sin)  # over many steps rounding would leave the sphere
        self._velocity = tangent(self._velocity * cos - self._y * speed * sin, y)
        self._y = y
        self._read()
        self._kick()
        self._left -= 1
        if self._left == 0:
            self.half_way = self.score

    def _kick(self) -> None:
        change = self._force * (self._step / 2)
        # a wild force is cut; it is still a function of phi alone
        size = torch.linalg.vector_norm(change, dim=1, keepdim=True)
        self._velocity = self._velocity + change * torch.clamp(self._most / size, max=1.0)

    def _read(self) -> None:
        """Find phi, the force on y, and the score."""
        n = self._y.shape[1]
        if self._stretch is None:
            self.phi = self._y
            force = self._path.force(self.phi, self._place)
            self._force, self._log_jacobian = force, self._y.new_zeros(len(self._y))
        else:
            x = self._stretch.apply(self._y)
            length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
            self.phi = x / length
            force = self._path.force(self.phi, self._place)
            pulled = self._stretch.apply(force / length - n * x / length.square())
            self._force = tangent(pulled, self._y)
            self._log_jacobian = n * length[:, 0].log()
        self.score = n * self.phi - force
