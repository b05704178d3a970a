"""The first crossing of each cutoff along many rays at once, in few evaluations. Numpy only; knows no model.

Along a ray let u(r) = f(r) - f(0). The search for the first r with u(r) >= U has two parts:

1. *March.* Go outwards until a point is outside. From radius r the next point is at most max(``first_step``,
   (``growth`` - 1) · r) further out; where the loss predicts a crossing sooner, the step is shorter.
   Guarantee: a stretch of the ray [a, b] outside the basin is never stepped over if b - a >= max(first_step,
   (growth - 1) · a). A thinner wall can be; a smaller ``growth`` and ``first_step`` find it, at more evaluations.
2. *Close.* Between the last point inside and the first outside, interpolate log r as a function of z(log u), with
   halvings where that is slow, until both ends are within ``rtol`` of the interpolated crossing. With z(y) = y/2 this
   is exact for every power law; :func:`fit_shape` learns a z that suits other losses from a few rays.

The radius reported is the interpolated crossing within the bracket. All points of a ray serve all its cutoffs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landscape.results import RayStatus

_CLOSE = 0.7  # aim this share of rtol beyond the predicted crossing, so that two good guesses close the bracket
_SLOPES = (1 / 16, 16.0)  # plausible slopes of z against log r
_SLOW = 3  # points a bracket may take to halve (in log) before it is cut in the middle


class FirstCrossing:
    """A search along ``lanes`` rays: ask :meth:`propose` where to evaluate, tell it the values, until none is left.

    Args:
        lanes: number of rays.
        rises: cutoffs above the centre, ascending, shape (cutoffs,), all positive.
        first_step: length of the first step.
        max_radius: cap on the radius; may be infinite.
        growth: largest ratio of successive radii in the march, > 1.
        rtol: how far, relative to the radius, either end of a finished bracket may lie from it.
        shape: z, an increasing function of log u that is close to a straight line in log r with slope 1; by
            default that of a quadratic bowl.
        max_points: evaluations a ray may take before it is given up.

    >>> search = FirstCrossing(1, np.array([4.0]), first_step=1.0)
    >>> while len(lanes := search.active()):
    ...     r = search.propose(lanes)
    ...     search.tell(lanes, r, r**2, np.array([True]))
    >>> round(float(search.radii[0, 0]), 9), int(search.calls[0])
    (2.0, 3)
    """

    def __init__(
        self,
        lanes: int,
        rises: np.ndarray,
        *,
        first_step: float,
        max_radius: float = np.inf,
        growth: float = 2.0,
        rtol: float = 1e-3,
        shape: Callable[[np.ndarray], np.ndarray] | None = None,
        max_points: int = 200,
    ) -> None:
        self.rises = np.asarray(rises, dtype=np.float64)
        size = (lanes, len(self.rises))
        self.radii = np.full(size, np.nan)
        self.status = np.full(size, RayStatus.PENDING, dtype=np.int8)
        self.lower = np.zeros(size)
        self.upper = np.full(size, np.inf)
        self.calls = np.zeros(lanes, dtype=np.int64)
        self.points_r = np.zeros((lanes, 8))
        self.points_u = np.zeros((lanes, 8))
        self.points_exact = np.zeros((lanes, 8), dtype=bool)
        self._cutoff = np.zeros(lanes, dtype=np.int64)
        self._slow = np.zeros(lanes, dtype=np.int64)
        self._width = np.full(lanes, np.inf)
        self._first_step = min(first_step, max_radius)
        self._max_radius, self._growth, self._rtol = max_radius, growth, rtol
        self._shape, self._max_points = shape or quadratic_shape, max_points

    def active(self) -> np.ndarray:
        """Return the rays that still need a point."""
        return np.flatnonzero(self._cutoff < len(self.rises))

    def propose(self, lanes: np.ndarray) -> np.ndarray:
        """Return the next radius for each of these rays."""
        rise = self.rises[self._cutoff[lanes]]
        low, high = self._ends(lanes, rise)
        radius = np.empty(len(lanes))
        marching = ~np.isfinite(high)
        if marching.any():
            radius[marching] = self._march(lanes[marching], low[marching], rise[marching])
        if not marching.all():
            closing = ~marching
            radius[closing] = self._close(lanes[closing], low[closing], high[closing], rise[closing])
        return radius

    def tell(self, lanes: np.ndarray, radii: np.ndarray, rises: np.ndarray, exact: np.ndarray) -> None:
        """Take the values at the proposed radii; NaN and infinity count as outside.

        Args:
            lanes: the rays, as from :meth:`active`.
            radii: where they were evaluated.
            rises: u there. Where not ``exact``, only that it is above the ceiling is certain; the value is a guess.
            exact: whether the value is the loss itself.
        """
        if self.calls.max() == self.points_r.shape[1]:
            grow = ((0, 0), (0, self.points_r.shape[1]))
            self.points_r, self.points_u = np.pad(self.points_r, grow), np.pad(self.points_u, grow)
            self.points_exact = np.pad(self.points_exact, grow)
        place = self.calls[lanes]
        self.points_r[lanes, place] = radii
        self.points_u[lanes, place] = np.where(np.isfinite(rises), rises, np.inf)
        self.points_exact[lanes, place] = exact & np.isfinite(rises)
        self.calls[lanes] += 1
        waiting = lanes
        while len(waiting):
            finished = self._finish(waiting)
            self._cutoff[finished] += 1
            self._slow[finished], self._width[finished] = 0, np.inf
            waiting = finished[self._cutoff[finished] < len(self.rises)]

    def _known(self, lanes: np.ndarray) -> np.ndarray:
        return np.arange(self.points_r.shape[1]) < self.calls[lanes, None]

    def _ends(self, lanes: np.ndarray, rise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (largest radius inside, smallest radius outside) for each ray's current cutoff."""
        r, known = self.points_r[lanes], self._known(lanes)
        outside = known & (self.points_u[lanes] >= rise[:, None])
        high = np.where(outside, r, np.inf).min(axis=1)
        low = np.where(known & (r < high[:, None]), r, 0.0).max(axis=1)
        return low, high

    def _finish(self, lanes: np.ndarray) -> np.ndarray:
        """Settle the current cutoff of the rays that are done with it, and return those rays."""
        column = self._cutoff[lanes]
        rise = self.rises[column]
        low, high = self._ends(lanes, rise)
        self.lower[lanes, column], self.upper[lanes, column] = low, high
        value = np.where(np.isfinite(high), np.exp(self._interpolate(lanes, low, high, rise)), low)
        value = np.clip(np.where(np.isfinite(value), value, low), low, high)
        crossed = np.isfinite(high) & (np.maximum(high - value, value - low) <= self._rtol * value)
        censored = ~np.isfinite(high) & (low >= self._max_radius)
        given_up = (self.calls[lanes] >= self._max_points) | ((low == 0) & (high < 1e-12 * self._first_step))
        done = crossed | censored | given_up
        status = np.select([crossed, censored], [RayStatus.CROSSED, RayStatus.CENSORED], RayStatus.UNFINISHED)
        value = np.where(crossed, value, low)
        self.status[lanes[done], column[done]] = status[done]
        self.radii[lanes[done], column[done]] = value[done]
        self._note_pace(lanes, low, high)
        return lanes[done]

    def _note_pace(self, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Count the points since the bracket last halved."""
        with np.errstate(divide="ignore", invalid="ignore"):
            width = np.where(np.isfinite(high), np.log(high) - np.log(low), np.inf)
        halved = (width <= self._width[lanes] / 2) | ~np.isfinite(high)
        self._width[lanes] = np.where(halved, width, self._width[lanes])
        self._slow[lanes] = np.where(halved, 0, self._slow[lanes] + 1)

    def _march(self, lanes: np.ndarray, low: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return the next radius further out: where the crossing is predicted, and no further than the step rule."""
        x, z, valid = self._logs(lanes)
        rows = np.arange(len(lanes))
        outermost = np.argsort(np.where(valid, x, -np.inf), axis=1, kind="stable")
        last, before = outermost[:, -1], outermost[:, -2]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            seen = (z[rows, last] - z[rows, before]) / (x[rows, last] - x[rows, before])
            slope = np.where(valid[rows, before] & (seen > 0), np.clip(seen, *_SLOPES), 1.0)
            predicted = np.exp(x[rows, last] + (self._shape(np.log(rise)) - z[rows, last]) / slope)
        predicted = np.where(valid[rows, last], predicted, np.inf)
        # a guess just short of the last point would not advance the march
        predicted = np.maximum(predicted, low) * (1 + _CLOSE * self._rtol)
        reach = low + np.maximum(self._first_step, (self._growth - 1) * low)
        return np.minimum(np.minimum(predicted, reach), self._max_radius)

    def _close(self, lanes: np.ndarray, low: np.ndarray, high: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return a radius inside the bracket: near the predicted crossing, or the middle where that is slow."""
        with np.errstate(divide="ignore"):
            bottom, top = np.log(low), np.log(high)
        guess = self._interpolate(lanes, low, high, rise)
        margin = _CLOSE * self._rtol
        beyond_low, short_of_high = guess + margin, guess - margin
        near_low, near_high = guess - bottom < 2 * margin, top - guess < 2 * margin
        # with one end close by, step just past the guess to bring up the other; else go for the inner end first
        target = np.where(near_low, beyond_low, np.where(near_high, short_of_high, guess - margin))
        middle = np.where(low > 0, (bottom + top) / 2, top - np.log(self._growth))
        bad = ~np.isfinite(target) | (target <= bottom) | (target >= top) | (self._slow[lanes] >= _SLOW)
        self._slow[lanes[bad]] = 0
        return np.exp(np.where(bad, middle, target))

    def _interpolate(self, lanes: np.ndarray, low: np.ndarray, high: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return the predicted log radius of the crossing from the bracket's ends and the next nearest point.

        Through three points: log r as a parabola in z. Through two: a line. With nothing known inside, the slope that
        the points outside show.
        """
        x, z, valid = self._logs(lanes)
        rows, target = np.arange(len(lanes)), self._shape(np.log(rise))
        has_low, x1, z1 = self._at(lanes, low, x, z, valid)
        _, x2, z2 = self._at(lanes, high, x, z, valid)
        with np.errstate(divide="ignore", invalid="ignore"):
            guess = np.where(has_low, x2 + (target - z2) * (x2 - x1) / (z2 - z1), x2 + (target - z2))
            others = valid & (self.points_r[lanes] != low[:, None]) & (self.points_r[lanes] != high[:, None])
            third = np.argmin(np.where(others, np.abs(x - guess[:, None]), np.inf), axis=1)
            has_third, x3, z3 = others[rows, third], x[rows, third], z[rows, third]
            slope = np.clip((z3 - z2) / (x3 - x2), *_SLOPES)
            curved = (
                x1 * (target - z2) * (target - z3) / ((z1 - z2) * (z1 - z3))
                + x2 * (target - z1) * (target - z3) / ((z2 - z1) * (z2 - z3))
                + x3 * (target - z1) * (target - z2) / ((z3 - z1) * (z3 - z2))
            )
            # three points that do not rise together with r say nothing of a curve
            rising = ((x3 - x1) * (z3 - z1) > 0) & ((x3 - x2) * (z3 - z2) > 0)
            usable = has_low & has_third & rising & (curved > x1) & (curved < x2)
            guess = np.where(usable, curved, guess)
            return np.where(~has_low & has_third & (slope > 0), x2 + (target - z2) / slope, guess)

    def _at(
        self, lanes: np.ndarray, radius: np.ndarray, x: np.ndarray, z: np.ndarray, valid: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whether a point with a usable logarithm lies at ``radius``, and its log r and z."""
        here = valid & (self.points_r[lanes] == radius[:, None])
        column = np.argmax(here, axis=1)
        rows = np.arange(len(lanes))
        return here[rows, column], x[rows, column], z[rows, column]

    def _logs(self, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log r, z(log u) and which of them exist, for all points of these rays."""
        u = self.points_u[lanes]
        valid = self._known(lanes) & (u > 0) & np.isfinite(u)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.points_r[lanes]), self._shape(np.where(valid, np.log(u), 0.0)), valid


def quadratic_shape(log_rise: np.ndarray) -> np.ndarray:
    """Return log u / 2, which is log r up to a constant where u is proportional to r^2."""
    return log_rise / 2


def fit_shape(log_radius: np.ndarray, log_rise: np.ndarray, rises: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return z(log u): the common shape of some rays, each scaled to the same radius at the first cutoff.

    A cubic of log r in log u, by least squares over the range that the cutoffs need, and a straight line beyond.
    Where there are too few points, or the cubic does not increase, z(y) = y/2.

    Args:
        log_radius: log of r over the ray's radius at the first cutoff, shape (points,).
        log_rise: log u, shape (points,).
        rises: the cutoffs above the centre.

    >>> u = np.geomspace(0.01, 1, 30)
    >>> z = fit_shape(0.25 * np.log(u), np.log(u), np.array([0.1, 1.0]))
    >>> bool(np.isclose(z(np.log(0.5)) - z(np.log(0.1)), 0.25 * np.log(5)))
    True
    """
    low, high = np.log(rises[0]) - 3.0, np.log(rises[-1]) + 1.0
    kept = np.isfinite(log_radius) & (log_rise >= low) & (log_rise <= high)
    if kept.sum() < 16:
        return quadratic_shape
    low, high = log_rise[kept].min(), log_rise[kept].max()
    cubic = np.polynomial.Polynomial.fit(log_rise[kept], log_radius[kept], 3)
    slope = cubic.deriv()
    if not (slope(np.linspace(low, high, 50)) > 1e-3).all():
        return quadratic_shape

    def shape(y: np.ndarray) -> np.ndarray:
        within = np.clip(y, low, high)
        return cubic(within) + slope(within) * (y - within)

    return shape
