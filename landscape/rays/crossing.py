"""The first crossing of each cutoff along many rays at once, in few evaluations. Numpy only; knows no model.

Along a ray let u(r) = f(r) - f(0). The search for the first r with u(r) >= U has two parts:

1. *March.* Go outwards until a point is outside. From radius r the next point is at most max(``first_step``,
   (``step_ratio`` - 1) · r) further out. If the loss predicts a crossing sooner, the step is shorter.
   Guarantee: a stretch of the ray [a, b] outside the basin is never stepped over if b - a >= max(first_step,
   (step_ratio - 1) · a). A thinner wall can be stepped over. Smaller values of ``step_ratio`` and ``first_step`` find
   it, at more evaluations.
2. *Close.* Interpolate log r as a function of log u between the last point inside and the first outside. This is exact
   for every power law, so for every quadratic bowl. If the bracket shrinks too slowly, halve it instead. The search
   ends when the inner end, a point evaluated and found inside, is within ``rtol`` of the interpolated crossing. If the
   loss jumps, or the outer value is not exact, it ends when both ends are that close to each other.

The reported radius is the interpolated crossing. If the loss does something wild just beyond the inner end, the radius
is too small, and never too large by more than ``rtol``. All points of a ray serve all its cutoffs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.rays import curves
from landscape.rays.curves import Guess, LogPoints
from landscape.results import RayStatus

_AIM = 0.5  # aim this share of rtol short of the predicted crossing, so that a good guess ends just inside
_BEYOND = 0.3  # or this share beyond it, if a point outside has to close the bracket
_PATIENCE = 3  # guesses that may fall short on a march before it takes the longest step allowed
_NEAR = 0.9  # the inner end must reach this share of the rise before an interpolation beyond it is trusted
_BOWL = 2.0  # slope of log u against log r of a quadratic bowl, assumed until points show another
_SLOPES = (1 / 8, 32.0)  # plausible slopes of log u against log r
_TRUST = 0.5  # standard error of an extrapolation in log r, over its length
_SLOW = 3  # points a bracket may take to halve (in log) before it is cut in the middle
_VANISHED = 1e-12  # a ray outside already at this share of the first step has no radius to find
_ROOM = 8  # points that each ray has room for at first; the room doubles when it is full


@dataclass(frozen=True)
class RadiusPrior:
    """What the radii of other rays of the same net suggest for a new ray.

    A prior only moves guesses: every bracket is proven on its own ray.

    Attributes:
        step: typical log of each cutoff's radius over the one before (over 1 for the first), shape (cutoffs,).
        spread: standard deviation of that over rays, shape (cutoffs,); infinite if nothing is known.
    """

    step: np.ndarray
    spread: np.ndarray

    @classmethod
    def unknown(cls, cutoffs: int) -> RadiusPrior:
        """Return the prior that says nothing."""
        return cls(np.zeros(cutoffs), np.full(cutoffs, np.inf))


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
        first_step: length of the first step, one for all rays or shape (rays,).
        max_radius: cap on the radius, one for all rays or shape (rays,); may be infinite.
        step_ratio: largest ratio of successive radii in the march, > 1.
        rtol: how far, relative to the radius, the inner end of a finished bracket may lie from it.
        prior: what other rays suggest; by default a quadratic bowl of unknown size.
        max_points: evaluations a ray may take before it is given up.

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
        prior: RadiusPrior | None = None,
        max_points: int = 200,
    ) -> None:
        self.rises = np.asarray(rises, dtype=np.float64)
        size = (rays, len(self.rises))
        self.radii = np.full(size, np.nan)
        self.status = np.full(size, RayStatus.PENDING, dtype=np.int8)
        self.lower = np.zeros(size)
        self.upper = np.full(size, np.inf)
        self.calls = np.zeros(rays, dtype=np.int64)
        self.points_r = np.zeros((rays, _ROOM))
        self.points_u = np.zeros((rays, _ROOM))
        self.points_exact = np.zeros((rays, _ROOM), dtype=bool)
        self._cutoff = np.zeros(rays, dtype=np.int64)  # position of the cutoff that each ray looks for
        self._fell_short = np.zeros(rays, dtype=np.int64)  # points of this cutoff's march
        self._log_width = np.full(rays, np.inf)  # of the bracket when it last halved
        self._since_halved = np.zeros(rays, dtype=np.int64)  # points since then
        self._max_radius = np.broadcast_to(np.asarray(max_radius, dtype=np.float64), rays)
        self._first_step = np.minimum(first_step, self._max_radius)
        self._step_ratio, self._rtol = step_ratio, rtol
        self._max_points = max_points
        self._prior = prior or RadiusPrior.unknown(len(self.rises))

    def active(self) -> np.ndarray:
        """Return the rays that still need a point."""
        return np.flatnonzero(self._cutoff < len(self.rises))

    def propose(self, rays: np.ndarray) -> np.ndarray:
        """Return the next radius for each of these rays."""
        rise = self.rises[self._cutoff[rays]]
        bracket = self._bracket(rays, rise)
        radius = np.empty(len(rays))
        marching, closing = bracket.marching, ~bracket.marching
        if marching.any():
            radius[marching] = self._march(rays[marching], bracket.low[marching], rise[marching])
        if closing.any():
            radius[closing] = self._close(rays[closing], bracket.of(closing), rise[closing])
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
            self.points_r, self.points_u = np.pad(self.points_r, room), np.pad(self.points_u, room)
            self.points_exact = np.pad(self.points_exact, room)
        column = self.calls[rays]
        self.points_r[rays, column] = radii
        self.points_u[rays, column] = np.where(np.isfinite(rises), rises, np.inf)
        self.points_exact[rays, column] = exact & np.isfinite(rises)
        self.calls[rays] += 1
        waiting = rays
        while len(waiting):
            finished = self._finish(waiting)
            self._cutoff[finished] += 1
            self._since_halved[finished], self._fell_short[finished], self._log_width[finished] = 0, 0, np.inf
            waiting = finished[self._cutoff[finished] < len(self.rises)]

    def _known(self, rays: np.ndarray) -> np.ndarray:
        return np.arange(self.points_r.shape[1]) < self.calls[rays, None]

    def _bracket(self, rays: np.ndarray, rise: np.ndarray) -> _Bracket:
        """Return the bracket of each ray's current cutoff."""
        r, known = self.points_r[rays], self._known(rays)
        outside = known & (self.points_u[rays] >= rise[:, None])
        high = np.where(outside, r, np.inf).min(axis=1)
        low = np.where(known & (r < high[:, None]), r, 0.0).max(axis=1)
        return _Bracket(low, high)

    def _finish(self, rays: np.ndarray) -> np.ndarray:
        """Settle the current cutoff of the rays that are done with it, and return those rays."""
        column = self._cutoff[rays]
        rise = self.rises[column]
        bracket = self._bracket(rays, rise)
        low, high = bracket.low, bracket.high
        self.lower[rays, column], self.upper[rays, column] = low, high
        crossing = np.clip(np.exp(self._interpolate(rays, bracket, rise)), low, high)
        crossed = ~bracket.marching & self._closed(rays, bracket, rise, crossing)
        censored = bracket.marching & (low >= self._max_radius[rays])
        vanished = (low == 0) & (high < _VANISHED * self._first_step[rays])
        done = crossed | censored | vanished | (self.calls[rays] >= self._max_points)
        status = np.select([crossed, censored], [RayStatus.CROSSED, RayStatus.CENSORED], RayStatus.UNFINISHED)
        radius = np.where(crossed & np.isfinite(crossing), crossing, low)
        self.status[rays[done], column[done]] = status[done]
        self.radii[rays[done], column[done]] = radius[done]
        self._note_pace(rays, bracket)
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
        here = self._known(rays) & (self.points_r[rays] == radius[:, None])
        return np.where(here, self.points_u[rays], 0.0).max(axis=1)

    def _exact_at(self, rays: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return whether the loss at an evaluated radius is known exactly."""
        here = self._known(rays) & (self.points_r[rays] == radius[:, None])
        return (here & self.points_exact[rays]).any(axis=1)

    def _note_pace(self, rays: np.ndarray, bracket: _Bracket) -> None:
        """Count the points of the march, and those since the bracket last halved."""
        marching = bracket.marching
        with np.errstate(divide="ignore", invalid="ignore"):
            width = np.where(marching, np.inf, np.log(bracket.high) - np.log(bracket.low))
        halved = (width <= self._log_width[rays] / 2) | marching
        self._log_width[rays] = np.where(halved, width, self._log_width[rays])
        self._since_halved[rays] = np.where(halved, 0, self._since_halved[rays] + 1)
        self._fell_short[rays] += marching

    def _march(self, rays: np.ndarray, low: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return the next radius further out: just beyond the predicted crossing, within the step rule."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            own, others = self._extrapolate(rays, np.log(rise)), self._expect(rays, low)
            predicted = np.exp(curves.just_beyond(own, others))
        # a guess just short of the last point would not advance the march
        predicted = np.maximum(predicted, low) * (1 + self._rtol)
        longest = low + np.maximum(self._first_step[rays], (self._step_ratio - 1) * low)
        # a loss that levels off just below the cutoff would be followed in tiny steps
        predicted = np.where(self._fell_short[rays] > _PATIENCE, longest, predicted)
        return np.minimum(np.minimum(predicted, longest), self._max_radius[rays])

    def _extrapolate(self, rays: np.ndarray, target: np.ndarray) -> Guess:
        """Guess the crossing from each ray's two outermost points; the error grows with the length of the way."""
        last, before = self._log_points(rays).outermost()
        shown = (last.y - before.y) / (last.x - before.x)
        slope = np.where(before.known & (shown > 0), np.clip(shown, *_SLOPES), _BOWL)
        ahead = (target - last.y) / slope
        length = np.where(last.known, ahead, np.inf)
        return Guess(last.x + ahead, (_TRUST * np.maximum(length, self._rtol)) ** -2)

    def _expect(self, rays: np.ndarray, low: np.ndarray) -> Guess:
        """Guess the crossing from other rays; there is no guess for a ray that is already further out."""
        column = self._cutoff[rays]
        start = np.where(column > 0, np.log(self.radii[rays, np.maximum(column - 1, 0)]), 0.0)
        log_radius, spread = start + self._prior.step[column], self._prior.spread[column]
        return Guess(log_radius, np.where((log_radius > np.log(low)) & (spread > 0), spread**-2, 0.0))

    def _close(self, rays: np.ndarray, bracket: _Bracket, rise: np.ndarray) -> np.ndarray:
        """Return a radius inside the bracket: near the predicted crossing, or the middle if that is slow."""
        with np.errstate(divide="ignore"):
            bottom, top = np.log(bracket.low), np.log(bracket.high)
        crossing = self._interpolate(rays, bracket, rise)
        # once the inner end is close enough, only a point just outside can close the bracket
        placed = crossing - bottom <= self._rtol
        target = np.where(placed, np.maximum(crossing, bottom) + _BEYOND * self._rtol, crossing - _AIM * self._rtol)
        middle = np.where(bracket.low > 0, (bottom + top) / 2, top - np.log(self._step_ratio))
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
            cases = [
                (~outer.known, np.full(len(rays), np.nan)),
                (inner.known & third.known & rising & inside, parabola),
                (inner.known, line),
                (third.known & (slope > 0), curves.power_law(target, outer, slope)),
            ]
        return np.select([applies for applies, _ in cases], [log_radius for _, log_radius in cases], bowl)

    def _log_points(self, rays: np.ndarray) -> LogPoints:
        """Return all points of these rays, in logarithms."""
        r, u = self.points_r[rays], self.points_u[rays]
        usable = self._known(rays) & (u > 0) & np.isfinite(u)
        with np.errstate(divide="ignore", invalid="ignore"):
            return LogPoints(r, np.log(r), np.log(u), usable)
