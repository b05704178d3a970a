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

    def nearest(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Knots:
        """Return the point of each ray nearest to x, without those at the radii ``low`` and ``high``."""
        others = self.usable & (self.r != low[:, None]) & (self.r != high[:, None])
        return self._pick(others, np.argmin(np.where(others, np.abs(self.x - x[:, None]), np.inf), axis=1))

    def _pick(self, known: np.ndarray, column: np.ndarray) -> Knots:
        rows = np.arange(len(column))
        return Knots(known[rows, column], self.x[rows, column], self.y[rows, column])


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
