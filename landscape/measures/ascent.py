"""Search for the largest value of a function on a ball, with few gradients.

A quadratic f(u) = g . u + u . Hu / 2 has its largest value on a ball of radius rho at a point that Krylov spaces find
fast. Each gradient at a point p gives the image H p, as a difference of gradients. So every gradient adds one dimension
to a space on which the quadratic is known, and its largest value there is a small problem of linear algebra.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_NOT_QUADRATIC = 0.1  # relative error of the quadratic model at a new point, from which on it is not used
_CONVERGED = 1e-6  # relative gain, to first order, below which a search has ended
_LONGER = 1.5  # growth of a step after a success


@dataclass(frozen=True)
class Function:
    """A function of u, shape (n,): ``value`` returns f(u) and ``slope`` the pair of f(u) and its gradient."""

    value: Callable[[Tensor], float]
    slope: Callable[[Tensor], tuple[float, Tensor]]


@dataclass(frozen=True)
class Ball:
    """The points u with norm at most ``rho``: the Euclidean norm, or the largest entry.

    >>> Ball(2.0, "linf").farthest(torch.tensor([3.0, 0.0, -1.0]))
    tensor([ 2.,  0., -2.])
    """

    rho: float
    norm: str

    def farthest(self, direction: Tensor) -> Tensor:
        """Return the point of the ball that lies farthest in a direction; 0 for a direction of 0."""
        if self.norm == "linf":
            return self.rho * direction.sign()
        length = float(torch.linalg.vector_norm(direction, dtype=torch.float64))
        return direction * (self.rho / length) if length else torch.zeros_like(direction)


@dataclass(frozen=True)
class Peak:
    """The largest value that a search has found.

    Attributes:
        rise: f(u) - f(0), at least 0.
        point: u, shape (n,).
        gradients, values: how many of each it took.
    """

    rise: float
    point: Tensor
    gradients: int
    values: int


def climb(
    function: Function,
    ball: Ball,
    zero: Tensor,
    gradients: int,
    noise: Callable[[int], Tensor],
    top: Tensor | None = None,
) -> Peak:
    """Return the largest value of a function on a ball that a search with ``gradients`` gradients finds.

    The search begins where the gradient at 0 points. On a Euclidean ball it follows the Krylov space as long as a
    quadratic describes the function within a tenth. Then, and on the other ball, it moves to the farthest point in the
    direction of the gradient. It halves a step that does not rise (Frank & Wolfe 1956; Journée et al. 2010 for
    convex functions). If gradients are left at a peak, it begins again: on a box at random signs, on a Euclidean ball
    once along ``top``. So ``top`` never makes the value smaller.

    Args:
        function: to climb.
        ball: where u may lie.
        zero: the origin, shape (n,), for shape and dtype.
        gradients: how many it may take, at least 2.
        noise: returns random vector k, shape (n,); it is 0 for entries that cannot move.
        top: the top eigenvector of the Hessian at 0, shape (n,), if it is known. The search takes the end of it with
            the larger value. The two values that decide this count as one gradient.

    >>> bowl = Function(lambda u: float(u @ u), lambda u: (float(u @ u), 2 * u))
    >>> round(climb(bowl, Ball(3.0, "l2"), torch.zeros(2), 5, lambda k: torch.ones(2)).rise, 4)
    9.0
    """
    search = _Search(function, ball, zero, gradients, noise, top)
    if ball.norm == "l2":
        search.krylov()
    search.steps()
    return Peak(search.best - search.centre, search.point, search.gradients, search.values)


class _Search:
    """The state of a search: the best point, its value and gradient, and what is left to spend."""

    def __init__(
        self,
        function: Function,
        ball: Ball,
        zero: Tensor,
        most: int,
        noise: Callable[[int], Tensor],
        top: Tensor | None,
    ) -> None:
        self.function, self.ball, self.noise, self.most, self.top = function, ball, noise, most, top
        self.gradients = self.values = self.restarts = 0
        self.point, self.best = zero, -math.inf
        self.centre, self.slope = self.evaluate(zero)
        self.first = self.slope
        start = ball.farthest(self.slope)
        self.start = start if bool(start.any()) else self.random()

    @property
    def going(self) -> bool:
        """Whether another gradient may be taken, and could help."""
        return self.gradients < self.most and math.isfinite(self.best)

    def random(self) -> Tensor:
        """Return the next random point of the sphere."""
        self.restarts += 1
        return self.ball.farthest(self.noise(self.restarts - 1))

    def next_start(self) -> Tensor | None:
        """Return where to begin again at a peak; None if there is no place left."""
        if self.ball.norm == "linf":
            return self.random()
        top, self.top = self.top, None
        self.most -= 1  # for the two values
        if top is None or not self.going:
            return None
        ends = [self.ball.farthest(top), self.ball.farthest(-top)]
        self.values += 2
        return max(ends, key=self.function.value)

    def evaluate(self, point: Tensor) -> tuple[float, Tensor]:
        """Return value and gradient at a point, and keep it if it is the best; a value of NaN counts as infinite."""
        value, slope = self.function.slope(point)
        self.gradients += 1
        value = math.inf if math.isnan(value) else value
        if value > self.best:
            self.best, self.point, self.slope = value, point, slope
        return value, slope

    def krylov(self) -> None:
        """Search on the Krylov space while the function is nearly quadratic."""
        space, point, best = _Krylov(self.first, self.ball.rho), self.start, None
        while self.going:
            value, slope = self.evaluate(point)
            if not math.isfinite(value):
                return
            if not _quadratic(value - self.centre, point, self.first, slope) or not space.add(point, slope):
                break
            best, image = space.best()
            point = self.ball.farthest(image)
            if _dot(image, point - best) < _CONVERGED * max(space.value, 0.0):
                break
        if best is None:
            return
        if self.going:
            self.evaluate(best)
            return
        value = self.function.value(best)
        self.values += 1
        if value > self.best:
            self.best, self.point = value, best

    def steps(self) -> None:
        """Move towards the farthest point in the direction of the gradient, with steps that shrink at a failure."""
        if self.going and self.gradients < 2:
            self.evaluate(self.start)
        value, at, slope = self.best, self.point, self.slope
        share = 1.0 if bool(at.any()) else 0.5  # from the origin, the whole step has been tried
        while self.going:
            step = self.ball.farthest(slope) - at
            if _dot(slope, step) <= _CONVERGED * abs(value - self.centre):
                start = self.next_start()
                if start is None:
                    return
                at, share = start, 1.0
                value, slope = self.evaluate(at)
                continue
            reached = self._on_sphere(at + share * step, slope, at)
            value_there, slope_there = self.evaluate(reached)
            if value_there > value:
                value, at, slope, share = value_there, reached, slope_there, min(1.0, share * _LONGER)
            else:
                share /= 2

    def _on_sphere(self, target: Tensor, slope: Tensor, at: Tensor) -> Tensor:
        """Return the target; on the Euclidean sphere instead of inside it if the function rises outwards."""
        return self.ball.farthest(target) if self.ball.norm == "l2" and _dot(slope, at) > 0 else target


class _Krylov:
    """The quadratic g . u + u . Hu / 2 on the span of the points where gradients are known.

    Attributes:
        value: its largest value on that span, within the ball.
    """

    def __init__(self, gradient: Tensor, rho: float) -> None:
        self.gradient, self.rho, self.value = gradient, rho, 0.0
        self.basis: list[Tensor] = []  # orthonormal
        self.images: list[Tensor] = []  # H times each
        self.matrix, self.linear = np.zeros((0, 0)), np.zeros(0)

    def add(self, point: Tensor, slope: Tensor) -> bool:
        """Add a point and its gradient; return whether it added a dimension."""
        rest, image = point.clone(), slope - self.gradient
        for _ in range(2):  # twice is enough (Kahan)
            for vector, known in zip(self.basis, self.images, strict=True):
                share = _dot(vector, rest)
                rest, image = rest - share * vector, image - share * known
        length = float(torch.linalg.vector_norm(rest, dtype=torch.float64))
        if length <= self.rho * math.sqrt(torch.finfo(point.dtype).eps):
            return False
        self.basis.append(rest / length)
        self.images.append(image / length)
        self.linear = np.append(self.linear, _dot(self.basis[-1], self.gradient))
        pairs = zip(self.basis, self.images, strict=True)
        row = [(_dot(v, self.images[-1]) + _dot(self.basis[-1], h)) / 2 for v, h in pairs]
        self.matrix = np.pad(self.matrix, (0, 1))
        self.matrix[-1, :] = self.matrix[:, -1] = row
        return True

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the point of the span with the largest value, and the gradient there, shape (n,) each."""
        weights = largest_on_ball(self.matrix, self.linear, self.rho)
        self.value = float(self.linear @ weights + weights @ self.matrix @ weights / 2)
        pairs = list(zip(weights.tolist(), self.basis, self.images, strict=True))
        point = sum((w * v for w, v, _ in pairs), torch.zeros_like(self.gradient))
        return point, sum((w * h for w, _, h in pairs), self.gradient)


