"""The path of narrow bodies: an outer radius grows, and particles stay inside at all points of the grid below it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import LEAST_FORCE, FromSphere, Place, spread, straight
from landscape.volume.annealing.readings import gradients_at, pieces, rises_at, with_radii, with_rises
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights import statistics as w

_SOFT = 0.25  # width of the hinge while rho grows, in rises of the cutoff
_FIRM, _STIFF = 50.0, 2e4  # b: penalty of a rise of one above the cutoff; while rho grows, and at most
_FIRST = 0.5  # first outer radius, over the first radius of the grid
_FASTEST = 1.0  # log of the largest factor by which the outer radius grows
_NEAR = 20.0  # of radii nearer to theta than this share of the outer one it knows nothing
_APART = 1.25  # radii of the grid that are read lie up to this factor apart: a force that skipped some would be wrong
_HARD = 4.0  # all radii count in full once b has grown by this factor
_NOTABLE = 0.01  # as b grows, the force follows hinges that pull at least so much as the strongest of the ray
_FULL = 1.5  # a radius counts in full once the outer one is so many times as large, and on a grid as coarse
_SLOWEST = 0.002
_SAME = 1e-9  # logs of radii that differ by less are one
_INSIDE = 0.7  # share of particles inside at which the bridge begins
_BRIDGE = 8  # places of the bridge, and some before them: a wall may cost many nats of n log r
_FASTEST_WALLS = 0.35  # by which b grows at most, relatively: islands are further outside than their pilot
_LEAST_STEP = 0.02  # by which b grows at least, relatively
_LEAST_GAIN = 0.5  # of what a step outwards would gain if nothing were in the way


@dataclass(frozen=True)
class GrowthPath(FromSphere):
    """rho^n exp(-b sum of c(g) h(u(g phi)) over radii g < rho of the grid and rho itself), then a bridge to r^n.

    h is a soft hinge at the cutoff, and narrower the larger b is. A place is (log rho, b, s). First rho grows. Then b
    does, until most particles are inside. Then s goes from 0 to 1, at first by tiny steps, so that a particle that is
    hardly outside somewhere gets inside before that costs it its ray.

    Attributes:
        body: whose grid it is.
        grid: radii that are read while rho grows, ascending, up to the cap.
        others: the other radii of the body's grid, ascending, which are read once b grows.
        last: log of the outer radius at which growth ends; infinite while a pilot seeks it.
    """

    body: StarBody
    grid: np.ndarray
    others: np.ndarray
    last: float = math.inf
    name: str = "growth"

    @classmethod
    def of(cls, body: StarBody, grid: np.ndarray) -> GrowthPath:
        """Return the path of a body with such a grid, ascending, up to the cap."""
        every = max(1, math.floor(math.log(_APART) / math.log(body.step_ratio)))
        first = (np.arange(len(grid))[::-1] % every) == 0
        return cls(body, grid[first], grid[~first])

    @property
    def start(self) -> Place:
        return (math.log(_FIRST * self.grid[0]), _FIRM, 0.0)

    def look(self, phi: Tensor, place: Place) -> Particles:
        unread = np.full((len(phi), len(self.grid) + len(self.others) + 1), np.nan)
        return self.complete(Particles.bare(phi, unread), place)

    def complete(self, particles: Particles, place: Place) -> Particles:
        now = with_rises(self.body, particles, self._inner(self.grid, place), first=0)
        if place[1] > _FIRM:
            now = with_rises(self.body, now, self._inner(self.others, place), first=len(self.grid))
        values = now.values.copy()
        values[:, -1] = rises_at(self.body, now.phi, np.full(len(now), math.exp(place[0])))
        now = replace(now, values=values)
        return with_radii(self.body, now) if place[2] > 0 else now

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        rho, _, s = place
        soft = self.body.dimension * rho - self._penalties(particles, place)
        return (1 - s) * soft + s * particles.log_mass if s > 0 else soft

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        rho, b, s = place
        if s == 0 and rho < self._top:
            return self._grown(particles, place, wanted)
        particles = self.complete(particles, (rho, max(b, _HARD * _FIRM), s))
        inside = (self._read(particles.values, (rho, math.inf, s)) < 1).all(axis=1).mean()
        if s == 0 and b < _STIFF and inside < _INSIDE:
            step = _FASTEST_WALLS
            now = self._penalties(particles, place)
            while spread(self._penalties(particles, (rho, b * (1 + step), 0.0)) - now) > wanted and step > _LEAST_STEP:
                step *= 0.6
            there = (rho, min(b * (1 + step), _STIFF), 0.0)
        else:
            there = (rho, b, min(1.0, s + 1 / _BRIDGE, max(2 * s, 1 / self.body.dimension)))
        return there, self.complete(particles, there)

    def _grown(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        """Return the place of the largest outer radius at which log-weights gain with the wanted scatter.

        On its way it stops at radii of the grid.
        """
        rho, b, _ = place
        now, step = self.log_density(particles, place), _FASTEST
        while True:
            reach = min(rho + step, self._top)
            passed = self._log_grid[(self._log_grid > rho + _SAME) & (self._log_grid < reach)]
            there = (float(passed[-1]) if len(passed) else reach, b, 0.0)
            grown = self.complete(particles, there)
            gain = self.log_density(grown, there) - now
            enough = w.log_mean(gain) > _LEAST_GAIN * self.body.dimension * (there[0] - rho)
            if (enough and spread(gain) <= wanted) or step < _SLOWEST:
                return there, grown
            step *= 0.6

    def on_grid(self, place: Place) -> bool:
        """Return whether the outer radius is one of the grid.

        A ray is searched on the grid. If it has a wall at the next radius of the grid, it may end at any wall between
        the two, so it may be shorter than an outer radius there.
        """
        return bool((np.abs(self._log_grid - place[0]) < _SAME).any())

    def goal(self, rho: float) -> float:
        """Return log of the radius to reach: the next one of the grid, or the cap from a radius of the grid."""
        if self.on_grid((rho, _FIRM, 0.0)):
            return self._top
        return float(self._log_grid[np.searchsorted(self._log_grid, rho)])

    def is_end(self, place: Place) -> bool:
        return place[2] >= 1.0

    def is_bridge(self, place: Place) -> bool:
        return place[2] > 0

    def between(self, here: Place, there: Place, share: float) -> Place:
        return straight(here, there, share)

    def aim(self, particles: Particles) -> None:
        return None

    def strength(self, place: Place) -> float:
        return max(1 - place[2], LEAST_FORCE)

    def pull(self, phi: Tensor, place: Place, aim: np.ndarray | None = None) -> Tensor:
        """Return the gradient of the hinges, but for those at radii that are close to theta, or that hardly pull."""
        b = place[1]
        radii, counts = self._felt(place)
        rows, columns = np.divmod(np.arange(len(phi) * len(radii)), len(radii))
        if b > _FIRM:  # then most hinges do not pull at all
            unread = Particles.bare(phi, np.full((len(phi), len(radii)), np.nan))
            rises = with_rises(self.body, unread, radii, first=0).values
            pulls = expit((rises - 1) / _width(b)) * radii * counts
            rows, columns = np.nonzero(pulls >= _NOTABLE * pulls.max(axis=1, keepdims=True))
        total = torch.zeros_like(phi)
        for some in pieces(self.body, len(phi), len(rows)):
            chosen, at = torch.as_tensor(rows[some], device=phi.device), columns[some]
            found, gradient = gradients_at(self.body, phi[chosen], radii[at])
            pull = b * expit((found - 1) / _width(b)) * radii[at] * counts[at]
            total.index_add_(0, chosen, -torch.as_tensor(pull, device=phi.device)[:, None] * gradient)
        return tangent(total, phi)

    def _felt(self, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """Return the radii that the force reads, and by how much each counts."""
        radii, counts = self._radii(place), self._counts(place)
        near = radii < math.exp(place[0]) / _NEAR
        return radii[~near], counts[~near]

    @staticmethod
    def _inner(radii: np.ndarray, place: Place) -> np.ndarray:
        """Return those of ascending radii that lie below the outer one."""
        return radii[: int((radii < math.exp(place[0]) * (1 - 1e-9)).sum())]

    def _radii(self, place: Place) -> np.ndarray:
        """Return the radii that the density at a place reads; the last one is the outer one."""
        others = self._inner(self.others, place)[: None if place[1] > _FIRM else 0]
        return np.concatenate([self._inner(self.grid, place), others, [math.exp(place[0])]])

    @property
    def _log_grid(self) -> np.ndarray:
        return np.log(np.sort(np.concatenate([self.grid, self.others])))

    @property
    def _top(self) -> float:
        """Log of the outer radius at which growth ends."""
        return min(math.log(self.body.max_radius), self.last)

    def _read(self, values: np.ndarray, place: Place) -> np.ndarray:
        """Return the rises that the density at a place reads, shape (k, radii)."""
        own, first = len(self._inner(self.grid, place)), len(self.grid)
        others = len(self._inner(self.others, place)) if place[1] > _FIRM else 0
        return np.column_stack([values[:, :own], values[:, first : first + others], values[:, -1]])

    def _counts(self, place: Place) -> np.ndarray:
        """Return by how much each of the radii counts that a place reads, shape (radii,).

        While rho grows, all count less on a fine grid, so that its walls are as hard together as those of a coarse one.
        A radius begins at nothing as the outer one reaches it, so that growth meets no step there. As b grows, all come
        to count in full.
        """
        rho, b, _ = place
        own = self._inner(self.grid, place)
        ratio = float(self.grid[1] / self.grid[0]) if len(self.grid) > 2 else self.body.step_ratio
        growing = min(1.0, math.log(ratio) / math.log(_FULL)) * np.clip((rho - np.log(own)) / math.log(_FULL), 0.0, 1.0)
        others = len(self._radii(place)) - len(own) - 1
        counts = np.concatenate([growing, np.zeros(others), [1.0]])
        return counts + (1 - counts) * min(math.log(b / _FIRM) / math.log(_HARD), 1.0)

    def _penalties(self, particles: Particles, place: Place) -> np.ndarray:
        """Return b times the sum of h over the radii that a place reads, shape (k,)."""
        width = _width(place[1])
        hinges = width * np.logaddexp(0.0, (self._read(particles.values, place) - 1) / width)
        return place[1] * (hinges * self._counts(place)).sum(axis=1)


def _width(b: float) -> float:
    """Return the width of the hinge at a penalty."""
    return _SOFT * math.sqrt(_FIRM / b)
