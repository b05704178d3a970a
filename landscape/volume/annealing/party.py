"""The particles of a round, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

_MANY, _MANY_LEVELS = 2.0, 40  # effort and levels from which islands have twice the particles: they tell as much
_ALIKE = 4.0  # nats that islands of the round before may scatter by for that; else more levels serve better
_BACK = 8  # particles of an island that go back, or half of it: the way out tells V, the way back whether to believe it
_LATE = 16  # chains of an island from the second start
SETTLING = 3  #: moves at a level of particles that come from elsewhere, and of those that are to go back
_LOOKS = 2.0  # moves that it costs as much as to look at the ends on a finer grid
FEWEST_LEVELS, _MOST_FEWEST = 4, 8  #: of a round; on a long path that a hasty pilot went
_LEAST_OF_GROWTH = 4.0  # effort of a round of growth that comes back: less does better with one group that goes out


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
        starts_again: whether chains from a second start end a round. The verdict asks for two rounds and for the chains
            of the last, so the first round has none.
    """

    groups: int
    islands: int
    each: int
    grows: bool = False
    times: int = 1
    fixed: bool = False
    starts_again: bool = False

    def after(self, islands: int, scatter: float) -> Party:
        """Return the party of rounds after one with so many islands, whose log V scatter by so many nats."""
        later = self.again if islands > 1 else self
        return replace(later, fixed=self.fixed or scatter > _ALIKE)

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
    def again(self) -> Party:
        """The party of a round after another of all groups."""
        return replace(self, starts_again=True)

    @property
    def alone(self) -> Party:
        """One island that only goes out: levels tell more than particles, and islands that do not come back."""
        return replace(self, groups=1, islands=1, starts_again=False)

    @property
    def together(self) -> int:
        """Particles of a group."""
        return self.islands * self.each

    @property
    def late(self) -> int:
        """Chains of a group from the second start."""
        return self.islands * min(self.each, _LATE) if self.starts_again else 0

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

    def least_effort(self, levels: float, length: float | None) -> float:
        """Return the least effort of a round of all groups.

        Args:
            levels: of the schedule.
            length: of the path, as a hasty pilot has found it. Its own levels may be too few. None if a careful pilot
                has made the schedule.
        """
        if self.grows:
            return _LEAST_OF_GROWTH
        least = min(FEWEST_LEVELS / levels, 1.0)
        return least if length is None else max(least, min(length, _MOST_FEWEST) / levels)

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
