"""The path of wide bodies under a cap: first away from high losses at the cap, then from walls on the way to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import LEAST_FORCE, FromSphere, Place, spread
from landscape.volume.annealing.readings import gradients_at, rises_at, with_radii, with_rises
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights import statistics as w

_INSIDE = 0.97  # share of particles below the cutoff at these radii at which b stops growing
_FREE_WAY = 0.9  # share inside all along their rays at which the bridge begins; the others are lost on it
_FASTEST, _FASTEST_WALLS = 1.5, 3.0  # penalties grow by at most these factors
_FREE = 0.5  # rises up to this cost nothing on the way to the cap
_LEAST_ON_BRIDGE = 1 / 8  # smallest step
_LEFT = 0.3  # effective share of the particles that a step leaves at least
_BELOW = (0.7, 0.5)  # radii over the cap at which the loss is held down too: most walls are smooth, and stand there


@dataclass(frozen=True)
class ShellPath(FromSphere):
    """exp(-(1-s) (b u + c w)) · m(phi)^s.

    u(g) is the rise of the loss at the radius g, divided by the rise at the cutoff. u is the largest of u(g) at the
    cap and at two radii below it. w is the sum of max(u(g) - 1/2, 0)² over the grid's radii below the cap. A place is
    (b, c, s). First b grows, until most particles have u < 1. Then c grows, until most are inside all along their rays.
    Often they are already. Then s goes from 0 to 1.

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
        values = np.full((len(phi), self.grid_column + len(self.grid)), np.nan)
        values[:, : self.grid_column] = self._rises(phi)
        return self.complete(Particles.bare(phi, values), place)

    def complete(self, particles: Particles, place: Place) -> Particles:
        _, c, s = place
        if c > 0:
            particles = with_rises(self.body, particles, self.grid, first=self.grid_column)
        return with_radii(self.body, particles) if s > 0 else particles

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        b, c, s = place
        density = -(1 - s) * b * self._highest(particles)
        if c > 0:
            density = density - (1 - s) * c * self._walls(particles)
        return density + s * particles.log_mass if s > 0 else density

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        b, c, s = place
        if s == 0 and c == 0 and (self._highest(particles) < 1).mean() < _INSIDE:
            return (_grown(b, wanted, self._highest(particles), _FASTEST), 0.0, 0.0), particles
        if s == 0:
            particles = with_rises(self.body, particles, self.grid, first=self.grid_column)
            if (particles.values < 1).all(axis=1).mean() < _FREE_WAY:
                return (b, _grown(c, wanted, self._walls(particles), _FASTEST_WALLS), 0.0), particles
        particles = with_radii(self.body, particles)
        slopes = particles.log_mass - self.log_density(particles, (b, c, 0.0))
        return (b, c, _next_on_bridge(s, slopes, wanted)), particles

    def is_end(self, place: Place) -> bool:
        return place[2] >= 1.0

    def is_bridge(self, place: Place) -> bool:
        return place[2] > 0

    def between(self, here: Place, there: Place, share: float) -> Place:
        b, c = (_between(x, y, share) for x, y in zip(here[:2], there[:2], strict=True))
        return (b, c, here[2] + share * (there[2] - here[2]))

    def aim(self, particles: Particles) -> np.ndarray:
        """Return the index of the radius at which u is read."""
        return particles.values[:, : self.grid_column].argmax(axis=1)

    def pull(self, phi: Tensor, place: Place, aim: np.ndarray | None = None) -> Tensor:
        """Return the gradient of -u. That of w would cost a pass at every radius; acceptance sees to it."""
        radii = self._radii[self._rises(phi).argmax(axis=1) if aim is None else aim]
        _, gradient = gradients_at(self.body, phi, radii)
        return tangent(-gradient * torch.as_tensor(radii, device=phi.device)[:, None], phi)

    def strength(self, place: Place) -> float:
        b, _, s = place
        return b * max(1 - s, LEAST_FORCE)

    @property
    def grid_column(self) -> int:
        """Column of a particle's values that holds the rise at the first radius of the grid."""
        return len(self._radii)

    @property
    def _radii(self) -> np.ndarray:
        """The cap, and radii below it at which the loss is held down too."""
        return self.body.max_radius * np.array([1.0, *_BELOW])

    def _rises(self, phi: Tensor) -> np.ndarray:
        """Return the rises at these radii, shape (k, radii)."""
        count = len(self._radii)
        rays = phi.repeat_interleave(count, dim=0)
        return rises_at(self.body, rays, np.tile(self._radii, len(phi))).reshape(-1, count)

    def _highest(self, particles: Particles) -> np.ndarray:
        """Return u of particles, shape (k,)."""
        return particles.values[:, : self.grid_column].max(axis=1)

    def _walls(self, particles: Particles) -> np.ndarray:
        """Return w of particles whose rises are known at all radii, shape (k,)."""
        return np.square(np.maximum(particles.values[:, self.grid_column :] - _FREE, 0.0)).sum(axis=1)


def _next_on_bridge(s: float, slopes: np.ndarray, wanted: float) -> float:
    """Return the next share of the last density on a bridge.

    It is as large as the scatter of the gains allows, weighed by the particles that are left after the step. Those that
    a wall has cut off are gone then, and no number of small steps would bring them back.

    Args:
        s: the share now.
        slopes: what a particle's log density gains as s goes from 0 to 1, shape (k,).
        wanted: standard deviation of the gains.

    >>> _next_on_bridge(0.0, np.zeros(9), 0.5), _next_on_bridge(0.0, np.array([-1e4, 0.0, 0.0, 0.0]), 0.5)
    (1.0, 1.0)
    >>> _next_on_bridge(0.5, np.linspace(0.0, 100.0, 9), 0.5)
    0.625
    """
    step = 1.0 - s
    while step > _LEAST_ON_BRIDGE:
        gains = step * slopes
        if w.effective_sample_size(gains) >= _LEFT * len(gains) and w.weighted_spread(gains) <= wanted:
            break
        step *= 0.7
    return min(1.0, s + max(step, _LEAST_ON_BRIDGE))


def _grown(penalty: float, wanted: float, costs: np.ndarray, fastest: float) -> float:
    """Return the next penalty, by which log densities change with the wanted scatter."""
    step = wanted / max(spread(costs), 1e-12)
    if penalty > 0:
        return penalty + min(step, (fastest - 1) * penalty)
    return min(step, wanted / max(float(np.std(costs)), 1e-12))


def _between(here: float, there: float, share: float) -> float:
    """Return what lies between two penalties, geometrically unless the first is zero."""
    return here * (there / here) ** share if here > 0 else share * there
