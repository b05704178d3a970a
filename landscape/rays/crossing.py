"""The first crossing of each cutoff along many rays at once, in few evaluations. Numpy only; knows no model.

Along a ray let u(r) = f(r) - f(0). The search for the first r with u(r) >= U has two parts:

1. *March.* Go outwards until a point is outside. From radius r the next point is at most max(``first_step``,
   (``step_ratio`` - 1) · r) further out. If the loss predicts a crossing sooner, the step is shorter.
   Guarantee: a stretch of the ray [a, b] outside the basin is never stepped over if b - a >= max(first_step,
   (step_ratio - 1) · a). A thinner wall can be stepped over. Smaller values of ``step_ratio`` and ``first_step`` find
   it, at more evaluations.
2. *Close.* Between the last point inside and the first outside, interpolate log r as a function of log u (exact for
   every power law, so for every quadratic bowl), with halvings where that is slow. The search ends when the inner end,
   a point evaluated and found inside, is within ``rtol`` of the interpolated crossing; or, where the loss jumps or the
   outer value is not exact, when both ends are that close to each other.

The radius reported is the interpolated crossing. Should the loss do something wild just beyond the inner end, the
radius is too small, never too large by more than ``rtol``. All points of a ray serve all its cutoffs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.results import RayStatus

_AIM = 0.5  # aim this share of rtol short of the predicted crossing, so that a good guess ends just inside
_BEYOND = 0.3  # or this share beyond it, where a point outside has to close the bracket
_PATIENCE = 3  # guesses that may fall short on a march before it takes the longest step allowed
_NEAR = 0.9  # the least share of the rise from which an extrapolation to the crossing is trusted
_SLOPES = (1 / 8, 32.0)  # plausible slopes of log u against log r
_TRUST = 0.5  # standard error of an extrapolation in log r, over its length
_SLOW = 3  # points a bracket may take to halve (in log) before it is cut in the middle


@dataclass(frozen=True)
class Habits:
    """What other rays of the same net have shown, so that a new one is guessed better.

    It moves guesses only: brackets are proven on each ray by itself.

    Attributes:
        step: typical log of each cutoff's radius over the one before (over 1 for the first), shape (cutoffs,).
        spread: standard deviation of that over rays, shape (cutoffs,); infinite where nothing is known.
    """

    step: np.ndarray
    spread: np.ndarray


class FirstCrossing:
    """A search along ``lanes`` rays: ask :meth:`propose` where to evaluate, tell it the values, until none is left.

    Args:
        lanes: number of rays.
        rises: cutoffs above the centre, ascending, shape (cutoffs,), all positive.
        first_step: length of the first step.
        max_radius: cap on the radius, one for all rays or shape (lanes,); may be infinite.
        step_ratio: largest ratio of successive radii in the march, > 1.
        rtol: how far, relative to the radius, the inner end of a finished bracket may lie from it.
        habits: what other rays have shown; by default a quadratic bowl of unknown size.
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
        max_radius: float | np.ndarray = np.inf,
        step_ratio: float = 2.0,
        rtol: float = 1e-3,
        habits: Habits | None = None,
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
        self._short = np.zeros(lanes, dtype=np.int64)
        self._width = np.full(lanes, np.inf)
        self._max_radius = np.broadcast_to(np.asarray(max_radius, dtype=np.float64), lanes)
        self._first_step = np.minimum(first_step, self._max_radius)
        self._step_ratio, self._rtol = step_ratio, rtol
        self._max_points = max_points
        unknown = np.full(len(self.rises), np.inf)
        self._habits = habits or Habits(np.zeros(len(self.rises)), unknown)

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
            self._slow[finished], self._short[finished], self._width[finished] = 0, 0, np.inf
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
        value = np.clip(np.exp(self._interpolate(lanes, low, high, rise)), low, high)
        near = (self._rise_at(lanes, low) >= _NEAR * rise) & self._exact_at(lanes, high)
        with np.errstate(invalid="ignore"):
            closed = (near & (value - low <= self._rtol * value)) | (high - low <= self._rtol * high)
        crossed = np.isfinite(high) & closed
        value = np.where(np.isfinite(value), value, low)
        censored = ~np.isfinite(high) & (low >= self._max_radius[lanes])
        given_up = (self.calls[lanes] >= self._max_points) | ((low == 0) & (high < 1e-12 * self._first_step[lanes]))
        done = crossed | censored | given_up
        status = np.select([crossed, censored], [RayStatus.CROSSED, RayStatus.CENSORED], RayStatus.UNFINISHED)
        value = np.where(crossed, value, low)
        self.status[lanes[done], column[done]] = status[done]
        self.radii[lanes[done], column[done]] = value[done]
        self._note_pace(lanes, low, high)
        return lanes[done]

    def _rise_at(self, lanes: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return u at an evaluated radius; 0 at the centre."""
        here = self._known(lanes) & (self.points_r[lanes] == radius[:, None])
        return np.where(here, self.points_u[lanes], 0.0).max(axis=1)

    def _exact_at(self, lanes: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return whether the loss at an evaluated radius is known exactly."""
        here = self._known(lanes) & (self.points_r[lanes] == radius[:, None])
        return (here & self.points_exact[lanes]).any(axis=1)

    def _note_pace(self, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Count the points since the bracket last halved."""
        with np.errstate(divide="ignore", invalid="ignore"):
            width = np.where(np.isfinite(high), np.log(high) - np.log(low), np.inf)
        halved = (width <= self._width[lanes] / 2) | ~np.isfinite(high)
        self._width[lanes] = np.where(halved, width, self._width[lanes])
        self._slow[lanes] = np.where(halved, 0, self._slow[lanes] + 1)
        self._short[lanes] += ~np.isfinite(high)

    def _march(self, lanes: np.ndarray, low: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return the next radius further out: where the crossing is predicted, and no further than the step rule."""
        x, y, valid = self._logs(lanes)
        rows = np.arange(len(lanes))
        outermost = np.argsort(np.where(valid, x, -np.inf), axis=1, kind="stable")
        last, before = outermost[:, -1], outermost[:, -2]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            seen = (y[rows, last] - y[rows, before]) / (x[rows, last] - x[rows, before])
            slope = np.where(valid[rows, before] & (seen > 0), np.clip(seen, *_SLOPES), 2.0)
            ahead = (np.log(rise) - y[rows, last]) / slope
            predicted = np.exp(
                self._temper(lanes, low, x[rows, last] + ahead, np.where(valid[rows, last], ahead, np.inf))
            )
        # a guess just short of the last point would not advance the march
        predicted = np.maximum(predicted, low) * (1 + self._rtol)
        reach = low + np.maximum(self._first_step[lanes], (self._step_ratio - 1) * low)
        # a loss that levels off just below the cutoff would be followed in tiny steps
        predicted = np.where(self._short[lanes] > _PATIENCE, reach, predicted)
        return np.minimum(np.minimum(predicted, reach), self._max_radius[lanes])

    def _temper(self, lanes: np.ndarray, low: np.ndarray, guess: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Return a log radius just beyond the crossing that an extrapolation by ``ahead`` and other rays suggest.

        The error of an extrapolation is taken to grow with its length; a habit that the ray has already outrun is no
        longer one.
        """
        column = self._cutoff[lanes]
        start = np.where(column > 0, np.log(self.radii[lanes, np.maximum(column - 1, 0)]), 0.0)
        habit, spread = start + self._habits.step[column], self._habits.spread[column]
        own, others = (_TRUST * np.maximum(ahead, self._rtol)) ** -2, spread**-2
        others = np.where((habit > np.log(low)) & (spread > 0), others, 0.0)
        weighed = (np.where(own > 0, guess, 0.0) * own + np.where(others > 0, habit, 0.0) * others) / (own + others)
        # a standard error beyond, since a point outside makes the rest interpolation
        return np.where(own + others > 0, weighed + (own + others) ** -0.5, np.inf)

    def _close(self, lanes: np.ndarray, low: np.ndarray, high: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return a radius inside the bracket: near the predicted crossing, or the middle where that is slow."""
        with np.errstate(divide="ignore"):
            bottom, top = np.log(low), np.log(high)
        guess = self._interpolate(lanes, low, high, rise)
        # with the inner end in place it takes a point just outside
        placed = guess - bottom <= self._rtol
        target = np.where(placed, np.maximum(guess, bottom) + _BEYOND * self._rtol, guess - _AIM * self._rtol)
        middle = np.where(low > 0, (bottom + top) / 2, top - np.log(self._step_ratio))
        bad = ~np.isfinite(target) | (target <= bottom) | (target >= top) | (self._slow[lanes] >= _SLOW)
        self._slow[lanes[bad]] = 0
        return np.exp(np.where(bad, middle, target))

    def _interpolate(self, lanes: np.ndarray, low: np.ndarray, high: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return the predicted log radius of the crossing from the bracket's ends and the next nearest point.

        Through three points: log r as a parabola in log u. Through two: a line. With nothing known inside, the slope
        that the points outside show.
        """
        x, y, valid = self._logs(lanes)
        rows, target = np.arange(len(lanes)), np.log(rise)
        has_low, x1, y1 = self._at(lanes, low, x, y, valid)
        has_high, x2, y2 = self._at(lanes, high, x, y, valid)
        with np.errstate(divide="ignore", invalid="ignore"):
            guess = np.where(has_low, x2 + (target - y2) * (x2 - x1) / (y2 - y1), x2 + (target - y2) / 2)
            others = valid & (self.points_r[lanes] != low[:, None]) & (self.points_r[lanes] != high[:, None])
            third = np.argmin(np.where(others, np.abs(x - guess[:, None]), np.inf), axis=1)
            has_third, x3, y3 = others[rows, third], x[rows, third], y[rows, third]
            slope = np.clip((y3 - y2) / (x3 - x2), *_SLOPES)
            curved = (
                x1 * (target - y2) * (target - y3) / ((y1 - y2) * (y1 - y3))
                + x2 * (target - y1) * (target - y3) / ((y2 - y1) * (y2 - y3))
                + x3 * (target - y1) * (target - y2) / ((y3 - y1) * (y3 - y2))
            )
            # three points that do not rise together with r say nothing of a curve
            rising = ((x3 - x1) * (y3 - y1) > 0) & ((x3 - x2) * (y3 - y2) > 0)
            usable = has_low & has_third & rising & (curved > x1) & (curved < x2)
            guess = np.where(usable, curved, guess)
            guess = np.where(~has_low & has_third & (slope > 0), x2 + (target - y2) / slope, guess)
            return np.where(has_high, guess, np.nan)  # nothing can be drawn towards an infinite loss

    def _at(
        self, lanes: np.ndarray, radius: np.ndarray, x: np.ndarray, y: np.ndarray, valid: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whether a point with a usable logarithm lies at ``radius``, and its log r and log u."""
        here = valid & (self.points_r[lanes] == radius[:, None])
        column = np.argmax(here, axis=1)
        rows = np.arange(len(lanes))
        return here[rows, column], x[rows, column], y[rows, column]

    def _logs(self, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log r, log u and which of them exist, for all points of these rays."""
        u = self.points_u[lanes]
        valid = self._known(lanes) & (u > 0) & np.isfinite(u)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.points_r[lanes]), np.log(u), valid
