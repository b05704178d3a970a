"""Pilot particles, whose only purpose is a schedule: they find the places of a path and how to move there."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from landscape.rays.streams import Purpose, stream
from landscape.volume.annealing.care import HASTY, Care, may_grow
from landscape.volume.annealing.growth_path import GrowthPath
from landscape.volume.annealing.moves import Straying, move
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.path import Path, Place, gains, start_gains, start_of
from landscape.volume.annealing.schedule import Level, Schedule
from landscape.volume.annealing.slices import cosines, moved_per_pass, slice_move
from landscape.volume.annealing.stretch import Lessons, LinearChange, Scores, ScoreVariances
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights import statistics as w

_ACCEPTED = 0.8  # wanted acceptance
_FAIR = (0.6, 0.95)  # acceptance at which a step need not be tried again
_CLEARLY = 1.3  # steps with a stretch that are longer by this factor make those without one needless
_FEWEST_LEAPS, _MOST_LEAPS, _MOST_LEAPS_OF_GROWTH = 2, 16, 8  # growth reads many radii at each
_SHORTEST, _SHORTEST_OF_GROWTH = 0.75, 0.25  # of a step
_SHORTEST_OF_ISLANDS = 0.04  # the same for islands that grow: they meet narrower parts of the body than the pilot did
_CALMER = 0.6  # their longest steps over those of the pilot: a particle that is stuck at a wall is soon lost
_LOOK = 2.0  # leapfrog steps that cost as much as the look at the end of a move
_WARY = 1.4  # islands' slices cost so many times what a hasty pilot's do, which begin far from where particles belong
_MOST_SLICES = 32  # moves by slices in the place of one by leapfrog steps
_ARCS, _SHORTEST_ARC = 4.0, 1e-6  # width of an arc over the mean angle moved, and its least
_MOST_LEVELS, _MOST_SHELL_LEVELS = 2000, 200
_HIGHEST = 1e7  # penalty of the shell's path at which no particle will get inside
_MOST_SCORES, _MOST_RANK = 600, 128
_MOST_BYTES = 2**28  # of the scores that are kept
_FEWEST_GROWN = 4  # levels of growth below which nothing has been learnt
_LOST = 30.0  # nats by which walls may cut what is inside at the cap, or growth fall below its best, before it ends


@dataclass(frozen=True)
class Piloted:
    """What a pilot found.

    Attributes:
        schedule: the frozen schedule.
        passes_per_level: cost of a level, full passes over the data for each particle.
        particles: at the end of the path; None if the pilot did not get there.
        tried: number of levels that the pilot has been at.
        careful: number of levels before it began to hurry; infinite if it did not.
        count: number of its particles.
        length: standard deviations of the gains in log-weight from level to level, summed up.
    """

    schedule: Schedule
    passes_per_level: float
    particles: Particles | None
    tried: int
    careful: float
    count: int
    length: float

    @property
    def hasty(self) -> bool:
        """Whether a hasty pilot has found it."""
        return self.count == HASTY.particles

    def sendable(self) -> Piloted:
        """Return it without the body and the particles, to be sent to another rank."""
        return replace(self, schedule=self.schedule.at_body(None), particles=None)

    def at(self, body: StarBody) -> Piloted:
        """Return it with a body, which is another rank's copy of its own."""
        return replace(self, schedule=self.schedule.at_body(body))

    def reaches(self, log_radius: float) -> bool:
        """Return whether half of the particles end beyond this radius."""
        return self.particles is not None and float(np.median(self.particles.log_radius)) > log_radius


@dataclass(frozen=True)
class _State:
    """Where a pilot has been: its particles, its number of levels and its estimate then."""

    particles: Particles
    levels: int
    log_mean: float


class TooFewLevels(Exception):
    """The path has more levels than a run could afford."""


