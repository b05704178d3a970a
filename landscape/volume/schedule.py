"""The path from uniform directions to r^n, learnt by pilot chains and then frozen, so that the weights stay unbiased.

The pilot goes from target to target by gains of log density whose standard deviation over the chains is fixed: its
square is twice the divergence between neighbouring targets. It tries the moves at every target and keeps what it
learns. The runs that count take K targets at equal steps of the pilot's length, so each costs about the same
divergence, and from the pilot by interpolation whatever a move needs. They use other random numbers, and nothing of
theirs changes the schedule.

Two paths (:mod:`landscape.volume.targets`): by *radius*, r^(t n) with t from 0 to 1, and *soft*, F_b with b from 0
until the chains are inside, then F_b^(1-t) r^(t n). Left to itself the pilot begins by radius, and turns to the soft
path where a gradient exists but flights along the radius get nowhere: on nets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from landscape.volume.body import Points, StarBody, typical
from landscape.volume.kernels import Flight, Moved, Streams, flight_move, normals, slice_move, stream, tangent
from landscape.volume.targets import RadiusTarget, Ray, SoftTarget, Target

PATHS = ("auto", "radius", "soft")
PILOT_CHAINS = 16
MOST_STEPS = {"radius": 1000, "soft": 20}  # leapfrog steps a flight may take; a soft one costs several gradients
_STRIDE = 1 / 25  # standard deviation of a gain on the way by radius, over sqrt(n)
_SOFT_LESSONS = 25  # on the soft way it is 1, and after so many lessons their number over that: longer on a long way
_TARGET = 0.8  # acceptance that step sizes aim at
_GIVE_UP = 3  # targets in a row at which flights were worse than slices by _WORSE
_WORSE = 10.0
_ARC = 5.0  # width of the arc over the mean angle
_INSIDE, _MOST_INSIDE = 0.8, 0.9  # rises over the cutoff's, and the share of chains below it, at which b is enough
_HARDEST = 1e7


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

    @property
    def soft(self) -> bool:
        """Whether it is of the soft path."""
        return not math.isnan(self.hardness)


def first_lesson(body: StarBody, points: Points, *, soft: bool) -> Lesson:
    """Return what uniform rays say, and the sizes to start from."""
    quarter = math.pi / 2 / math.sqrt(body.dimension)
    step = 0.3 * quarter if body.has_gradient(points.phi[:1]) else 0.0
    hardness = 0.0 if soft else math.nan
    guess = typical(points.log_radius)
    return Lesson(0.0, hardness, 0.0, *_energy(body, points), step, quarter, 2 * math.pi, 0.0, 0.0, *guess)


def _energy(body: StarBody, points: Points) -> tuple[float, float]:
    energy = body.dimension * points.extent
    return float(energy.mean()), float(energy.std(ddof=1))


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
        points, step, time, flight_gain, accepted = _fly(body, target, points, last, streams, MOST_STEPS["radius"])
    return points, Lesson(
        t,
        math.nan,
        (t - last.temperature) * last.energy_spread,
        *_energy(body, points),
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
    """Go to the next target of the soft path; return where the chains are and what was learnt."""
    last, before = lessons[-1], body.evaluations
    most = max(1.0, len(lessons) / _SOFT_LESSONS)
    now = SoftTarget(body, ray, last.hardness, last.temperature)
    inside = ray.inside(points.rises, last.hardness, _INSIDE).mean() >= _MOST_INSIDE
    if last.temperature == 0 and not inside and last.hardness < _HARDEST:
        target = SoftTarget(body, ray, _harder(ray, points.rises, last.hardness, most), 0.0)
    else:
        points = measured(body, points)
        full = SoftTarget(body, ray, last.hardness, 1.0)
        way = _spread(full.log_density(points) - SoftTarget(body, ray, last.hardness, 0.0).log_density(points))
        t = min(last.temperature + (most / way if way > 0 else 1.0), 1.0)
        target = SoftTarget(body, ray, last.hardness, t)
    stride = _spread(target.log_density(points) - now.log_density(points))
    streams = _streams(points, seed, leg, 2 * len(lessons))
    points, step, time, gain, accepted = _fly(body, target, points, last, streams, MOST_STEPS["soft"])
    return points, Lesson(
        target.temperature,
        target.hardness,
        stride,
        *_energy(body, points),
        step,
        time,
        math.nan,
        gain,
        0.0,
        math.nan,
        math.nan,
        accepted=accepted,
        evaluations=(body.evaluations - before) / len(points),
    )


def measured(body: StarBody, points: Points) -> Points:
    """Return the points with their radii, which the soft path does without until it needs them."""
    if not np.isnan(points.log_radius).any():
        return points
    found = body.measure(points.phi)
    found.rises = points.rises
    return found


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


def _harder(ray: Ray, rises: np.ndarray, hardness: float, stride: float) -> float:
    """Return the next b: at most half as much again, less where the gains would spread by more than the stride."""
    here, more = ray.log_soft(rises, hardness), max(0.5 * hardness, 1e-4)
    while _spread(ray.log_soft(rises, hardness + more) - here) > stride and more > 1e-12:
        more *= 0.8
    return hardness + more


def _fly(
    body: StarBody, target: Target, points: Points, last: Lesson, streams: Streams, most: int
) -> tuple[Points, float, float, float, float]:
    """Find how long to fly, and fly; return the points, the next step and time, the gain and the acceptance."""
    time = _quarter_turn(target, points, last, streams, most)
    count = min(max(round(time / last.step), 1), most)
    before = body.evaluations
    flown = flight_move(target, points, last.step, count, streams)
    accepted = float(flown.accepted.mean())
    step = min(last.step * math.exp(accepted - _TARGET), math.pi / 2 / math.sqrt(body.dimension))
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


@dataclass(frozen=True)
class Move:
    """A target on the way, and how to move under it."""

    target: Target
    flight: bool
    step: float
    time: float
    width: float
    most: int


class Schedule:
    """The frozen targets of one run, K + 1 of them from uniform to r^n.

    Args:
        body: whose radius it is.
        ray: of the soft path.
        lessons: what the pilot learnt, on one path.
        count: K.
    """

    def __init__(self, body: StarBody, ray: Ray, lessons: list[Lesson], count: int) -> None:
        self._body, self._ray, self._lessons = body, ray, lessons
        length = np.cumsum([lesson.stride for lesson in lessons])
        rows = np.arange(len(lessons))
        if length[-1] > 0:
            self._places = np.interp(np.linspace(0, length[-1], count + 1), length, rows)
        else:
            self._places = np.linspace(0, rows[-1], count + 1)
        self._places[-1] = rows[-1]
        names = ("step", "time", "width", "flight_gain", "slice_gain")
        self._table = {name: _smooth(self._column(name)[1:]) for name in names}
        self._guess = {name: self._column(name) for name in ("log_radius", "log_radius_spread")}

    def __len__(self) -> int:
        return len(self._places) - 1

    def move(self, k: int) -> Move:
        """Return the k-th target and how to move there."""
        place, known = self._places[k], np.arange(len(self._lessons))
        at = {name: float(np.interp(place, known[1:], row)) for name, row in self._table.items()}
        t = float(np.interp(place, known, self._column("temperature")))
        if self._lessons[0].soft:
            target: Target = SoftTarget(self._body, self._ray, self._hardness(place), t)
            return Move(target, True, at["step"], at["time"], 0.0, MOST_STEPS["soft"])
        guess = {name: float(np.interp(place, known, row)) for name, row in self._guess.items()}
        target = RadiusTarget(self._body, t * self._body.dimension, (guess["log_radius"], guess["log_radius_spread"]))
        flight = at["step"] > 0 and at["flight_gain"] >= at["slice_gain"]
        return Move(target, flight, at["step"], at["time"], at["width"], MOST_STEPS["radius"])

    def _column(self, name: str) -> np.ndarray:
        return np.array([getattr(lesson, name) for lesson in self._lessons])

    def _hardness(self, place: float) -> float:
        """Return b: linear up to the first lesson, then in proportion."""
        row = self._column("hardness")
        if place < 1:
            return float(place * row[1])
        return float(np.exp(np.interp(place, np.arange(1, len(row)), np.log(row[1:]))))


def _smooth(row: np.ndarray) -> np.ndarray:
    """Return the median of each value and its neighbours, which takes out what one noisy target showed."""
    return np.array([np.median(row[max(i - 2, 0) : i + 3]) for i in range(len(row))])
