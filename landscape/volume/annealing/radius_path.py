"""The path of bodies without a cap: r(phi)^(t n), with t from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import FromSphere, Place, spread, straight
from landscape.volume.annealing.readings import gradients_at, rises_at, with_radii
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import Gaussian

_MOST_GUESSED = 8.0  # a guess of a crossing lies within this factor of the radius at which the ray was read
_LEAST_SPREAD = 0.3  # of the gains, over their standard deviation, if their quantiles agree by chance
_BOWL = 2.0  # slope of log u against log r of a quadratic bowl


@dataclass(frozen=True)
class RadiusPath(FromSphere):
    """m(phi)^t, with m the mass of the ray: r^n for volume.

    A place is (t, log rho), with rho the typical radius there. The force needs the gradient of the wall where the ray
    ends. A search would cost too much, so the end is guessed from one reading at rho and the slope at theta; the guess
    is exact for a quadratic loss, wherever its minimum lies.

    Attributes:
        body: whose radius it is.
        slope: gradient of the rise at theta, shape (n,).
    """

    body: StarBody
    slope: Tensor
    name: str = "radius"

    @classmethod
    def of(cls, body: StarBody) -> RadiusPath:
        """Return the path of a body; called inside ``objective.running()``."""
        like = body.objective.theta.new_zeros(1, body.dimension, dtype=torch.float64)
        return cls(body, gradients_at(body, like, np.zeros(1))[1][0])

    @property
    def by_slices(self) -> bool:
        return not self.body.measure.terms

    @property
    def start(self) -> Place:
        return (0.0, math.log(self.body.first_step))

    def look(self, phi: Tensor, place: Place) -> Particles:
        return with_radii(self.body, Particles.bare(phi, np.zeros((len(phi), 0))))

    def complete(self, particles: Particles, place: Place) -> Particles:
        return particles

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        if place[0] == 0:  # uniform, even on a ray that has no length
            return np.zeros(len(particles))
        return place[0] * particles.log_mass

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        slopes = particles.log_mass - self.law(particles)
        known = slopes[np.isfinite(slopes)]
        if len(known) < 2:
            return (1.0, place[1]), particles
        scatter = max(spread(known), _LEAST_SPREAD * float(known.std()), 1e-9)
        radii = particles.log_radius[np.isfinite(particles.log_radius)]
        return (min(1.0, place[0] + wanted / scatter), float(np.median(radii))), particles

    def is_end(self, place: Place) -> bool:
        return place[0] >= 1.0

    def is_bridge(self, place: Place) -> bool:
        return False

    def between(self, here: Place, there: Place, share: float) -> Place:
        return straight(here, there, share)

    def aim(self, particles: Particles) -> None:
        return None

    def strength(self, place: Place) -> float:
        return place[0]

    def pull(self, phi: Tensor, place: Place, aim: np.ndarray | None = None) -> Tensor:
        if place[0] == 0:
            return torch.zeros_like(phi)
        radii = self._guessed(phi, math.exp(place[1]))
        by_wall = outward_gradient(self.body, phi, radii)
        measure = self.body.measure
        if not isinstance(measure, Gaussian):
            return self.body.dimension * by_wall
        by_radius, by_step = measure.log_mass_gradient(self.body.coordinates.steps(phi), radii)
        by_density = tangent(self.body.coordinates.gradient_in_scope(by_step), phi)
        return by_wall * torch.as_tensor(by_radius, device=phi.device)[:, None] + by_density

    def _guessed(self, phi: Tensor, radius: float) -> np.ndarray:
        """Return about where each ray ends, shape (k,): a function of phi alone."""
        rise = rises_at(self.body, phi, np.full(len(phi), radius))
        first = (phi @ self.slope).cpu().numpy()
        second = (rise - first * radius) / radius**2
        with np.errstate(invalid="ignore", divide="ignore"):
            crossing = 2 / (first + np.sqrt(first**2 + 4 * second))
            bowl = radius * np.maximum(rise, 1e-12) ** (-1 / _BOWL)
        guess = np.where(np.isfinite(crossing) & (crossing > 0), crossing, bowl)
        return np.clip(guess, radius / _MOST_GUESSED, min(radius * _MOST_GUESSED, self.body.max_radius))


def outward_gradient(body: StarBody, phi: Tensor, radii: np.ndarray) -> Tensor:
    """Return -P∇f / (∇f · phi) at radius · phi, the gradient of log r where rays end there, shape (k, n).

    Zero where a ray ends at the cap, where there is no gradient, and where f falls outwards.
    """
    rises, by_place = gradients_at(body, phi, radii)
    outwards = (by_place * phi).sum(1, keepdim=True)
    force = phi - by_place / outwards
    at_cap = torch.as_tensor((radii >= body.max_radius) & (rises < 1), device=phi.device)[:, None]
    usable = (outwards > 0) & torch.isfinite(force).all(1, keepdim=True) & ~at_cap
    return tangent(torch.where(usable, force, 0.0), phi)
