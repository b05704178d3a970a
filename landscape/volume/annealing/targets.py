"""The densities that chains walk through: r^(t n), or a smooth stand-in for r^n whose penalty grows until it is r^n.

``RadiusTarget`` is pi_t(phi), proportional to r(phi)^(t n). Its radius takes a search, and on nets it jumps from ray to
ray, so a gradient says little. ``SoftTarget`` looks at the criterion at a few points of the whole ray instead. Let u(s)
be the rise at s over the rise of the cutoff, drawn as straight lines between those points, and H(s) the integral of
u ds / s from 0 to s. Then

    F_b(phi) = sum over shells m of (s_m^n - s_{m-1}^n) exp(-b H(s_m)).

It is the volume of the walkers that stay on the ray if they leave it at the rate b u per e-fold of its length. F_0 is a
constant. As the penalty b grows, it favours directions along which the criterion stays low from the centre out, and the
heaviest shell moves inwards to b u = n. If u is a power of s, F_b is proportional to r^n for any b, but for the
outermost shell. From F_b the chains go on to r^n through F_b^(1-t) r^(t n). Weights are unbiased whatever the targets
on the way, since each gain is the log-ratio of two neighbouring targets.

F_b can also grow with an outer radius R, as F of the part of each ray within R. With b = n it is a constant as R goes
to 0, and as R grows the chains are led away from walls soon after they see them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from torch import Tensor

from landscape.volume.annealing.points import Points
from landscape.volume.annealing.rises import outer_radii, rises_at, rises_gradient
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.wall import effective_log_radius_gradient

POINTS = 8  # on a ray
SHELLS = 1024
_FINER = 8  # places per shell at which the rise is integrated
_INNERMOST = 4.0  # the first point over the first shell
_ROUNDING = 1e-9  # of a radius: a point this much beyond a shell still counts as on it
_GROWING_POINTS, _FIRST = 3, 1 / 3  # on the part of a ray that grows, close enough to tell where a wall is
_BEYOND = 4.0  # without a cap: the outermost point of the soft path over the longest reference ray


class Target(Protocol):
    """An unnormalised density on the sphere."""

    @property
    def inverse_temperature(self) -> float:
        """t, from 0 to 1 for r^n."""

    def points_at(self, phi: Tensor) -> Points:
        """Return these directions with all that the density needs."""

    def complete(self, points: Points) -> Points:
        """Return points made by another target of the same path, with all that this density needs."""

    def log_density(self, points: Points) -> np.ndarray:
        """Return the log of the density, shape (k,)."""

    def force(self, phi: Tensor) -> Tensor:
        """Return about the gradient of the log density, tangent at phi, shape (k, n); a function of phi alone."""


@dataclass(frozen=True)
class RadiusTarget:
    """r(phi)^power.

    Attributes:
        body: whose radius it is.
        power: t · n.
        guess: typical log radius and its spread. The force is taken at that radius for all directions, so that it
            needs no search for the crossing.
    """

    body: StarBody
    power: float
    guess: tuple[float, float]

    @property
    def inverse_temperature(self) -> float:
        return self.power / self.body.dimension

    def points_at(self, phi: Tensor) -> Points:
        return self.body.points_at(phi, self.guess)

    def complete(self, points: Points) -> Points:
        return points

    def log_density(self, points: Points) -> np.ndarray:
        if self.power == 0:  # uniform, even on a ray that has no length
            return np.zeros(len(points))
        return self.power * points.effective_log_radius

    def force(self, phi: Tensor) -> Tensor:
        return self.power * effective_log_radius_gradient(self.body, phi, float(np.exp(self.guess[0])))


@dataclass(frozen=True)
class Ray:
    """Where F_b looks at a ray, and the shells that it sums over.

    Attributes:
        radii: where the criterion is read, ascending, shape (points,).
        shells: outer ends of the shells, ascending, shape (shells,).
        log_shell: log(s_m^n - s_{m-1}^n), shape (shells,).
        integral: takes the rises at the points to H at each shell, shape (shells, points).
        dimension: n.
    """

    radii: np.ndarray
    shells: np.ndarray
    log_shell: np.ndarray
    integral: np.ndarray
    dimension: int

    @classmethod
    def between(cls, first: float, top: float, n: int, points: int = POINTS) -> Ray:
        """Return points in geometric steps from ``first`` to ``top``, with room for all of them."""
        first = min(first, top / points)
        radii = np.geomspace(first, top, points)
        shells = np.geomspace(first / _INNERMOST, top, SHELLS)
        # H is integrated on a finer grid, of which every _FINER-th place is a shell
        places = np.geomspace(first / _INNERMOST, top, _FINER * (SHELLS - 1) + 1)
        return cls(radii, shells, _log_shell_volumes(shells, n), _rise_integrals(radii, places)[::_FINER], n)

    def log_terms(self, rises: np.ndarray, penalty: float) -> np.ndarray:
        """Return the log of each shell's term of F, shape (k, shells)."""
        return self.log_shell - penalty * (rises @ self.integral.T)

    def log_soft(self, rises: np.ndarray, penalty: float) -> np.ndarray:
        """Return log F for rises of shape (k, points): shape (k,)."""
        log_terms = self.log_terms(rises, penalty)
        largest = log_terms.max(axis=1)
        return largest + np.log(np.exp(log_terms - largest[:, None]).sum(axis=1))

    def log_soft_gradient(self, rises: np.ndarray, penalty: float) -> np.ndarray:
        """Return the derivative of log F by each rise, shape (k, points)."""
        log_terms = self.log_terms(rises, penalty)
        weight = np.exp(log_terms - log_terms.max(axis=1)[:, None])
        return -penalty * (weight / weight.sum(axis=1)[:, None]) @ self.integral

    def inside(self, rises: np.ndarray, penalty: float, level: float) -> np.ndarray:
        """Return whether the rises are at most ``level`` up to the heaviest shell, shape (k,).

        If that is not the outermost one, b u = n there, so b · level must be at least n.
        """
        heaviest = self.log_terms(rises, penalty).argmax(axis=1)
        beyond = self.radii > self.shells[heaviest, None] * (1 + _ROUNDING)
        below = ((rises <= level) | beyond).all(axis=1)
        return below & ((heaviest == SHELLS - 1) | (penalty * level >= self.dimension))


