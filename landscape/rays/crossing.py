"""The first crossing of each cutoff along many rays at once, in few evaluations. Numpy only; knows no model.

Along a ray let u(r) = f(r) - f(0). The search for the first r with u(r) >= U has two parts:

1. *March.* Evaluate the points of one fixed grid, r_k = ``first_step`` · ``step_ratio``^k for k = 0, 1, 2, ..., one
   after the other. If there is a cap, it is the last point. Stop at the first point outside. This point and the one
   before it are the bracket (or the centre, if the first point is outside). No other evaluation decides the bracket, so
   it depends on the ray and the grid alone. A stretch of the ray outside the basin is found if it holds a point of the
   grid; a thinner wall can be stepped over. A smaller ``step_ratio`` finds it, at more evaluations.
2. *Close.* Interpolate log r as a function of log u between the last point inside and the first outside. This is exact
   for every power law, so for every quadratic bowl. If the bracket shrinks too slowly, halve it instead. The search
   ends when the inner end, a point evaluated and found inside, is within ``rtol`` of the interpolated crossing. If the
   loss jumps, or the outer value is not exact, it ends when both ends are that close to each other.

The reported radius is the interpolated crossing. If the loss does something wild just beyond the inner end, the radius
is too small, and never too large by more than ``rtol``. All points of a ray serve all its cutoffs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from landscape.rays import curves
from landscape.rays.curves import LogPoints
from landscape.results import RayStatus

_AIM = 0.5  # aim this share of rtol short of the predicted crossing, so that a good guess ends just inside
_BEYOND = 0.3  # or this share beyond it, if a point outside has to close the bracket
_NEAR = 0.9  # the inner end must reach this share of the rise before an interpolation beyond it is trusted
_BOWL = 2.0  # slope of log u against log r of a quadratic bowl, assumed until points show another
_SLOPES = (1 / 8, 32.0)  # plausible slopes of log u against log r
_SLOW = 3  # points a bracket may take to halve (in log) before it is cut in the middle
_VANISHED = 1e-12  # a ray outside already at this share of the first step has no radius to find
_SHARED = 256  # powers of the step ratio are made so many at a time
_ROOM = 8  # points that each ray has room for at first; the room doubles when it is full
#: as plain numbers, which numpy takes in a tenth of the time
_CROSSED, _CENSORED, _UNFINISHED = int(RayStatus.CROSSED), int(RayStatus.CENSORED), int(RayStatus.UNFINISHED)


@dataclass(frozen=True)
class _Bracket:
    """The interval that holds the crossing of each ray, shape (rays,) each."""

    low: np.ndarray  #: largest radius inside; 0, the centre, if no point is
    high: np.ndarray  #: smallest radius outside; infinite while the ray marches

    @property
    def marching(self) -> np.ndarray:
        """Whether no point outside is known yet."""
        return ~np.isfinite(self.high)

    def of(self, chosen: np.ndarray) -> _Bracket:
        """Return the brackets of the chosen rays."""
        return _Bracket(self.low[chosen], self.high[chosen])


class FirstCrossing:
    """A search along many rays: ask :meth:`propose` where to evaluate, :meth:`tell` it the values, until none is left.

    Args:
        rays: number of rays.
        rises: cutoffs above the centre, ascending, shape (cutoffs,), all positive.
        first_step: r_0, the first point of the grid, one for all rays or shape (rays,).
        max_radius: cap on the radius, one for all rays or shape (rays,); may be infinite.
        step_ratio: q, ratio of successive points of the grid, > 1.
        rtol: how far, relative to the radius, the inner end of a finished bracket may lie from it.
        max_points: evaluations a ray may take before it is given up, beside a march to the cap.

    >>> search = FirstCrossing(1, np.array([4.0]), first_step=1.0)
    >>> while len(rays := search.active()):
    ...     r = search.propose(rays)
    ...     search.tell(rays, r, r**2, np.array([True]))
    >>> round(float(search.radii[0, 0]), 9), int(search.calls[0])
    (2.0, 3)
    """

    def __init__(
        self,
        rays: int,
        rises: np.ndarray,
        *,
        first_step: float | np.ndarray,
        max_radius: float | np.ndarray = np.inf,
        step_ratio: float = 2.0,
        rtol: float = 1e-3,
        max_points: int = 200,
    ) -> None:
        self.rises = np.asarray(rises, dtype=np.float64)
        size = (rays, len(self.rises))
        self.radii = np.full(size, np.nan)
        self.status = np.full(size, RayStatus.PENDING, dtype=np.int8)
        self.lower = np.zeros(size)
        self.upper = np.full(size, np.inf)
        self.calls = np.zeros(rays, dtype=np.int64)
        # NaN where a ray has no point yet: no comparison holds for it
        self.points_r = np.full((rays, _ROOM), np.nan)
        self.points_u = np.full((rays, _ROOM), np.nan)
        self.points_exact = np.zeros((rays, _ROOM), dtype=bool)
        self._cutoff = np.zeros(rays, dtype=np.int64)  # position of the cutoff that each ray looks for
        self._inner = np.zeros(rays)  # the point of the grid before the last; the centre at first
        self._outer = np.zeros(rays)  # the last point of the grid that was evaluated
        self._outer_rise = np.full(rays, -np.inf)  # u there; all points of the grid before are inside
        self._marched = np.zeros(rays, dtype=np.int64)  # points of the grid so far
        self._bracket = _Bracket(np.zeros(rays), np.full(rays, np.inf))  # of the cutoff that each ray looks for
        self._log_crossing = np.full(rays, np.nan)  # the predicted log radius in this bracket
        self._log_width = np.full(rays, np.inf)  # of the bracket when it last halved
        self._since_halved = np.zeros(rays, dtype=np.int64)  # points since then
        self._max_radius = np.broadcast_to(np.asarray(max_radius, dtype=np.float64), rays)
        self._first_step = np.broadcast_to(np.asarray(first_step, dtype=np.float64), rays)
        self._rtol = rtol
        self._max_points = max_points + _points_to(self._max_radius, self._first_step, step_ratio)
        # rounded up, so that searches of other lengths share them
        self._powers = _powers(float(step_ratio), -(-self._max_points // _SHARED) * _SHARED)

    def active(self) -> np.ndarray:
        """Return the rays that still need a point."""
        return np.flatnonzero(self._cutoff < len(self.rises))

    def propose(self, rays: np.ndarray) -> np.ndarray:
        """Return the next radius for each of these rays."""
        closing = ~self._bracket.of(rays).marching
        radius = np.empty(len(rays))
        radius[~closing] = self._next_on_grid(rays[~closing])
        if closing.any():
            radius[closing] = self._close(rays[closing])
        return radius

    def tell(self, rays: np.ndarray, radii: np.ndarray, rises: np.ndarray, exact: np.ndarray) -> None:
        """Take the values at the proposed radii; NaN and infinity count as outside.

        Args:
            rays: the rays, as from :meth:`active`.
            radii: where they were evaluated.
            rises: u there. If not ``exact``, only that it is above the ceiling is certain; the value is a guess.
            exact: whether the value is the loss itself.
        """
        if self.calls.max() == self.points_r.shape[1]:
            room = ((0, 0), (0, self.points_r.shape[1]))
            self.points_r = np.pad(self.points_r, room, constant_values=np.nan)
            self.points_u = np.pad(self.points_u, room, constant_values=np.nan)
            self.points_exact = np.pad(self.points_exact, room)
        column, heights = self.calls[rays], np.where(np.isfinite(rises), rises, np.inf)
        self.points_r[rays, column] = radii
        self.points_u[rays, column] = heights
        self.points_exact[rays, column] = exact & np.isfinite(rises)
        self.calls[rays] += 1
        rise = self.rises[self._cutoff[rays]]
        marching = self._outer_rise[rays] < rise
        self._advance(rays[marching], radii[marching], heights[marching])
        # most points of a march are inside: all that they change is where the bracket begins
        goes_on = (heights < rise) & marching & (radii < self._max_radius[rays]) & (column + 1 < self._max_points)
        further, waiting = rays[goes_on], rays[~goes_on]
        self._bracket.low[further] = self.lower[further, self._cutoff[further]] = radii[goes_on]
        while len(waiting):
            finished = self._finish(waiting)
            self._cutoff[finished] += 1
            self._since_halved[finished], self._log_width[finished] = 0, np.inf
            waiting = finished[self._cutoff[finished] < len(self.rises)]

    def _next_on_grid(self, rays: np.ndarray) -> np.ndarray:
        """Return the next point of each ray's grid; the cap is the last."""
        return np.minimum(self._first_step[rays] * self._powers[self._marched[rays]], self._max_radius[rays])

    def _advance(self, rays: np.ndarray, radii: np.ndarray, heights: np.ndarray) -> None:
        """Take the values at the next point of the grid of these rays."""
        self._inner[rays], self._outer[rays], self._outer_rise[rays] = self._outer[rays], radii, heights
        self._marched[rays] += 1

    def _find_bracket(self, rays: np.ndarray, rise: np.ndarray) -> _Bracket:
        """Return the bracket of each ray's current cutoff: two points of the grid, or two points between them."""
        marching = self._outer_rise[rays] < rise
        inner = np.where(marching, self._outer[rays], self._inner[rays])
        outer = np.where(marching, np.inf, self._outer[rays])
        r = self.points_r[rays]
        between = (r > inner[:, None]) & (r < outer[:, None])
        outside = between & (self.points_u[rays] >= rise[:, None])
        high = np.minimum(outer, np.where(outside, r, np.inf).min(axis=1))
        low = np.maximum(inner, np.where(between & (r < high[:, None]), r, 0.0).max(axis=1))
        return _Bracket(low, high)

    def _finish(self, rays: np.ndarray) -> np.ndarray:
        """Settle the current cutoff of the rays that are done with it, and return those rays."""
        column = self._cutoff[rays]
        rise = self.rises[column]
        bracket = self._find_bracket(rays, rise)
        low, high = bracket.low, bracket.high
        self.lower[rays, column], self.upper[rays, column] = low, high
        log_crossing, crossing, crossed = np.full(len(rays), np.nan), low, ~bracket.marching
        closing = np.flatnonzero(crossed)
        if len(closing):
            part = rays[closing], bracket.of(closing), rise[closing]
            log_crossing[closing] = self._interpolate(*part)
            crossing = np.clip(np.exp(log_crossing), low, high)
            crossed[closing] = self._closed(*part, crossing[closing])
        censored = bracket.marching & (low >= self._max_radius[rays])
        vanished = (low == 0) & (high < _VANISHED * self._first_step[rays])
        done = np.flatnonzero(crossed | censored | vanished | (self.calls[rays] >= self._max_points))
        if len(done):
            kind = np.where(crossed, _CROSSED, np.where(censored, _CENSORED, _UNFINISHED))
            radius = np.where(crossed & np.isfinite(crossing), crossing, low)
            self.status[rays[done], column[done]] = kind[done]
            self.radii[rays[done], column[done]] = radius[done]
        self._keep_bracket(rays, bracket, log_crossing, closing)
        return rays[done]

    def _closed(self, rays: np.ndarray, bracket: _Bracket, rise: np.ndarray, crossing: np.ndarray) -> np.ndarray:
        """Return whether a bracket is narrow enough to report the crossing.

        Either the inner end is within rtol of an interpolation that can be trusted, or both ends are that close.
        """
        low, high = bracket.low, bracket.high
        trusted = (self._rise_at(rays, low) >= _NEAR * rise) & self._exact_at(rays, high)
        with np.errstate(invalid="ignore"):
            return (trusted & (crossing - low <= self._rtol * crossing)) | (high - low <= self._rtol * high)

    def _rise_at(self, rays: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return u at an evaluated radius; 0 at the centre."""
        here = self.points_r[rays] == radius[:, None]
        return np.where(here, self.points_u[rays], 0.0).max(axis=1)

    def _exact_at(self, rays: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return whether the loss at an evaluated radius is known exactly."""
        here = self.points_r[rays] == radius[:, None]
        return (here & self.points_exact[rays]).any(axis=1)

    def _keep_bracket(self, rays: np.ndarray, bracket: _Bracket, log_crossing: np.ndarray, closing: np.ndarray) -> None:
        """Keep what the next point depends on, and count the points since the bracket of a closing ray last halved."""
        self._bracket.low[rays], self._bracket.high[rays] = bracket.low, bracket.high
        self._log_crossing[rays] = log_crossing
        if not len(closing):
            return
        part, ends = rays[closing], bracket.of(closing)
        with np.errstate(divide="ignore"):
            width = np.log(ends.high) - np.log(ends.low)
        halved = width <= self._log_width[part] / 2
        self._log_width[part] = np.where(halved, width, self._log_width[part])
        self._since_halved[part] = np.where(halved, 0, self._since_halved[part] + 1)

    def _close(self, rays: np.ndarray) -> np.ndarray:
        """Return a radius inside the bracket: near the predicted crossing, or the middle if that is slow."""
        bracket, crossing = self._bracket.of(rays), self._log_crossing[rays]
        with np.errstate(divide="ignore"):
            bottom, top = np.log(bracket.low), np.log(bracket.high)
        # once the inner end is close enough, only a point just outside can close the bracket
        placed = crossing - bottom <= self._rtol
        target = np.where(placed, np.maximum(crossing, bottom) + _BEYOND * self._rtol, crossing - _AIM * self._rtol)
        middle = np.where(bracket.low > 0, (bottom + top) / 2, top - math.log(2.0))
        slow = self._since_halved[rays] >= _SLOW
        halve = ~np.isfinite(target) | (target <= bottom) | (target >= top) | slow
        self._since_halved[rays[halve]] = 0
        return np.exp(np.where(halve, middle, target))

    def _interpolate(self, rays: np.ndarray, bracket: _Bracket, rise: np.ndarray) -> np.ndarray:
        """Return the predicted log radius of the crossing, by the first of these that applies.

        1. Nothing (NaN), if the loss at the outer end is infinite.
        2. A parabola, log r against log u, through both ends and the point nearest to the crossing. All three must rise
           with r, and the crossing must lie between the ends.
        3. The line through both ends.
        4. If nothing is known inside: the outer end and the slope that another point outside shows.
        5. The outer end and the slope of a quadratic bowl.
        """
        points, target = self._log_points(rays), np.log(rise)
        inner, outer = points.at(bracket.low), points.at(bracket.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            line, bowl = curves.line(target, inner, outer), curves.power_law(target, outer, _BOWL)
            third = points.nearest(np.where(inner.known, line, bowl), bracket.low, bracket.high)
            parabola = curves.parabola(target, inner, outer, third)
            rising = curves.rising(inner, third) & curves.rising(outer, third)
            inside = (parabola > inner.x) & (parabola < outer.x)
            slope = np.clip((third.y - outer.y) / (third.x - outer.x), *_SLOPES)
            radius = np.where(third.known & (slope > 0), curves.power_law(target, outer, slope), bowl)
        radius = np.where(inner.known, line, radius)
        radius = np.where(inner.known & third.known & rising & inside, parabola, radius)
        return np.where(outer.known, radius, np.nan)

    def _log_points(self, rays: np.ndarray) -> LogPoints:
        """Return all points of these rays, in logarithms."""
        r, u = self.points_r[rays], self.points_u[rays]
        usable = (u > 0) & np.isfinite(u)
        with np.errstate(divide="ignore", invalid="ignore"):
            return LogPoints(r, np.log(r), np.log(u), usable)


@lru_cache(maxsize=8)
def _powers(step_ratio: float, count: int) -> np.ndarray:
    """Return the powers 0 to ``count - 1`` of the step ratio; they may be infinite."""
    with np.errstate(over="ignore"):
        # one at a time: the powers of an array may differ in the last bit with its length
        powers = np.array([np.float64(step_ratio) ** k for k in range(count)])
    powers.flags.writeable = False
    return powers


def _points_to(cap: np.ndarray, first_step: np.ndarray, step_ratio: float) -> int:
    """Return how many points the longest march to a finite cap takes; 0 if there is no cap."""
    with np.errstate(invalid="ignore"):
        steps = np.log(cap / first_step) / math.log(step_ratio)
    finite = steps[np.isfinite(steps)]
    return max(0, math.ceil(finite.max())) + 1 if len(finite) else 0
