"""What the chains are drawn from on the way: r^(t n), or a smooth stand-in for r^n that hardens into it.

``RadiusTarget`` is pi_t(phi), proportional to r(phi)^(t n). Its radius takes a search, and on nets it jumps from ray to
ray, so that a gradient says little. ``SoftTarget`` looks at the criterion on a few points of the whole ray instead.
With u(s) the rise at s over the rise of the cutoff, drawn as straight lines between those points, and H(s) the integral
of u(s) ds / s from 0 to s,

    F_b(phi) = sum over shells m of (s_m^n - s_{m-1}^n) exp(-b H(s_m))

is the volume that walkers keep who leave the ray at rate b u for each e-fold of its length. F_0 is a constant; as b
grows, directions are favoured along which the criterion stays low from the centre out, and the shell that weighs most
moves inwards to where b u = n. Where u is a power of s, F_b is proportional to r^n at once, but for the outermost
shell. From F_b the chains go on to r^n by F_b^(1-t) r^(t n). Every weight stays unbiased: whatever the path between its
ends, the gains are log-ratios of neighbouring targets.

F_b of the part of each ray within an outer radius R can also grow: with b = n it is a constant as R goes to 0; as R
grows, the chains are led away from walls soon after they come into sight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from torch import Tensor

from landscape.volume.annealing.points import Points
from landscape.volume.annealing.star_body import StarBody

POINTS = 8  # on a ray
SHELLS = 1024
_GROWING_POINTS, _FIRST = 3, 1 / 3  # on the part of a ray that grows, close enough to tell where a wall is
_BEYOND = 4.0  # outermost point of the soft path where there is no cap, over the longest ray of the first look


class Target(Protocol):
    """An unnormalised density on the sphere, with t of how far on the way to r^n it is."""

    @property
    def inverse_temperature(self) -> float:
        """t: 1 for r^n."""

    def points_at(self, phi: Tensor) -> Points:
        """Return these directions with all that the density needs."""

    def complete(self, points: Points) -> Points:
        """Return points that another target of the same path has made, with all that this density needs."""

    def log_density(self, points: Points) -> np.ndarray:
        """Return its logarithm, shape (k,)."""

    def force(self, phi: Tensor) -> Tensor:
        """Return about the gradient of its logarithm, tangent at phi, shape (k, n); a function of phi alone."""


@dataclass(frozen=True)
class RadiusTarget:
    """r(phi)^power.

    Attributes:
        body: whose radius it is.
        power: t · n.
        guess: typical log radius and its spread. The force is taken at that radius for all directions: no search for
            the crossing along the way.
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
        if self.power == 0:  # uniform, also where a ray has no length at all
            return np.zeros(len(points))
        return self.power * points.effective_log_radius

    def force(self, phi: Tensor) -> Tensor:
        return self.power * self.body.effective_log_radius_gradient(phi, float(np.exp(self.guess[0])))


