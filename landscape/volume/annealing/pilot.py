"""Pilot chains, who learn the way from uniform directions to r^n for those whose weights count.

From target to target they go by gains of log density whose standard deviation over the chains is fixed: its square is
twice the divergence between neighbouring targets. At every target they try the moves and note a :class:`Lesson`.

Three paths (:mod:`landscape.volume.annealing.targets`): by *radius*, r^(t n) with t from 0 to 1; *soft*, F_b with b
from 0 until the chains are inside, then F_b^(1-t) r^(t n); and *growth*, the same with b = n and a reach R from where
all rays are inside to where the walls, or the cap, stop the chains. Left to itself the pilot begins by radius. Where a
gradient exists but flights along the radius get nowhere, on nets, it turns to the soft path, or in learnt coordinates
to growth: the soft path's few points on a ray suit wide basins, which keep the coordinates of the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import ObjectiveError
from landscape.volume.annealing.moves import Flight, Moved, flight_move, slice_move, tangent
from landscape.volume.annealing.points import Points, typical
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import Streams, normals, stream
from landscape.volume.annealing.targets import RadiusTarget, Ray, SoftTarget, Target, growing_ray, measured
from landscape.volume.ray_weights import statistics as weights

PATHS = ("auto", "radius", "soft", "growth")
PILOT_CHAINS = 16
_STRIDE = 1 / 25  # standard deviation of a gain on the way by radius, over sqrt(n)
_SOFT_LESSONS = 25  # on the soft way it is 1, and after so many lessons their number over that: longer on a long way
_GIVE_UP = 3  # targets in a row at which flights were worse than slices by _WORSE
_WORSE = 10.0
_ARC = 5.0  # width of the arc over the mean angle
_INSIDE, _MOST_INSIDE = 0.8, 0.9  # rises over the cutoff's, and the share of chains below it, at which b is enough
_HARDEST = 1e7
_FIRST_REACH, _FIRST_SPREAD = 0.3, 1.0  # of the shortest radius of the pilot's uniform rays, and of their log F there
_MOST_GROWTH, _LEAST_GROWTH = 1.25, 1.04  # factor of the reach from target to target
_HALVINGS = 40  # of the first reach
_CLEAR = 4.0  # strides wanted that a lesson by growth may count for
_MOST_STOPPED = 0.5  # share of chains that walls have stopped at which growth ends
_EVEN = 0.5  # effective sample size over the number of chains below which they are resampled
_LEAST_HARDENING = 0.1  # of t from target to target after it


@dataclass(frozen=True)
class Flights:
    """How chains fly on a path.

    Attributes:
        most: leapfrog steps a flight may take; on some paths each costs several gradients.
        varied, kept: as for :func:`landscape.volume.annealing.moves.flight_move`.
        accepted: share that step sizes aim at; kept velocities turn back where a proposal is refused.
    """

    most: int
    varied: float = 1.0
    kept: float = 0.0
    accepted: float = 0.8


FLIGHTS = {"radius": Flights(1000), "soft": Flights(20), "growth": Flights(6, varied=0.25, kept=0.9, accepted=0.9)}


@dataclass(frozen=True)
class Lesson:
    """What the pilot learnt at one target; the fields are columns of the trace."""

    temperature: float
    hardness: float  # NaN on the way by radius
    stride: float  # standard deviation of the gain that led here
    energy: float
    energy_spread: float
    step: float
    time: float
    width: float
    flight_gain: float
    slice_gain: float
    log_radius: float
    log_radius_spread: float
    accepted: float = math.nan
    evaluations: float = math.nan
    reach: float = math.nan  # NaN but on the way by growth

    @property
    def path(self) -> str:
        """Of which path it is."""
        if not math.isnan(self.reach):
            return "growth"
        return "radius" if math.isnan(self.hardness) else "soft"


def first_lesson(body: StarBody, points: Points, path: str) -> Lesson:
    """Return what uniform rays say, and the sizes to start from.

    Raises:
        ObjectiveError: for a path that needs gradients where there are none.
    """
    quarter = math.pi / 2 / math.sqrt(body.dimension)
    step = 0.3 * quarter if body.has_gradient(points.phi[:1]) else 0.0
    if path != "radius" and step == 0:
        raise ObjectiveError(
            f"the path {path} needs gradients, and this function has none that torch can follow. Pass path='radius'."
        )
    hardness = {"radius": math.nan, "soft": 0.0, "growth": float(body.dimension)}[path]
    reach = _first_reach(body, points) if path == "growth" else math.nan
    guess = typical(points.log_radius)
    return Lesson(
        0.0, hardness, 0.0, *energy_of(body, points), step, quarter, 2 * math.pi, 0.0, 0.0, *guess, reach=reach
    )


def _first_reach(body: StarBody, points: Points) -> float:
    """Return a reach up to which these rays are all inside, and from which their log F hardly differ yet."""
    known = points.log_radius[np.isfinite(points.log_radius)]
    n, reach = body.dimension, _FIRST_REACH * float(np.exp(known.min()))
    for _ in range(_HALVINGS):
        target = SoftTarget(body, growing_ray(n), n, 0.0, reach)
        if _spread(target.log_density(target.seen(points))) <= _FIRST_SPREAD:
            break
        reach /= 2
    return reach


def energy_of(body: StarBody, points: Points) -> tuple[float, float]:
    """Return the mean of n log r over the chains, and its spread; rays that end at once are left out."""
    energy = body.dimension * points.extent[~np.isneginf(points.extent)]
    return float(energy.mean()) if len(energy) else -math.inf, float(energy.std(ddof=1)) if len(energy) > 1 else 0.0


def radius_step(body: StarBody, points: Points, lessons: list[Lesson], seed: int, leg: int) -> tuple[Points, Lesson]:
    """Go to the next temperature by radius and try both moves; return where the chains are and what was learnt."""
    last, n, before = lessons[-1], body.dimension, body.evaluations
    gain = _STRIDE * math.sqrt(n) / last.energy_spread if last.energy_spread > 0 else 1.0
    t = min(last.temperature + gain, 1.0)
    target = RadiusTarget(body, t * n, typical(points.log_radius))
    slid = slice_move(
        body, points, target.power, last.width, _streams(points, seed, leg, 2 * len(lessons)), target.guess
    )
    slice_gain = _gain(slid, body.evaluations - before)
    points, mean_angle = slid.points, float(np.arcsin(np.sin(slid.angle)).mean())
    width = float(np.clip(_ARC * mean_angle, last.width / 2, min(2 * last.width, 2 * math.pi)))
    step, time, flight_gain, accepted = 0.0, 0.0, 0.0, math.nan
    if last.step > 0 and not hopeless(lessons):
        streams = _streams(points, seed, leg, 2 * len(lessons) + 1)
        points, step, time, flight_gain, accepted = _fly(body, target, points, last, streams)
    return points, Lesson(
        t,
        math.nan,
        (t - last.temperature) * last.energy_spread,
        *energy_of(body, points),
        step,
        time,
        width,
        flight_gain,
        slice_gain,
        *typical(points.log_radius),
        accepted=accepted,
        evaluations=(body.evaluations - before) / len(points),
    )


def soft_step(
    body: StarBody, ray: Ray, points: Points, lessons: list[Lesson], seed: int, leg: int
) -> tuple[Points, Lesson]:
    """Go to the next target of the soft path or of growth; return where the chains are and what was learnt."""
    last, before = lessons[-1], body.evaluations
    most = _soft_stride(len(lessons))
    now = target_of(body, ray, last)
    density = now.log_density(points)
    target = None
    if last.temperature == 0:
        next_of = _wider if last.path == "growth" else _harder
        target = next_of(now, points, most, lessons)
    if target is None:
        points = measured(body, points)
        start, end = replace(now, temperature=0.0), replace(now, temperature=1.0)
        way = _spread(end.log_density(points) - start.log_density(points))
        further = most / way if way > 0 else 1.0
        if last.path == "growth":
            further = max(further, _LEAST_HARDENING)
        target = replace(now, temperature=min(last.temperature + further, 1.0))
    points = target.seen(points)
    gains = target.log_density(points) - density
    stride, streams = _spread(gains), _streams(points, seed, leg, 2 * len(lessons))
    if last.path == "growth" and uneven(gains):
        points = points.take(weights.resample(gains, 0.5))
    points, step, time, gain, accepted = _fly(body, target, points, last, streams)
    return points, Lesson(
        target.temperature,
        target.hardness,
        stride,
        *energy_of(body, points),
        step,
        time,
        math.nan,
        gain,
        0.0,
        math.nan,
        math.nan,
        accepted=accepted,
        evaluations=(body.evaluations - before) / len(points),
        reach=math.nan if target.reach is None else target.reach,
    )


def _soft_stride(index: int) -> float:
    return max(1.0, index / _SOFT_LESSONS)


def wanted(index: int, path: str) -> float:
    """Return what a lesson may count for in the length of the path, however far its gain spread.

    By growth some chains of the pilot are left behind walls, and what their gains spread by says nothing of the others.
    """
    return _CLEAR * _soft_stride(index) if path == "growth" else math.inf


def target_of(body: StarBody, ray: Ray, lesson: Lesson) -> SoftTarget:
    """Return the target of a lesson of the soft path or of growth."""
    reach = lesson.reach if lesson.path == "growth" else None
    return SoftTarget(body, ray, lesson.hardness, lesson.temperature, reach)


def uneven(log_weights: np.ndarray) -> bool:
    """Whether so few chains carry the weights that the others should give way."""
    return 0 < weights.effective_sample_size(log_weights) < _EVEN * len(log_weights)


def hopeless(lessons: list[Lesson]) -> bool:
    """Whether flights have been far worse than slices for a while."""
    recent = lessons[-_GIVE_UP:]
    return len(recent) == _GIVE_UP and all(
        lesson.slice_gain > 0 and lesson.flight_gain * _WORSE < lesson.slice_gain for lesson in recent
    )


def _streams(points: Points, seed: int, leg: int, step: int) -> Streams:
    return [stream(seed, chain, leg, step) for chain in range(len(points))]


def _spread(values: np.ndarray) -> float:
    """Return half the width of the middle 68 %: a few chains that are lost should not hold up the others."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def _harder(now: SoftTarget, points: Points, stride: float, _: list[Lesson]) -> SoftTarget | None:
    """Return the next b: at most half as much again, less where the gains would spread by more than the stride.

    None where the chains are inside.
    """
    ray, rises, hardness = now.ray, points.rises, now.hardness
    if ray.inside(rises, hardness, _INSIDE).mean() >= _MOST_INSIDE or hardness >= _HARDEST:
        return None
    here, more = ray.log_soft(rises, hardness), max(0.5 * hardness, 1e-4)
    while _spread(ray.log_soft(rises, hardness + more) - here) > stride and more > 1e-12:
        more *= 0.8
    return replace(now, hardness=hardness + more)