def _log_shell_volumes(shells: np.ndarray, n: int) -> np.ndarray:
    """Return log(s_m^n - s_{m-1}^n) for ascending s_m, with s_0 = 0, shape (shells,)."""
    log_volumes = n * np.log(shells)
    log_volumes[1:] += np.log(-np.expm1(-n * np.diff(np.log(shells))))
    return log_volumes


def _rise_integrals(radii: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the matrix that takes rises at ``radii`` to the integral of u ds / s up to each place.

    u is drawn as straight lines between the radii and the centre, where it is 0. So it is a sum of hat functions, one
    per radius. The integral of each is a sum of trapezoids in log s. Up to the first place u is a line through the
    centre, whose integral of u ds / s is u itself.

    Args:
        radii: ascending, shape (points,).
        places: ascending, shape (places,).
    """
    count = len(radii)
    knots, unit = np.concatenate([[0.0], radii]), np.eye(count + 1)
    hats = np.stack([np.interp(places, knots, unit[i]) for i in range(1, count + 1)], axis=1)
    trapezoids = (hats[1:] + hats[:-1]) / 2 * np.diff(np.log(places))[:, None]
    return hats[:1] + np.concatenate([np.zeros((1, count)), np.cumsum(trapezoids, axis=0)])


def ray_for(body: StarBody, radii: np.ndarray, shown: Points | None) -> Ray:
    """Return where the soft path looks at a ray.

    Args:
        body: whose rays.
        radii: of the reference rays, shape (rays,).
        shown: rays measured in the body's coordinates, if these are not the metric's; they replace the reference rays.
    """
    caps = np.full(1, body.max_radius)
    if shown is not None:
        radii, caps = np.exp(shown.log_radius), body.cap_along(shown.phi)
    top = float(np.median(caps)) if math.isfinite(body.max_radius) else _BEYOND * float(radii.max())
    known = radii[radii > 0]
    return Ray.between(float(np.median(known)) if len(known) else top, top, body.dimension)


@cache
def growing_ray(n: int) -> Ray:
    """Return where growth looks at a ray, in units of its outer radius."""
    return Ray.between(_FIRST, 1.0, n, _GROWING_POINTS)


@dataclass(frozen=True)
class SoftTarget:
    """F_b(phi)^(1-t) · r(phi)^(t n), F_b of the whole ray or of the part within an outer radius.

    Attributes:
        body: whose radius and rises they are.
        ray: where the rises are read. With an outer radius, in units of it, or of the cap if that is nearer.
        penalty: b.
        inverse_temperature: t; at 0 no radius is searched for.
        outer_radius: R, in the units of the body's radii; None for the whole ray.
    """

    body: StarBody
    ray: Ray
    penalty: float
    inverse_temperature: float
    outer_radius: float | None = None

    def points_at(self, phi: Tensor) -> Points:
        needs_radius = self.inverse_temperature > 0
        points = self.body.points_at(phi) if needs_radius else Points.bare(phi, self.body.measure_columns)
        points.rises = rises_at(self.body, phi, self.ray.radii, self.outer_radius)
        return points

    def complete(self, points: Points) -> Points:
        now = with_radii(self.body, points) if self.inverse_temperature > 0 else points
        if self.outer_radius is not None or not points.rises.shape[1]:
            now = now.copy()
            now.rises = rises_at(self.body, now.phi, self.ray.radii, self.outer_radius)
        return now

    def log_density(self, points: Points) -> np.ndarray:
        soft, n = self.ray.log_soft(points.rises, self.penalty), self.body.dimension
        if self.outer_radius is not None:
            soft = soft + n * np.log(outer_radii(self.body, points.phi, self.outer_radius))
        if self.inverse_temperature == 0:
            return soft
        return (1 - self.inverse_temperature) * soft + self.inverse_temperature * n * points.effective_log_radius

    def force(self, phi: Tensor) -> Tensor:
        def derivative(rises: np.ndarray) -> np.ndarray:
            return (1 - self.inverse_temperature) * self.ray.log_soft_gradient(rises, self.penalty)

        return rises_gradient(self.body, phi, self.ray.radii, derivative, self.outer_radius)


def with_radii(body: StarBody, points: Points) -> Points:
    """Return the points with their radii, which the soft paths do without until they need them."""
    if not np.isnan(points.log_radius).any():
        return points
    measured = body.points_at(points.phi)
    measured.rises, measured.velocity = points.rises, points.velocity
    return measured