@dataclass(frozen=True)
class Ray:
    """The points on a ray and the shells between them, for n dimensions.

    Attributes:
        radii: where the criterion is looked at, shape (points,).
        log_shell: log(s_m^n - s_{m-1}^n), shape (shells,).
        integral: takes rises at the points to the integral up to each shell, shape (shells, points).
        shells: their outer ends, shape (shells,).
        dimension: n.
    """

    radii: np.ndarray
    log_shell: np.ndarray
    integral: np.ndarray
    shells: np.ndarray
    dimension: int

    @classmethod
    def between(cls, first: float, top: float, n: int, points: int = POINTS) -> Ray:
        """Return points in geometric steps from ``first``, or further in, to ``top``."""
        first = min(first, top / points)
        radii = np.geomspace(first, top, points)
        shells = np.geomspace(first / 4, top, SHELLS)
        log_shell = n * np.log(shells)
        log_shell[1:] += np.log(-np.expm1(-n * np.diff(np.log(shells))))
        fine = np.geomspace(first / 4, top, 8 * (SHELLS - 1) + 1)
        # the rise at each fine place as straight lines between the points and the centre, which has none
        knots, unit = np.concatenate([[0.0], radii]), np.eye(points + 1)
        hats = np.stack([np.interp(fine, knots, unit[i]) for i in range(1, points + 1)], axis=1)
        steps = (hats[1:] + hats[:-1]) / 2 * np.diff(np.log(fine))[:, None]
        # up to the first shell the line from the centre has u(s) ds / s = u(s), integrated
        integral = hats[:1] + np.concatenate([np.zeros((1, points)), np.cumsum(steps, axis=0)])
        return cls(radii, log_shell, integral[::8], shells, n)

    def shares(self, rises: np.ndarray, penalty: float) -> np.ndarray:
        """Return log of each shell's term of F, shape (k, shells)."""
        return self.log_shell - penalty * (rises @ self.integral.T)

    def log_soft(self, rises: np.ndarray, penalty: float) -> np.ndarray:
        """Return log F for rises of shape (k, points): shape (k,)."""
        terms = self.shares(rises, penalty)
        top = terms.max(axis=1)
        return top + np.log(np.exp(terms - top[:, None]).sum(axis=1))

    def pull(self, rises: np.ndarray, penalty: float) -> np.ndarray:
        """Return the derivative of log F by each rise, shape (k, points)."""
        terms = self.shares(rises, penalty)
        weight = np.exp(terms - terms.max(axis=1)[:, None])
        return -penalty * (weight / weight.sum(axis=1)[:, None]) @ self.integral

    def inside(self, rises: np.ndarray, penalty: float, level: float) -> np.ndarray:
        """Return whether the rises are below a level up to the shell that weighs most, shape (k,).

        A shell in between weighs most where b u = n.
        """
        heaviest = self.shares(rises, penalty).argmax(axis=1)
        below = ((rises <= level) | (self.radii > self.shells[heaviest, None] * (1 + 1e-9))).all(axis=1)
        return below & ((heaviest == SHELLS - 1) | (penalty * level >= self.dimension))


def ray_for(body: StarBody, radii: np.ndarray, shown: Points | None) -> Ray:
    """Return the points of the soft path for these radii of the first look, or for those in the body's coordinates."""
    caps = np.full(1, body.max_radius)
    if shown is not None:
        radii, caps = np.exp(shown.log_radius), body.cap_along(shown.phi)
    top = float(np.median(caps)) if math.isfinite(body.max_radius) else _BEYOND * float(radii.max())
    known = radii[radii > 0]
    return Ray.between(float(np.median(known)) if len(known) else top, top, body.dimension)


@cache
def growing_ray(n: int) -> Ray:
    """Return the points of a growing part of a ray, in units of its outer radius."""
    return Ray.between(_FIRST, 1.0, n, _GROWING_POINTS)


@dataclass(frozen=True)
class SoftTarget:
    """F_b(phi)^(1-t) · r(phi)^(t n), F_b of the whole ray or of the part within an outer radius.

    Attributes:
        body: whose radius and rises they are.
        ray: where the rises are looked at; with an outer radius, in units of it or of the cap where that is nearer.
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
        points = self.body.points_at(phi) if self.inverse_temperature > 0 else Points.bare(phi, self.body.columns)
        points.rises = self.body.rises(phi, self.ray.radii, self.outer_radius)
        return points

    def complete(self, points: Points) -> Points:
        now = with_radii(self.body, points) if self.inverse_temperature > 0 else points
        if self.outer_radius is not None or not points.rises.shape[1]:
            now = now.copy()
            now.rises = self.body.rises(now.phi, self.ray.radii, self.outer_radius)
        return now

    def log_density(self, points: Points) -> np.ndarray:
        soft, n = self.ray.log_soft(points.rises, self.penalty), self.body.dimension
        if self.outer_radius is not None:
            soft = soft + n * np.log(self.body.outer_radii(points.phi, self.outer_radius))
        if self.inverse_temperature == 0:
            return soft
        return (1 - self.inverse_temperature) * soft + self.inverse_temperature * n * points.effective_log_radius

    def force(self, phi: Tensor) -> Tensor:
        def pull(rises: np.ndarray) -> np.ndarray:
            return (1 - self.inverse_temperature) * self.ray.pull(rises, self.penalty)

        return self.body.rises_gradient(phi, self.ray.radii, pull, self.outer_radius)


def with_radii(body: StarBody, points: Points) -> Points:
    """Return the points with their radii, which the soft paths do without until they need them."""
    if not np.isnan(points.log_radius).any():
        return points
    found = body.points_at(points.phi)
    found.rises, found.velocity = points.rises, points.velocity
    return found
