"""A path: densities on the sphere from the uniform one to r^n, and the places along rays that they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.stretch import LinearChange
from landscape.volume.body.points import normals, sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights import statistics as w

Place = tuple[float, ...]  #: a place on a path: the numbers that its density depends on


class Path(Protocol):
    """Unnormalised log densities, by place. The last one is log m(phi) = n log r(phi) for volume."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    @property
    def start(self) -> Place:
        """The first place, whose density is nearly constant on the sphere."""

    def draw(self, like: Tensor, random: np.random.Generator) -> Tensor:
        """Return directions at which particles start, shape (k, n), like the tensor that is passed."""

    def law(self, particles: Particles) -> np.ndarray:
        """Return the log density over the uniform one, at particles, of the directions that are drawn, shape (k,)."""

    @property
    def stretch(self) -> LinearChange | None:
        """The change of coordinates in which particles move well from the start; None for none."""

    @property
    def by_slices(self) -> bool:
        """Whether particles may also move by slices, which suit the densities m(phi)^t alone."""

    def approach(self) -> Sequence[LinearChange]:
        """Return changes of coordinates in which uniform directions come near, one after the other."""

    def look(self, phi: Tensor, place: Place) -> Particles:
        """Return these directions with all that the density at a place needs."""

    def complete(self, particles: Particles, place: Place) -> Particles:
        """Return the particles with what the density at another place needs too."""

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        """Return the log density at a place of particles that are complete for it, shape (k,)."""

    def aim(self, particles: Particles) -> np.ndarray | None:
        """Return from which of its radii each particle's pull is read, shape (k,); None if the path has no such choice.

        If it has one, a pull depends on phi and the aim alone, not on the place.
        """

    def pull(self, phi: Tensor, place: Place, aim: np.ndarray | None = None) -> Tensor:
        """Return what the force is a multiple of, tangent at phi, shape (k, n).

        The force is about the gradient of the log density. Without an aim it is found at each phi.
        """

    def strength(self, place: Place) -> float:
        """Return the force over the pull."""

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        """Return the next place, at which log-weights gain with about this standard deviation.

        The particles come back complete for it.
        """

    def is_end(self, place: Place) -> bool:
        """Return whether the density there is the last one."""

    def is_bridge(self, place: Place) -> bool:
        """Return whether the density there mixes one without radii with the last one."""

    def between(self, here: Place, there: Place, share: float) -> Place:
        """Return the place at this share of the way from one place to the next."""


LEAST_FORCE = 0.15  #: of the last penalties, so that particles still feel walls at the end of a bridge


def straight(here: Place, there: Place, share: float) -> Place:
    """Return the place at this share of the straight way from one place to another."""
    return tuple((1 - share) * a + share * b for a, b in zip(here, there, strict=True))


class FromSphere:
    """What paths have in common on which particles start at uniform directions."""

    @property
    def stretch(self) -> LinearChange | None:
        return None

    @property
    def by_slices(self) -> bool:
        return False

    def draw(self, like: Tensor, random: np.random.Generator) -> Tensor:
        return sphere(normals(random, like))

    def law(self, particles: Particles) -> np.ndarray:
        return np.zeros(len(particles))

    def approach(self) -> Sequence[LinearChange]:
        return []


def start_of(path: Path, body: StarBody, count: int, random: np.random.Generator) -> Particles:
    """Return particles at the start of a path, complete for its first place."""
    like = body.objective.theta.new_empty(count, body.dimension, dtype=torch.float64)
    return path.look(path.draw(like, random), path.start)


def start_gains(path: Path, particles: Particles) -> np.ndarray:
    """Return log weights of particles that were drawn at the start of a path, shape (k,): density over law."""
    return path.log_density(particles, path.start) - path.law(particles)


def gains(path: Path, here: Place, before: Particles, there: Place, after: Particles) -> np.ndarray:
    """Return by how much log densities grow from one place to the next, shape (k,); -inf if they are -inf there.

    Args:
        path: whose densities.
        here, there: the places.
        before, after: the same particles, complete for each of them.
    """
    return w.ratio(path.log_density(after, there), path.log_density(before, here))


def spread(values: np.ndarray) -> float:
    """Return half the distance between the 16 % and 84 % quantiles: a standard deviation that outliers do not move."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2
