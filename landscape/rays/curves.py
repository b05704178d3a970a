"""Points of many rays in logarithms, and the curves through them that predict where a ray crosses a cutoff.

A power law u = a r^p is a straight line of log u against log r. The loss near a minimum is close to one, with p = 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Knots:
    """One point on each ray, shape (rays,) each: x = log r, y = log u."""

    known: np.ndarray  #: whether the ray has such a point; elsewhere x and y mean nothing
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class LogPoints:
    """All points of some rays, shape (rays, points) each: x = log r, y = log u."""

    r: np.ndarray
    x: np.ndarray
    y: np.ndarray
    usable: np.ndarray  #: whether the point exists and has both logarithms

    def at(self, radius: np.ndarray) -> Knots:
        """Return the point at an evaluated radius of each ray."""
        here = self.usable & (self.r == radius[:, None])
        return self._pick(here, np.argmax(here, axis=1))

    def outermost(self) -> tuple[Knots, Knots]:
        """Return the outermost point of each ray, and the one before it."""
        order = np.argsort(np.where(self.usable, self.x, -np.inf), axis=1, kind="stable")
        return self._pick(self.usable, order[:, -1]), self._pick(self.usable, order[:, -2])

    def nearest(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Knots:
        """Return the point of each ray nearest to x, without those at the radii ``low`` and ``high``."""
        others = self.usable & (self.r != low[:, None]) & (self.r != high[:, None])
        return self._pick(others, np.argmin(np.where(others, np.abs(self.x - x[:, None]), np.inf), axis=1))

    def _pick(self, known: np.ndarray, column: np.ndarray) -> Knots:
        rows = np.arange(len(column))
        return Knots(known[rows, column], self.x[rows, column], self.y[rows, column])


@dataclass(frozen=True)
class Guess:
    """A guess of each ray's log radius at the crossing, shape (rays,) each."""

    log_radius: np.ndarray
    precision: np.ndarray  #: one over its variance; 0 if there is no guess

    def weighted(self) -> np.ndarray:
        """Return the guess times its precision."""
        return np.where(self.precision > 0, self.log_radius, 0.0) * self.precision


def just_beyond(one: Guess, other: Guess) -> np.ndarray:
    """Return the mean of two independent guesses, weighted by precision, plus its standard error; inf without any.

    The standard error is added because a point outside makes all further guesses interpolations.
    """
    precision = one.precision + other.precision
    mean = (one.weighted() + other.weighted()) / precision
    return np.where(precision > 0, mean + precision**-0.5, np.inf)


def power_law(target: np.ndarray, point: Knots, slope: float | np.ndarray) -> np.ndarray:
    """Return log r at log u = target on the power law of this slope through one point."""
    return point.x + (target - point.y) / slope


def line(target: np.ndarray, a: Knots, b: Knots) -> np.ndarray:
    """Return log r at log u = target on the power law through two points."""
    return b.x + (target - b.y) * (b.x - a.x) / (b.y - a.y)


def parabola(target: np.ndarray, a: Knots, b: Knots, c: Knots) -> np.ndarray:
    """Return log r at log u = target on the parabola through three points (Lagrange's form)."""
    return (
        a.x * (target - b.y) * (target - c.y) / ((a.y - b.y) * (a.y - c.y))
        + b.x * (target - a.y) * (target - c.y) / ((b.y - a.y) * (b.y - c.y))
        + c.x * (target - a.y) * (target - b.y) / ((c.y - a.y) * (c.y - b.y))
    )


def rising(a: Knots, b: Knots) -> np.ndarray:
    """Return whether of two points the one further out is higher."""
    return (b.x - a.x) * (b.y - a.y) > 0
