"""The ellipsoid that gradients around theta describe: its rays, and directions of points drawn in it.

Theta is inside, and seldom at the centre. If the loss is quadratic, the ellipsoid is the basin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy  # it loads scipy.optimize when that is first used, which takes a fifth of a second
import torch
from torch import Tensor

from landscape.objective.evaluate import GRADIENT_COST
from landscape.volume.annealing.readings import gradients_at
from landscape.volume.annealing.stretch import Stretch, Symmetric
from landscape.volume.body.coordinates import tangent
from landscape.volume.body.points import normals, sphere
from landscape.volume.body.star_body import StarBody

_SHORT = 1 / 4  # power of the rounding error: a shorter step is nearer to the slope of gradients, and rounds worse
_TOGETHER = 64  # axes whose gradients are read together
_SHARE = 4.0  # a pilot must pay for so many times what all axes cost
_LEAST = 1e-12  # over the largest curvature: smaller ones, and negative ones, are raised to this


@dataclass(frozen=True)
class Parabola:
    """A quadratic along rays from theta: slope r + curvature r² / 2 at the radius r.

    Attributes:
        slope, curvature: of each ray, shape (k,).
    """

    slope: Tensor
    curvature: Tensor

    def at(self, radii: Tensor) -> Tensor:
        """Return its value at a radius of each ray, shape (k,)."""
        return radii * self.slope + radii.square() * self.curvature / 2

    def radii(self, level: Tensor | float = 1.0) -> Tensor:
        """Return the radius up to which it stays below a level, shape (k,)."""
        return 2 * level / (self.slope + (self.slope.square() + 2 * level * self.curvature).sqrt())


@dataclass(frozen=True)
class Ellipsoid:
    """The points x with g'x + x'Hx / 2 < 1. The left side is the rise of the loss; at the cutoff it is 1.

    Attributes:
        vectors: eigenvectors of H, shape (n, n).
        curvatures: its eigenvalues, positive, shape (n,).
        slope: g, shape (n,).

    >>> one, two = torch.eye(2, dtype=torch.float64), torch.full((2,), 2.0, dtype=torch.float64)
    >>> disc = Ellipsoid(one, two, torch.tensor([-1.0, 0.0], dtype=torch.float64))  # |x|² - x1 < 1
    >>> [round(float(r), 6) for r in disc.log_radii(torch.cat([one, -one])).exp()]
    [1.618034, 1.0, 0.618034, 1.0]
    """

    vectors: Tensor
    curvatures: Tensor
    slope: Tensor

    @classmethod
    def of(cls, hessian: Tensor, slope: Tensor) -> Ellipsoid | None:
        """Return the ellipsoid of a quadratic, shapes (n, n) and (n,); None if no direction of it curves upwards."""
        if not torch.isfinite(hessian).all():
            return None
        curvatures, vectors = torch.linalg.eigh(hessian)
        if curvatures[-1] <= 0:
            return None
        return cls(vectors, curvatures.clamp(min=_LEAST * float(curvatures[-1])), slope)

    @classmethod
    def through(cls, walls: Tensor, hessian: Tensor, slope: Tensor) -> Ellipsoid | None:
        """Return the ellipsoid whose wall passes by some points, if the rise is a function F of a quadratic q.

        At theta the rise has the slope F' q' and the Hessian F' q'' + F'' q' q'^T. So the wall is where

            g'x + x'Hx / 2 = s + k (g'x)² / 2

        with two numbers s and k, which the points tell by least squares. If F is linear, s = 1 and k = 0.

        Args:
            walls: points at the wall, shape (m, n).
            hessian, slope: H and g, of the rise at theta.
        """
        first = walls @ slope
        rises = first + ((walls @ hessian) * walls).sum(1) / 2
        bends = first.square() / 2
        apart = bends - bends.mean()
        twist = (apart @ rises) / (apart @ apart)  # torch's own least squares give other numbers from call to call
        level = rises.mean() - twist * bends.mean()
        if not level > 0:
            return None
        return cls.of((hessian - twist * torch.outer(slope, slope)) / level, slope / level)

    def within(self, cap: float) -> Ellipsoid:
        """Return a small ellipsoid that covers its points no further than a cap from theta.

        With q(x) < 1 here, it is t q(x) + (1 - t) |x|² / cap² < 1. Of all t from 0 to 1 it has the least volume.
        """

        def covering(t: float) -> Ellipsoid:
            return replace(self, curvatures=t * self.curvatures + 2 * (1 - t) / cap**2, slope=t * self.slope)

        if math.isinf(cap):
            return self
        best = scipy.optimize.minimize_scalar(lambda t: covering(t).log_mean, bounds=(0.0, 1.0), method="bounded")
        found = covering(float(best.x))
        return found if found.log_mean < self.log_mean else self

    @property
    def dimension(self) -> int:
        """n."""
        return len(self.curvatures)

    @property
    def log_mean(self) -> float:
        """log of its volume over that of the unit ball. The ratio is the mean of r^n over uniform directions."""
        return float(self._axes.log().sum())

    @cached_property
    def change(self) -> Symmetric:
        """The change of coordinates in which directions of its points are about as wide in each coordinate."""
        return Symmetric.of(self.vectors, self._axes / self._size)

    def approach(self, count: int) -> list[Stretch]:
        """Return changes of coordinates by which uniform directions come near those of its points, step by step.

        A uniform direction is short. There the body is about round; it is the narrower the longer the rays are.
        """
        squared = self.curvatures / self._rise / 2  # over those of a ray of length 1
        first, last = 1 / squared.mean(), self._size.square()
        shares = torch.linspace(0.0, 1.0, count, dtype=torch.float64).tolist()
        return [Stretch(self.vectors, (1 + first * (last / first) ** share * squared).rsqrt()) for share in shares]

    def draw(self, like: Tensor, random: np.random.Generator) -> Tensor:
        """Return directions of points drawn uniformly in it, shape (k, n), like the tensor that is passed."""
        ball = sphere(normals(random, like))
        lengths = torch.as_tensor(random.random((len(like), 1)) ** (1 / self.dimension)).to(like)
        return sphere((self._centre + ball * lengths * self._axes) @ self.vectors.T)

    def log_radii(self, phi: Tensor) -> Tensor:
        """Return log of how far it goes along unit directions, shape (k,)."""
        return self.along(phi).radii().log()

    def along(self, phi: Tensor) -> Parabola:
        """Return its quadratic along unit directions, shape (k, n)."""
        return Parabola(phi @ self.slope, ((phi @ self._hessian) * phi).sum(1))

    def pull(self, phi: Tensor) -> Tensor:
        """Return the gradient of log r, tangent at unit directions, shape (k, n). It is rounded to float32."""
        turned = (phi.float() @ self._rounded_hessian).to(phi)
        radii = Parabola(phi @ self.slope, (turned * phi).sum(1)).radii()
        by_place = radii[:, None] * turned + self.slope
        return tangent(-by_place / (by_place * phi).sum(1, keepdim=True), phi)

    @cached_property
    def _hessian(self) -> Tensor:
        return (self.vectors * self.curvatures) @ self.vectors.T

    @cached_property
    def _rounded_hessian(self) -> Tensor:
        return self._hessian.float()

    @property
    def _size(self) -> Tensor:
        """Root of the mean square of how far its points are from theta."""
        return (self._centre.square().sum() + self._axes.square().mean()).sqrt()

    @property
    def _centre(self) -> Tensor:
        """Its centre, by the eigenvectors."""
        return -(self.slope @ self.vectors) / self.curvatures

    @property
    def _rise(self) -> Tensor:
        """What the quadratic rises by from the centre to the wall."""
        return 1 + (self._centre.square() * self.curvatures).sum() / 2

    @property
    def _axes(self) -> Tensor:
        """Lengths of the half-axes, shape (n,)."""
        return (2 * self._rise / self.curvatures).sqrt()


def hessian_of(body: StarBody, check: Callable[[], None], affords: Callable[[float], bool]) -> Tensor | None:
    """Return the Hessian of a body's rise at theta, from differences of gradients on both sides along each axis.

    Args:
        body: whose first step is the distance from theta.
        check: called before each reading; it may raise to stop.
        affords: returns whether the budget pays for so many times what was spent so far.

    Returns:
        shape (n, n); None if it costs too much, or is not finite.
    """
    n, rows = body.dimension, []
    axes = torch.eye(n, dtype=torch.float64, device=body.objective.device)
    step = body.first_step * torch.finfo(body.objective.dtype).eps ** _SHORT
    radii = np.full(2 * _TOGETHER, step)
    for part in axes.split(_TOGETHER):
        check()
        _, gradients = gradients_at(body, torch.cat([part, -part]), radii[: 2 * len(part)])
        rows.append((gradients[: len(part)] - gradients[len(part) :]) / (2 * step))
        if len(rows) == 1 and not affords(_SHARE * 2 * GRADIENT_COST * n / body.spent.evaluations):
            return None
    hessian = torch.cat(rows)
    return (hessian + hessian.T) / 2 if torch.isfinite(hessian).all() else None