def largest_on_ball(matrix: np.ndarray, linear: np.ndarray, rho: float) -> np.ndarray:
    """Return the x with |x| <= rho at which linear . x + x . matrix x / 2 is largest, shape (k,).

    With mu >= 0 and mu at least the largest eigenvalue, x = (mu - matrix)^-1 linear, and |x| = rho unless mu = 0
    (Moré & Sorensen 1983). If ``linear`` has no part along the top eigenvectors, x gets one.

    >>> largest_on_ball(np.diag([1.0, 2.0]), np.array([0.0, 1e-9]), 3.0).round(6)
    array([0., 3.])
    """
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    shares = vectors.T @ linear
    size = float(np.linalg.norm(shares))
    low = max(float(values[-1]), 0.0)
    tiny = 1e-14 * max(float(np.abs(values).max()), size / rho, np.finfo(float).tiny)

    def at(mu: float) -> np.ndarray:
        return np.asarray(shares / (mu - values))

    if values[-1] < 0 and np.linalg.norm(at(0.0)) <= rho:
        return np.asarray(vectors @ at(0.0))
    near, far = low + tiny, low + size / rho + 2 * tiny
    if np.linalg.norm(at(near)) <= rho:  # no part along the top eigenvector, or none to rounding
        x = at(near)
        rest = max(rho**2 - float(x[:-1] @ x[:-1]), 0.0)
        x[-1] = math.copysign(math.sqrt(rest), shares[-1])
        return np.asarray(vectors @ x)
    for _ in range(100):
        middle = (near + far) / 2
        near, far = (middle, far) if np.linalg.norm(at(middle)) > rho else (near, middle)
    x = at(far)
    return np.asarray(vectors @ (x * (rho / np.linalg.norm(x))))


def _quadratic(rise: float, point: Tensor, first: Tensor, slope: Tensor) -> bool:
    """Return whether a rise is what a quadratic with these gradients at 0 and at the point would give: their mean."""
    expected = (_dot(first, point) + _dot(slope, point)) / 2
    return abs(expected - rise) <= _NOT_QUADRATIC * abs(rise)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())
