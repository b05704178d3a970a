"""The path of wide bodies under a cap: first away from high losses at the cap, then from walls on the way to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import LEAST_FORCE, Place, next_on_bridge, spread
from landscape.volume.annealing.readings import gradients_at, rises_at, with_radii, with_rises
from landscape.volume.annealing.star_body import StarBody

_INSIDE = 0.7  # share of particles inside at which a stage ends
_FASTEST, _FASTEST_WALLS = 1.5, 3.0  # penalties grow by at most these factors
_FREE = 0.5  # rises up to this cost nothing on the way to the cap


@dataclass(frozen=True)
class ShellPath:
    """exp(-(1-s) (b u + c w)) · m(phi)^s.

    u is the rise at the cap over that of the cutoff. w is the sum of max(u(g) - 1/2, 0)² over the grid's radii g below
    the cap. A place is (b, c, s). First b grows: one evaluation a particle. Then c grows, until most particles are
    inside all along their rays. Then s goes from 0 to 1.

    Attributes:
        body: which has a cap.
        grid: the radii of its grid below the cap, ascending.
    """

    body: StarBody
    grid: np.ndarray
    name: str = "shell"

    @property
    def start(self) -> Place:
        return (0.0, 0.0, 0.0)

    def look(self, phi: Tensor, place: Place) -> Particles:
        values = np.full((len(phi), 1 + len(self.grid)), np.nan)
        values[:, 0] = rises_at(self.body, phi, np.full(len(phi), self.body.max_radius))
        return self.complete(Particles.bare(phi, values), place)

    def complete(self, particles: Particles, place: Place) -> Particles:
        _, c, s = place
        if c > 0:
            particles = with_rises(self.body, particles, self.grid, first=1)
        return with_radii(self.body, particles) if s > 0 else particles

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        b, c, s = place
        density = -(1 - s) * b * particles.values[:, 0]
        if c > 0:
            density = density - (1 - s) * c * _walls(particles.values)
        return density + s * particles.log_mass if s > 0 else density

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        b, c, s = place
        rises = particles.values[:, 0]
        if s == 0 and c == 0 and (rises < 1).mean() < _INSIDE:
            return (_grown(b, wanted, rises, _FASTEST), 0.0, 0.0), particles
        if s == 0:
            particles = with_rises(self.body, particles, self.grid, first=1)
            if (particles.values < 1).all(axis=1).mean() < _INSIDE:
                return (b, _grown(c, wanted, _walls(particles.values), _FASTEST_WALLS), 0.0), particles
        there = (b, c, next_on_bridge(s))
        return there, self.complete(particles, there)

    def is_end(self, place: Place) -> bool:
        return place[2] >= 1.0

    def is_bridge(self, place: Place) -> bool:
        return place[2] > 0

    def between(self, here: Place, there: Place, share: float) -> Place:
        b, c = (_between(x, y, share) for x, y in zip(here[:2], there[:2], strict=True))
        return (b, c, here[2] + share * (there[2] - here[2]))

    def force(self, phi: Tensor, place: Place) -> Tensor:
        """Return the gradient of -b u. That of the walls would cost a pass at every radius; acceptance sees to them."""
        b, _, s = place
        radius = self.body.max_radius
        _, gradient = gradients_at(self.body, phi, np.full(len(phi), radius))
        return tangent(-b * max(1 - s, LEAST_FORCE) * radius * gradient, phi)


def _walls(values: np.ndarray) -> np.ndarray:
    """Return w of particles whose rises are known at all radii, shape (k,)."""
    return np.square(np.maximum(values[:, 1:] - _FREE, 0.0)).sum(axis=1)


def _grown(penalty: float, wanted: float, costs: np.ndarray, fastest: float) -> float:
    """Return the next penalty, by which log densities change with the wanted scatter."""
    step = wanted / max(spread(costs), 1e-12)
    if penalty > 0:
        return penalty + min(step, (fastest - 1) * penalty)
    return min(step, wanted / max(float(np.std(costs)), 1e-12))


def _between(here: float, there: float, share: float) -> float:
    """Return what lies between two penalties, geometrically unless the first is zero."""
    return here * (there / here) ** share if here > 0 else share * there
