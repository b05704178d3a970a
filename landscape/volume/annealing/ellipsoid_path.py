"""The path of bodies that are about an ellipsoid, or what a cap or walls leave of one: it begins at points in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from landscape.rays.streams import Purpose, stream
from landscape.volume.annealing.ellipsoid import Ellipsoid, hessian_of
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import Place, start_of
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.readings import rises_at, with_radii
from landscape.volume.annealing.stretch import LinearChange
from landscape.volume.ray_weights import statistics as w

_MOST = 2048  # dimensions: a reading of all axes, and n² numbers
_RAYS = 16  # of each law, by which the better one is known
_ERRORS, _LEAST_GAIN = 3.0, 1.0  # standard errors and nats by which the ellipsoid must be better
_MOST_MISFIT = 5.0  # nats: walls that the gradients do not show cut some rays far short, or let some go far beyond
_LONGEST = 1 / 8  # step of t: particles must move off the ellipsoid to tell whether the body is elsewhere too
_MOST_TRIED, _FITS = 4, 0.5  # ellipsoids; nats by which one may misfit that is the body
_NARROWER = 3.0  # mean log density of the directions of one that walls cut, over the uniform one: else it brings little
_INSIDE, _SAME_RISE = 0.5, 0.02  # share of a ray at which the rise is that of an ellipsoid that walls cut; how nearly
_APPROACH = 12  # changes of coordinates on the way from uniform directions
_MOST_GUESSED = 64.0  # a rise counts as at most this, and at least one over it, where a wall is guessed
_TINY = 1e-300
_OF_RAYS = 2  # index of their random numbers


@dataclass(frozen=True)
class EllipsoidPath(RadiusPath):
    """q(phi)^(1-t) · m(phi)^t, with q the law of directions of points in an ellipsoid.

    q = r(phi)^n over its mean, for the ellipsoid's r. If the body is the ellipsoid, all densities are the same. Under a
    cap that cuts it, the ellipsoid covers what is left.

    Attributes:
        wall: the ellipsoid that is about the body, but for the cap.
        ellipsoid: where particles start.
    """

    wall: Ellipsoid = field(kw_only=True)
    ellipsoid: Ellipsoid = field(kw_only=True)
    name: str = "ellipsoid"

    @classmethod
    def around(cls, path: RadiusPath, wall: Ellipsoid) -> EllipsoidPath:
        """Return the path for a body that is about this ellipsoid within the cap of another path's body."""
        return cls(path.body, path.slope, wall=wall, ellipsoid=wall.within(path.body.max_radius))

    @property
    def by_slices(self) -> bool:
        return False

    def draw(self, like: Tensor, random: np.random.Generator) -> Tensor:
        return self.ellipsoid.draw(like, random)

    def law(self, particles: Particles) -> np.ndarray:
        return particles.values[:, 0]

    def look(self, phi: Tensor, place: Place) -> Particles:
        log_radii = self.ellipsoid.log_radii(phi).cpu().numpy()
        law = self.body.dimension * log_radii - self.ellipsoid.log_mean
        return with_radii(self.body, Particles.bare(phi, law[:, None]))

    def log_density(self, particles: Particles, place: Place) -> np.ndarray:
        start = (1 - place[0]) * self.law(particles)
        return start if place[0] == 0 else start + super().log_density(particles, place)

    def following(self, particles: Particles, place: Place, wanted: float) -> tuple[Place, Particles]:
        there, complete = super().following(particles, place, wanted)
        return (min(there[0], place[0] + _LONGEST), there[1]), complete

    def pull(self, phi: Tensor, place: Place, aim: np.ndarray | None = None) -> Tensor:
        start = (1 - place[0]) * self.body.dimension * self.ellipsoid.pull(phi)
        return start if place[0] == 0 else start + place[0] * super().pull(phi, place, aim)

    def _guessed(self, phi: Tensor, radius: float) -> np.ndarray:
        """Return about where each ray ends: where the quadratic is, by a reading at its wall, at the cutoff."""
        quadratic, cap = self.wall.along(phi), self.body.max_radius
        ends = quadratic.radii().clamp(max=cap)
        read = rises_at(self.body, phi, ends.cpu().numpy()).clip(1 / _MOST_GUESSED, _MOST_GUESSED)
        level = quadratic.at(ends) / torch.as_tensor(read, device=phi.device)
        return quadratic.radii(level.clamp(min=_TINY)).clamp(max=cap).cpu().numpy()

    def expected(self, phi: Tensor) -> np.ndarray:
        """Return log m of rays if the body is the ellipsoid within the cap, and m is r^n, shape (k,)."""
        log_radii = self.wall.log_radii(phi).clamp(max=math.log(self.body.max_radius))
        return self.body.dimension * log_radii.cpu().numpy()

    def strength(self, place: Place) -> float:
        return 1.0

    def approach(self) -> Sequence[LinearChange]:
        return self.ellipsoid.approach(_APPROACH)

    @property
    def stretch(self) -> LinearChange:
        return self.ellipsoid.change


