"""The path of narrow bodies: an outer radius grows, and particles stay inside at all points of the grid below it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import BRIDGE, LEAST_FORCE, Place, next_on_bridge, spread, straight
from landscape.volume.annealing.readings import gradients_at, rises_at, with_radii, with_rises
from landscape.volume.annealing.star_body import StarBody

_SOFT = 0.25  # width of the hinge, in rises of the cutoff
_STIFF = 200.0  # b: penalty of a rise of one above the cutoff
_FIRST = 0.5  # first outer radius, over the first radius of the grid
_FASTEST = 0.06  # log of the largest factor by which the outer radius grows
_SLOWEST = 0.002


@dataclass(frozen=True)
class GrowthPath:
    """rho^n exp(-b sum of h(u(g phi)) over the grid's g < rho and rho itself), then a bridge to r^n.

    h is a soft hinge at the cutoff. A place is (log rho, s). First rho grows with s = 0, then s goes from 0 to 1.

    Attributes:
        body: whose grid it is.
        grid: its radii, ascending, up to the cap.
        last: log of the outer radius at which the bridge begins; infinite while a pilot seeks it.
    """

    body: StarBody
    grid: np.ndarray
    last: float = math.inf
    name: str = "growth"

    @property
    def start(self) -> Place:
        return (math.log(_FIRST * self.grid[0]), 0.0)

    def look(self, phi: Tensor, place: Place) -> Particles:
        unread = np.full((len(phi), len(self.grid) + 1), np.nan)
        return self.complete(Particles.bare(phi, unread), place)

    def complete(self, particles: Particles, place: Place) -> Particles:
        now = with_rises(self.body, particles, self.grid[: self._inner(place)], first=0)
        values = now.values.copy()
        values[:, -1] = rises_at(self.body, now.phi, np.full(len(now), math.exp(place[0])))
        now = replace(now, values=values)
        return with_radii(self.body, now) if place[1] > 0 else now

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        rho, s = place
        soft = self.body.dimension * rho - _STIFF * self._hinges(particles.values, place).sum(1)
        return (1 - s) * soft + s * particles.log_mass if s > 0 else soft

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        rho, s = place
        top = min(math.log(self.body.max_radius), self.last)
        if s > 0 or rho >= top:
            there = (rho, next_on_bridge(s))
            return there, self.complete(particles, there)
        now, step = self.log_density(particles, place), _FASTEST
        while True:
            there = (min(rho + step, top), 0.0)
            grown = self.complete(particles, there)
            if spread(self.log_density(grown, there) - now) <= 2 * wanted or step < _SLOWEST:
                return there, grown
            step *= 0.6

    def bridge_at(self, rho: float) -> list[Place]:
        """Return the places of the bridge that begins at this log of the outer radius."""
        return [(rho, next_on_bridge(index / BRIDGE)) for index in range(BRIDGE)]

    def is_end(self, place: Place) -> bool:
        return place[1] >= 1.0

    def is_bridge(self, place: Place) -> bool:
        return place[1] > 0

    def between(self, here: Place, there: Place, share: float) -> Place:
        return straight(here, there, share)

    def force(self, phi: Tensor, place: Place) -> Tensor:
        rho, s = place
        radii = np.append(self.grid[: self._inner(place)], math.exp(rho))
        total = torch.zeros_like(phi)
        for radius in radii:
            rises, gradient = gradients_at(self.body, phi, np.full(len(phi), radius))
            by_rise = _STIFF * expit((rises - 1) / _SOFT) * radius
            total -= torch.as_tensor(by_rise, device=phi.device)[:, None] * gradient
        return tangent(max(1 - s, LEAST_FORCE) * total, phi)

    def _inner(self, place: Place) -> int:
        """Return how many radii of the grid lie below the outer one."""
        return int((self.grid < math.exp(place[0]) * (1 - 1e-9)).sum())

    def _hinges(self, values: np.ndarray, place: Place) -> np.ndarray:
        read = np.column_stack([values[:, : self._inner(place)], values[:, -1]])
        return _SOFT * np.logaddexp(0.0, (read - 1) / _SOFT)
