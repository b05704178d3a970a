"""How many particles a round has, what it costs, and how many levels the next one gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

_MANY, _MANY_LEVELS = 2.0, 40  # effort and levels from which islands have twice the particles: they tell as much
_ALIKE = 4.0  # nats that islands of the round before may scatter by for that; else more levels serve better
_BACK = 8  # particles of an island that go back, or half of it: the way out tells V, the way back whether to believe it
_LATE = 16  # chains of an island from the second start
SETTLING = 3  #: moves at a level of particles that come from elsewhere, and of those that are to go back
_LOOKS = 2.0  # moves that it costs as much as to look at the ends on a finer grid
_ROUNDS = 5.0  # efforts 1 and 4: two rounds fill a small budget
_FEWEST_LEVELS = 4
_LEAST_OF_GROWTH = 4.0  # effort of a round of growth that comes back: less does better with one group that goes out
_MOST_OUT = 16.0  # effort of a round that only goes out
_MOST_FIRST = 1.0  # effort of a first round, so that an answer is there early
_LEAST_GROWTH, _GROWTH, _MOST_LAST = 1.3, 4.0, 6.5  # of the effort, from round to round; of the last one
_MOST, _NEARLY = 1024.0, 1e-3  # largest effort, and how nearly one is found


@dataclass(frozen=True)
class Party:
    """The particles of a round.

    Attributes:
        groups: how many groups go out and back, one after the other.
        islands: of a group.
        each: particles of an island.
        grows: whether they go the path of growth.
        times: by how much a round of much effort has made ``each`` larger. Its levels are so many times fewer.
        fixed: whether islands stay as large as they are, whatever the effort.
    """

    groups: int
    islands: int
    each: int
    grows: bool = False
    times: int = 1
    fixed: bool = False

    def after(self, scatter: float) -> Party:
        """Return the party of rounds after one whose islands' log V scatter by so many nats."""
        return replace(self, fixed=self.fixed or scatter > _ALIKE)

    def at(self, effort: float, levels: float) -> Party:
        """Return the party of a round of all groups of this effort, on a schedule of so many levels."""
        much = effort >= _MANY and effort * levels >= _MANY_LEVELS and not self.fixed
        return self.doubled if much else self

    def of_round(self, effort: float, levels: float, groups: int) -> Party:
        """Return the party of a round: one island that only goes out, if it has one group."""
        return self.alone if groups == 1 else self.at(effort, levels)

    @property
    def doubled(self) -> Party:
        """Twice the particles on half the levels."""
        return replace(self, each=2 * self.each, times=2)

    @property
    def alone(self) -> Party:
        """One island that only goes out: levels tell more than particles, and islands that do not come back."""
        return replace(self, groups=1, islands=1)

    @property
    def together(self) -> int:
        """Particles of a group."""
        return self.islands * self.each

    @property
    def late(self) -> int:
        """Chains of a group from the second start."""
        return self.islands * min(self.each, _LATE)

    def going_back(self) -> np.ndarray:
        """Return which particles of a group go back, as many of each island."""
        return np.arange(0, self.together, max(2, self.each // _BACK))

    def passes(self, costs: np.ndarray, approach: int) -> float:
        """Return about what a round costs, full passes over the data.

        Args:
            costs: of a move of one particle at each level, shape (levels + 1,).
            approach: changes of coordinates by which the second start comes near.
        """
        out, end = float(costs.sum()), float(costs[-1])
        looks = self.together * _LOOKS * end
        if self.groups == 1:
            return self.together * out + looks
        rest = costs[len(costs) // 2 :]
        second = SETTLING * (approach + 1) * float(rest[0]) + float(rest[1:].sum()) + SETTLING * end
        back = float(costs[1:].sum()) + SETTLING * end
        return self.groups * (self.together * out + len(self.going_back()) * back) + self.late * second + looks

    def least_effort(self, levels: float) -> float:
        """Return the least effort of a round of all groups, on a schedule of so many levels."""
        return _LEAST_OF_GROWTH if self.grows else min(_FEWEST_LEVELS / levels, 1.0)

    def by_island(self, values: np.ndarray, islands: int, widest: int) -> np.ndarray:
        """Return values of the particles of a group, with NaN in the places of so many islands that are empty."""
        places = np.full((islands, widest), np.nan)
        places[: self.islands, : self.each] = values.reshape(self.islands, self.each)
        return places.ravel()


ISLANDS = 2  #: of a group
PARTIES = {
    "radius": Party(4, ISLANDS, 16),
    "ellipsoid": Party(4, ISLANDS, 8),
    "shell": Party(4, ISLANDS, 16),
    "growth": Party(4, ISLANDS, 4, grows=True, fixed=True),  # on a way of thousands of nats, levels tell more
}  #: by the name of the path
WIDEST = max(party.doubled.each for party in PARTIES.values())  #: particles of the largest islands


def most_effort(passes: Callable[[float], float], budget: float) -> float:
    """Return about the largest effort of a round that a budget in passes pays for; 0 if there is none.

    Args:
        passes: that a round of this effort costs; they do not fall as it grows.
        budget: in passes.

    >>> round(most_effort(lambda effort: 100 + 50 * effort, 300.0), 2), most_effort(lambda effort: 100.0, 50.0)
    (4.0, 0.0)
    """
    low, high = 0.0, 1.0
    while passes(high) <= budget and high < _MOST:
        low, high = high, 2 * high
    while high - low > _NEARLY * high and high > _NEARLY:
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) <= budget else (low, middle)
    return low


def effort_out(most: float, levels: float, before: float | None, *, timed: bool) -> float | None:
    """Return the effort of an island that only goes out; None if the budget has no room for it.

    Args:
        most: that the budget pays for.
        levels: of the schedule. A hasty pilot has made fewer than serve best.
        before: effort of the round before, which only went out too; None for the first one.
        timed: whether the budget is a time. A machine that gets busy may cut the last round then, so a short one
            goes first.

    >>> effort_out(1.0, 500, None, timed=False), effort_out(1.0, 500, None, timed=True)
    (1.0, 0.2)
    >>> effort_out(0.8, 500, 0.2, timed=True), effort_out(0.2, 500, 0.2, timed=True)
    (0.8, None)
    """
    effort = min(most, _MOST_OUT)
    if before is None:
        least = min(_FEWEST_LEVELS / levels, 1.0)
        effort = max(effort / _ROUNDS, min(least, effort)) if timed else effort
    else:
        least = (_LEAST_GROWTH if timed else _GROWTH) * before
    return effort if effort >= least else None


def next_effort(most: float, least: float, before: float | None) -> float | None:
    """Return the effort of the next whole round; None if the budget has no room for it.

    The last round has about four times the effort of the one before, because the verdict compares the two.

    Args:
        most: that the budget pays for.
        least: of a first round.
        before: of the round before; None for the first one.

    >>> next_effort(5.0, 0.1, None), next_effort(40.0, 0.1, 1.0), next_effort(3.9, 0.1, 1.0), next_effort(2.5, 0.1, 2.0)
    (1.0, 4.0, 3.9, None)
    >>> next_effort(12.0, 0.1, 1.0), next_effort(0.3, 0.1, None)
    (2.4, 0.3)
    """
    if before is not None and most < _LEAST_GROWTH * before:
        return None
    if before is None:
        wanted = most if most < _ROUNDS * least else min(most / _ROUNDS, _MOST_FIRST)
        return wanted if wanted >= least else None
    return most if most < _MOST_LAST * before else min(most / _ROUNDS, _GROWTH * before)
