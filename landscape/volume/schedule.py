"""Temperatures and move sizes, learnt by pilot chains and then frozen, so that the weights stay unbiased.

The pilot steps from t to t + dt with a fixed dt · sd(n log r), whose square is twice the divergence between
neighbouring targets; the whole way is in proportion to sqrt(n), and so is that step, which makes some 20 to 40 of them.
It tries both moves at every temperature and keeps what it learns. The runs that count take K temperatures at equal
steps of the pilot's length, so each costs about the same divergence, and from the pilot by interpolation whatever a
move needs. They use other random numbers, and nothing of theirs changes the schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from landscape.volume.body import Points, StarBody, typical
from landscape.volume.kernels import Flight, Moved, flight_move, normals, slice_move, stream, tangent

PILOT_CHAINS = 16
_STRIDE = 1 / 25  # dt · sd(n log r) over sqrt(n)
MOST_STEPS = 1000  # leapfrog steps a flight may take
_TARGET = 0.8  # acceptance that step sizes aim at
_GIVE_UP = 3  # temperatures in a row at which flights were worse than slices by _WORSE
_WORSE = 10.0
_ARC = 5.0  # width of the arc over the mean angle


@dataclass(frozen=True)
class Lesson:
    """What the pilot learnt at one temperature; the fields are columns of the trace."""

    temperature: float
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


def first_lesson(body: StarBody, points: Points) -> Lesson:
    """Return what uniform rays say, and the sizes to start from."""
    n = body.dimension
    quarter = math.pi / 2 / math.sqrt(n)
    step = 0.3 * quarter if body.has_gradient(points.phi[:1]) else 0.0
    return Lesson(0.0, *_energy(n, points), step, quarter, 2 * math.pi, 0.0, 0.0, *typical(points.log_radius))


def _energy(n: int, points: Points) -> tuple[float, float]:
    energy = n * points.log_radius
    return float(energy.mean()), float(energy.std(ddof=1))


def pilot_step(body: StarBody, points: Points, lessons: list[Lesson], seed: int, leg: int) -> tuple[Points, Lesson]:
    """Go to the next temperature and try both moves there; return where the chains are and what was learnt."""
    last, n = lessons[-1], body.dimension
    gain = _STRIDE * math.sqrt(n) / last.energy_spread if last.energy_spread > 0 else 1.0
    t = min(last.temperature + gain, 1.0)
    guess = typical(points.log_radius)
    before = body.evaluations
    streams = [stream(seed, chain, leg, 2 * len(lessons)) for chain in range(len(points))]
    slid = slice_move(body, points, t * n, last.width, streams, guess)
    slice_gain = _gain(slid, body.evaluations - before)
    points = slid.points
    width = float(
        np.clip(_ARC * np.arcsin(np.sin(slid.angle)).mean(), last.width / 2, min(2 * last.width, 2 * math.pi))
    )
    step, time, flight_gain, accepted = 0.0, 0.0, 0.0, math.nan
    if last.step > 0 and not hopeless(lessons):
        streams = [stream(seed, chain, leg, 2 * len(lessons) + 1) for chain in range(len(points))]
        time = _quarter_turn(body, points, t * n, math.exp(guess[0]), last, streams)
        count = min(max(round(time / last.step), 1), MOST_STEPS)
        middle = body.evaluations
        flown = flight_move(body, points, t * n, math.exp(guess[0]), last.step, count, streams, guess)
        flight_gain = _gain(flown, body.evaluations - middle)
        points, accepted = flown.points, float(flown.accepted.mean())
        step = min(last.step * math.exp(accepted - _TARGET), math.pi / 2 / math.sqrt(n))
    lesson = Lesson(
        t,
        *_energy(n, points),
        step,
        time,
        width,
        flight_gain,
        slice_gain,
        *typical(points.log_radius),
        accepted=accepted,
        evaluations=(body.evaluations - before) / len(points),
    )
    return points, lesson


def hopeless(lessons: list[Lesson]) -> bool:
    """Whether flights have been far worse than slices for a while."""
    recent = lessons[-_GIVE_UP:]
    return len(recent) == _GIVE_UP and all(
        lesson.slice_gain > 0 and lesson.flight_gain * _WORSE < lesson.slice_gain for lesson in recent
    )


def _gain(moved: Moved, evaluations: float) -> float:
    """Return the squared sine of the angle gone an evaluation: on a symmetric body the antipode is no way off."""
    return float(np.square(np.sin(moved.angle)).sum()) / max(evaluations, 1.0)


def _quarter_turn(
    body: StarBody, points: Points, power: float, radius: float, last: Lesson, streams: list[np.random.Generator]
) -> float:
    """Return half the time after which the median flight turns back towards where it began."""
    velocity = tangent(normals(streams, points.phi), points.phi)
    flight = Flight(body, points.phi, velocity, power=power, radius=radius, step=last.step)
    most = min(max(50, 4 * round(last.time / last.step)), MOST_STEPS)
    turned = np.full(len(points), most)
    for count in range(1, most):
        flight.advance()
        back = ((flight.phi - points.phi) * flight.velocity).sum(1).cpu().numpy() < 0
        turned[back & (turned == most)] = count
        if np.median(turned) <= count:
            break
    return float(np.median(turned)) * last.step / 2


@dataclass(frozen=True)
class Move:
    """How to move at one temperature."""

    flight: bool
    step: float
    time: float
    width: float
    guess: tuple[float, float]


@dataclass
class Schedule:
    """The frozen temperatures of one run, t_0 = 0 to t_K = 1, and how to move at each."""

    temperatures: np.ndarray
    lessons: list[Lesson]
    _table: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        names = ("step", "time", "width", "flight_gain", "slice_gain", "log_radius", "log_radius_spread")
        self._table = {name: np.array([getattr(lesson, name) for lesson in self.lessons]) for name in names}
        for name in ("step", "time", "width", "flight_gain", "slice_gain"):
            self._table[name] = _smooth(self._table[name][1:])

    @classmethod
    def learnt(cls, lessons: list[Lesson], count: int) -> Schedule:
        """Return ``count`` gains at equal steps of the pilot's length."""
        known = np.array([lesson.temperature for lesson in lessons])
        gains = np.diff(known) * np.array([max(lesson.energy_spread, 1e-12) for lesson in lessons[:-1]])
        length = np.concatenate([[0.0], np.cumsum(gains)])
        return cls(np.interp(np.linspace(0, length[-1], count + 1), length, known), lessons)

    def move(self, t: float) -> Move:
        """Return how to move at a temperature."""
        known = np.array([lesson.temperature for lesson in self.lessons])
        at = {name: float(np.interp(t, known[len(known) - len(row) :], row)) for name, row in self._table.items()}
        flight = at["step"] > 0 and at["flight_gain"] >= at["slice_gain"]
        return Move(flight, at["step"], at["time"], at["width"], (at["log_radius"], at["log_radius_spread"]))


def _smooth(row: np.ndarray) -> np.ndarray:
    """Return the median of each value and its neighbours, which takes out what one noisy temperature showed."""
    return np.array([np.median(row[max(i - 2, 0) : i + 3]) for i in range(len(row))])