@dataclass(frozen=True)
class _Tried:
    """An ellipsoid, and a few rays of its law."""

    path: EllipsoidPath
    rays: Particles

    @property
    def misfit(self) -> float:
        """Standard deviation of log m from what is expected of the ellipsoid, nats."""
        return float(np.std(self._beyond, ddof=1))

    @cached_property
    def is_cut(self) -> bool:
        """Whether further walls cut it: no ray ends beyond its wall, and inside the rise is that of its quadratic."""
        if self._beyond.max() > _FITS or self.misfit <= _FITS:
            return False
        radii = _INSIDE * np.exp(self.rays.log_radius)
        rises = rises_at(self.path.body, self.rays.phi, radii)
        expected = self.path.wall.along(self.rays.phi).at(torch.as_tensor(radii, device=self.rays.phi.device))
        return bool(np.abs(rises - expected.cpu().numpy()).max() <= _SAME_RISE)

    @cached_property
    def _beyond(self) -> np.ndarray:
        """By how much log m of its rays is above what is expected, shape (k,)."""
        return self.rays.log_mass - self.path.expected(self.rays.phi)

    def is_nearer_than(self, path: RadiusPath, rays: Particles) -> bool:
        """Return whether its law is clearly nearer to the body's own than that of a path and some rays of it."""
        own, other = _bounds(self.path, self.rays), _bounds(path, rays)
        error = _ERRORS * np.hypot(own.std(ddof=1), other.std(ddof=1)) / math.sqrt(_RAYS)
        gain = own.mean() - other.mean()
        if self.is_cut:  # by how far rays are cut is mostly chance
            narrower = self.path.law(self.rays).mean() > _NARROWER
            return bool(w.log_mean(own) - w.log_mean(other) > _LEAST_GAIN or (narrower and gain > -error))
        return bool(gain > error + _LEAST_GAIN and self.misfit <= _MOST_MISFIT)


def _bounds(path: RadiusPath, rays: Particles) -> np.ndarray:
    """Return log m / q of rays of the law q of a path, shape (k,). The mean of that is below log E[m]."""
    return rays.log_mass - path.law(rays)


def _walls(rays: Particles) -> Tensor:
    """Return where the rays end that have a wall, shape (m, n)."""
    ends = rays.phi * torch.as_tensor(np.exp(rays.log_radius), device=rays.phi.device)[:, None]
    return ends[torch.as_tensor(~rays.censored, device=ends.device)]


def from_ellipsoid(
    path: RadiusPath, seed: int, stage: int, check: Callable[[], None], affords: Callable[[float], bool]
) -> EllipsoidPath | None:
    """Return the path from the ellipsoid that gradients describe, if that is nearer to the body than the sphere is.

    The mean of log m(phi) / q(phi) under a law q is below log E[m], the more the further q is from the body's own law.
    So the law with the larger mean is nearer. A few rays of each tell them apart. If their masses are far from what is
    expected, the body is no ellipsoid, and the path from the sphere is the safer one. An ellipsoid that walls cut is an
    exception: no ray is longer than expected, and before the walls the loss is the quadratic.

    The first ellipsoid takes the loss for a quadratic. If its rays do not fit, the places where they end tell another
    one, which is the body if the loss is a function of a quadratic. Otherwise it is not taken.

    Args:
        path: of the body, from uniform directions.
        seed, stage: key the random numbers.
        check: called before each reading; it may raise to stop.
        affords: returns whether the budget pays for so many times what was spent so far.
    """
    body = path.body
    hessian = hessian_of(body, check, affords) if body.dimension <= _MOST else None
    if hessian is None:
        return None

    def rays_of(law: RadiusPath, index: int) -> Particles:
        check()
        return start_of(law, body, _RAYS, stream(Purpose.CHAIN, seed, _OF_RAYS, step=index, stage=stage))

    uniform, wall = rays_of(path, 0), Ellipsoid.of(hessian, path.slope)
    walls, laws = [_walls(uniform)], list[_Tried]()
    while wall is not None and len(laws) < _MOST_TRIED:
        law = EllipsoidPath.around(path, wall)
        found = _Tried(law, rays_of(law, 1 + len(laws)))
        if not np.isfinite(found.rays.log_mass).all():
            break
        laws.append(found)
        if found.misfit <= _FITS:
            break
        walls.append(_walls(found.rays))
        wall = Ellipsoid.through(torch.cat(walls), hessian, path.slope)
    if not laws:
        return None
    best = laws[-1] if laws[-1].misfit <= _FITS else next((law for law in laws if law.is_cut), laws[0])
    return best.path if best.is_nearer_than(path, uniform) else None