def _wider(now: SoftTarget, points: Points, stride: float, lessons: list[Lesson]) -> SoftTarget | None:
    """Return the next reach: less far where the gains would spread by more than the stride.

    None where it is beyond the cap for nearly all chains, or for half of them the shell that weighs most is no more the
    outermost one: points far apart make walls look nearer than they are.
    """
    assert now.reach is not None
    stopped = now.ray.shares(points.rises, now.hardness).argmax(axis=1) < len(now.ray.shells) - 1
    capped = now.body.reach(points.phi) <= now.reach
    if (stopped & ~capped).mean() >= _MOST_STOPPED or (stopped | capped).mean() >= _MOST_INSIDE:
        return None
    here, least = now.log_density(points), _LEAST_GROWTH
    last = now.reach / lessons[-2].reach if len(lessons) > 1 and lessons[-2].path == "growth" else _MOST_GROWTH
    factor = max(min(last**2, _MOST_GROWTH), least)
    while True:
        wider = replace(now, reach=now.reach * factor)
        if factor <= least or _spread(wider.log_density(wider.seen(points)) - here) <= stride:
            return wider
        factor = max(factor**0.6, least)


def _fly(
    body: StarBody, target: Target, points: Points, last: Lesson, streams: Streams
) -> tuple[Points, float, float, float, float]:
    """Find how long to fly, and fly; return the points, the next step and time, the gain and the acceptance."""
    how = FLIGHTS[last.path]
    if last.path == "growth":  # turning back is not waited for: steps are short
        time = min(math.pi / 2 / math.sqrt(body.dimension), how.most * last.step)
    else:
        time = _quarter_turn(target, points, last, streams, how.most)
    count = min(max(round(time / last.step), 1), how.most)
    before = body.evaluations
    flown = flight_move(target, points, last.step, count, streams, how.varied, how.kept)
    accepted = float(flown.accepted.mean())
    step = min(last.step * math.exp(accepted - how.accepted), math.pi / 2 / math.sqrt(body.dimension))
    return flown.points, step, time, _gain(flown, body.evaluations - before), accepted


def _gain(moved: Moved, evaluations: float) -> float:
    """Return the squared sine of the angle gone an evaluation: on a symmetric body the antipode is no way off."""
    return float(np.square(np.sin(moved.angle)).sum()) / max(evaluations, 1.0)


def _quarter_turn(target: Target, points: Points, last: Lesson, streams: Streams, most: int) -> float:
    """Return half the time after which the median flight turns back towards where it began."""
    velocity = tangent(normals(streams, points.phi), points.phi)
    flight = Flight(target, points.phi, velocity, last.step)
    limit = min(max(50, 4 * round(last.time / last.step)), 2 * most)
    turned = np.full(len(points), limit)
    for count in range(1, limit):
        flight.advance()
        back = ((flight.phi - points.phi) * flight.velocity).sum(1).cpu().numpy() < 0
        turned[back & (turned == limit)] = count
        if np.median(turned) <= count:
            break
    return float(np.median(turned)) * last.step / 2
