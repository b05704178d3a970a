"""A frozen schedule: places on a path, and how particles move at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from landscape.volume.annealing.party import Party
from landscape.volume.annealing.path import Path, Place
from landscape.volume.annealing.stretch import LinearChange
from landscape.volume.body.star_body import StarBody


@dataclass(frozen=True)
class Level:
    """One density, and the move that leaves it as it is.

    Attributes:
        place: where on the path.
        step: time of a leapfrog step.
        leaps: number of leapfrog steps.
        stretch: coordinates of the move; None for those of the metric.
        slices: number of moves by slices that take the place of leapfrog steps; 0 for none.
        width: length of the arc of a slice, radians.
        shortest: share of ``step`` from which the steps of a move are drawn.
        own_steps: whether each particle draws a step of its own, log-uniformly; else one for all is drawn uniformly.
        goes_on: whether particles keep most of their velocity after a short move.
        share: density of levels on the way to it, relative to a part of the path on which moves turn by a quarter of a
            circle: one over the root of the angle, in quarters. What has made a particle gain lasts for more moves
            where each of them turns it less, about as one over the angle. Then the root gives the least scatter.
        cost: full passes over the data that a move costs each particle.
        aimed: whether a move keeps the aim of the place where it begins, and is refused where that has changed.
    """

    place: Place
    step: float
    leaps: int
    stretch: LinearChange | None
    slices: int = 0
    width: float = 0.0
    shortest: float = 0.75
    own_steps: bool = False
    goes_on: bool = False
    share: float = 1.0
    aimed: bool = False
    cost: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """The levels that a pilot has found, from the uniform density to the last one.

    Attributes:
        path: whose places they are.
        levels: at effort 1.
    """

    path: Path
    levels: Sequence[Level]

    def __len__(self) -> int:
        return len(self.levels) - 1

    def costs(self, effort: float) -> np.ndarray:
        """Return what a move costs each particle at each of the levels at an effort, full passes over the data."""
        before, share = self._positions(effort)
        known = np.array([level.cost for level in self.levels])
        return known[np.where((share == 0) & (before > 0), before, before + 1)]

    def passes(self, party: Party, effort: float) -> float:
        """Return about what a round of a party at an effort costs, full passes over the data."""
        return party.passes(self.costs(effort / party.times), len(self.path.approach()))

    def at_body(self, body: StarBody | None) -> Schedule:
        """Return it for another copy of its body, or without one."""
        path: Any = self.path
        return replace(self, path=replace(path, body=body))

    def at(self, effort: float) -> list[Level]:
        """Return the levels at another effort: so many times as many, as dense as their shares say."""
        before, shares = self._positions(effort)
        return [self._level(*position) for position in zip(before.tolist(), shares.tolist(), strict=True)]

    def _positions(self, effort: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the pilot's level before each level at an effort, and the share of the way from it to the next."""
        last = len(self)
        count = max(2, round(last * effort))
        ends = np.cumsum([0.0, *(level.share for level in self.levels[1:])])
        positions = np.interp(np.linspace(0.0, ends[-1], count + 1), ends, np.arange(last + 1.0))
        before = np.minimum(np.floor(positions).astype(int), last - 1)
        return before, positions - before

    def _level(self, before: int, share: float) -> Level:
        """Return a level between two of the pilot's; its move is that of the one beyond."""
        here, there = self.levels[before], self.levels[before + 1]
        place = here.place if share == 0 else self.path.between(here.place, there.place, share)
        mover = here if share == 0 and before > 0 else there
        return replace(mover, place=there.place if share == 1 else place)