class Pilot:
    """Particles that go from level to level and note how."""

    def __init__(
        self,
        path: Path,
        body: StarBody,
        key: tuple[int, int],
        check: Callable[[], None],
        care: Care,
        most: int | None = None,
        index: int = 0,
        is_late: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._path, self._body, self._check, self._key, self._index = path, body, check, key, index
        self._care, self._is_late, self._careful = care, is_late, math.inf
        self._coarser = 1.0  # distance of levels, over that of a pilot that does not hurry
        self._most = _MOST_LEVELS if most is None else most - 1
        n = body.dimension
        self._grows = isinstance(path, GrowthPath)
        self._quarter = math.pi / 2 / math.sqrt(n)  # time of a quarter of a great circle
        most_scores = max(4 * care.particles, min(_MOST_SCORES, _MOST_BYTES // (8 * n)))
        self._lessons: Lessons = ScoreVariances() if self._grows else Scores(most_scores, _MOST_RANK)
        self._stretch: LinearChange | None = None
        self._steps = {False: self._quarter / 3, True: self._quarter / 3}  # without and with the stretch
        self._log_mean = self._length = 0.0
        self._paid: dict[bool, tuple[int, float]] = {}  # leaps and passes of the last move without and with the stretch
        self._hmc_gain = self._hmc_passes = 0.0
        self._slices_win, self._slices, self._width = False, 1, 2 * math.pi
        self._slice_passes = 0.0
        self._straying = Straying()

    def run(self) -> Piloted:
        """Go to the end of the path."""
        self._begin()
        return self._go(lambda: False)

    def shrink(self) -> Piloted:
        """Go to the end of the shell's path, unless few particles inside at the cap have a free way to it."""
        before_walls = [math.inf]

        def lost() -> bool:
            b, c, _ = self._levels[-1].place
            if c == 0:
                before_walls[0] = self._log_mean
            walled = self._log_mean < before_walls[0] - _LOST
            return walled or b > _HIGHEST or len(self._levels) > _MOST_SHELL_LEVELS

        self._begin()
        return self._go(lost)

    def grow(self, share: Callable[[], float]) -> Piloted:
        """Grow until the estimate has fallen far below its best, or the budget ends that; then go to the path's end.

        The particles go no further out than the radius of the grid at which the estimate was best.

        Args:
            share: returns the share of the pilot's budget that is spent.
        """
        path, cap = self._path, math.log(self._body.max_radius)
        assert isinstance(path, GrowthPath)
        self._begin()
        best, grown = self._state, 1
        way = [(share(), path.start[0])]
        with suppress(TooFewLevels):
            while way[-1][1] < cap and len(self._levels) <= self._most and may_grow(way, path.goal(way[-1][1])):
                if self._log_mean < best.log_mean - _LOST:
                    break
                self._step()
                grown = len(self._levels)
                way.append((share(), self._levels[-1].place[0]))
                if path.on_grid(self._levels[-1].place) and self._log_mean >= best.log_mean:
                    best = self._state
        if grown < _FEWEST_GROWN or best.levels < 2:
            raise TooFewLevels
        self._most = _MOST_LEVELS
        self._return_to(best)
        self._path = replace(path, last=self._levels[-1].place[0])
        return replace(self._go(lambda: False), tried=grown)

    def _begin(self) -> None:
        """Put the particles at the start of the path."""
        place = self._path.start
        self._particles = start_of(self._path, self._body, self._care.particles, self._random(0))
        self._levels = [self._level(place, False)]
        self._log_mean = w.log_mean(start_gains(self._path, self._particles))

    @property
    def _state(self) -> _State:
        return _State(self._particles, len(self._levels), self._log_mean)

    def _return_to(self, state: _State) -> None:
        """Forget the levels after a state."""
        self._particles, self._log_mean = state.particles, state.log_mean
        del self._levels[state.levels :]

    def _go(self, stop: Callable[[], bool]) -> Piloted:
        """Go on to the end of the path."""
        while not self._path.is_end(self._levels[-1].place):
            if len(self._levels) > self._most or stop():
                raise TooFewLevels
            self._step()
        schedule = Schedule(self._path, tuple(self._levels))
        cost = float(schedule.costs(1.0)[1:].mean())
        return Piloted(
            schedule, cost, self._particles, len(self._levels), self._careful, self._care.particles, self._length
        )

    def _step(self) -> None:
        """Go to the next level."""
        if math.isinf(self._careful) and self._is_late(len(self._levels)):
            self._careful, calm = len(self._levels), self._care
            self._care = calm.hurried
            self._coarser = self._care.gain / calm.gain
        particles, place = self._particles, self._levels[-1].place
        self._straying.fade()
        there, complete = self._path.following(particles, place, self._care.gain)
        gain = gains(self._path, place, particles, there, complete)
        if not np.isfinite(gain).any():
            raise TooFewLevels
        self._length += float(np.std(gain[np.isfinite(gain)]))
        random = self._random(len(self._levels))
        log_mean = self._log_mean + w.log_mean(gain)
        particles = complete.take(w.resample(gain, float(random.random())))
        particles = self._settle(particles, there, random)
        self._particles, self._log_mean = self._try_slices(particles, there, random), log_mean
        self._levels.append(self._better_level(there))
        self._relearn()

    def _settle(self, particles: Particles, place: Place, random: np.random.Generator) -> Particles:
        """Move the particles at a place, with and without the stretch, until the lengths of steps suit it."""
        fewest, most = self._care.moves
        needless = self._scaled or (self._stretch is not None and self._steps[True] > _CLEARLY * self._steps[False])
        fair = {False: needless, True: self._stretch is None}
        for turn in range(most):
            stretched = self._stretch is not None and (turn % 2 == 1 or (fair[False] and not fair[True]))
            level, spent = self._level(place, stretched), self._body.spent.evaluations
            moved = move(self._path, level, particles, random, self._check)
            self._hmc_passes = self._body.spent.evaluations - spent
            self._hmc_gain = moved_per_pass(particles, moved.particles, self._hmc_passes)
            particles = moved.particles
            self._paid[stretched] = (level.leaps, self._hmc_passes / len(particles))
            self._straying.add(moved)
            if self._care.learns:
                for scores in moved.scores:
                    self._lessons.add(scores)
            fair[stretched] = self._adapt(stretched, place, float(moved.accepted.mean()))
            if turn + 1 >= fewest and all(fair.values()):
                break
        return particles

    def _adapt(self, stretched: bool, place: Place, accepted: float) -> bool:
        """Change the length of a step after a move, and return whether it was fair already."""
        if self._path.is_bridge(place):  # there, walls along the rays refuse moves, and shorter steps change little
            return True
        step = min(self._steps[stretched] * math.exp(accepted - _ACCEPTED), self._quarter / 1.5)
        self._steps[stretched] = step
        low, high = _FAIR
        return accepted >= low and (accepted <= high or step >= self._quarter / 1.6)

    def _relearn(self) -> None:
        """Learn the stretch again; the first one begins with the step that suits without it."""
        before = self._stretch
        self._stretch = self._lessons.learn(before)
        if before is None and self._stretch is not None:
            self._steps[True] = self._steps[False]

    def _level(self, place: Place, stretched: bool) -> Level:
        """Return a level with or without the stretch."""
        step = self._steps[stretched]
        most = _MOST_LEAPS_OF_GROWTH if self._grows else _MOST_LEAPS
        leaps = int(np.clip(math.ceil(self._quarter / step), _FEWEST_LEAPS, most))
        stretch = self._stretch if stretched else self._path.stretch
        shortest = _SHORTEST_OF_GROWTH if self._grows else _SHORTEST
        aimed, goes_on = self._straying.is_rare, self._grows
        return Level(place, step, leaps, stretch, shortest=shortest, goes_on=goes_on, aimed=aimed)

    def _better_level(self, place: Place) -> Level:
        """Return a level for islands, with the stretch if steps are longer then, or slices if particles moved more."""
        stretched = self._scaled or (self._stretch is not None and self._steps[True] > self._steps[False])
        level = self._level(place, stretched)
        leaps, passes = self._paid.get(stretched) or self._paid[not stretched]
        level = replace(level, cost=passes * (_LOOK + level.leaps) / (_LOOK + leaps))
        if self._grows:
            return replace(level, step=_CALMER * level.step, shortest=_SHORTEST_OF_ISLANDS, own_steps=True)
        if self._slices_win:
            cost = self._slices * self._slice_passes / self._care.particles * (1.0 if self._care.learns else _WARY)
            return replace(level, slices=self._slices, width=self._width, cost=cost)
        turned = 1.0 if self._path.is_bridge(place) else min(1.0, level.leaps * level.step / self._quarter)
        return replace(level, goes_on=True, share=self._coarser * turned**-0.5)

    def _try_slices(self, particles: Particles, place: Place, random: np.random.Generator) -> Particles:
        """Move by slices once, where a body may have edges, and compare with the last move by leapfrog steps."""
        body = self._body
        if not self._path.by_slices:
            return particles
        spent = body.spent.evaluations
        after = slice_move(body, place[0] * body.dimension, particles, self._width, random)
        passes = body.spent.evaluations - spent
        gain, self._slice_passes = moved_per_pass(particles, after, passes), passes
        self._slices_win = gain > self._hmc_gain
        self._slices = int(np.clip(round(self._hmc_passes / max(passes, 1.0)), 1, _MOST_SLICES))
        angle = float(np.mean(np.arccos(cosines(particles, after))))
        self._width = float(np.clip(_ARCS * angle, _SHORTEST_ARC, 2 * math.pi))
        return after

    @property
    def _scaled(self) -> bool:
        """Whether particles that grow have their scaling, which is then always used."""
        return self._grows and self._stretch is not None

    def _random(self, level: int) -> np.random.Generator:
        seed, stage = self._key
        return stream(Purpose.CHAIN, seed, self._index, step=level, stage=stage)
