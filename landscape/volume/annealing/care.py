"""How carefully a pilot goes, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, replace

_GROWTH, _LONG_GROWTH = 0.6, 0.9  # share for growth of what was left of a pilot's budget, and if the goal is near
_NEAR = 0.5  # share of what the last half of that gained, in log radius: later halves gain less
_HURRIED = 1.0  # gain from level to level of a pilot that is late


@dataclass(frozen=True)
class Care:
    """How carefully a pilot goes.

    Attributes:
        particles: how many.
        gain: wanted standard deviation of the gains in log-weight from level to level.
        moves: fewest and most at a level.
        learns: whether the particles learn a stretch; few teach nothing.
    """

    particles: int
    gain: float
    moves: tuple[int, int]
    learns: bool = True

    @property
    def hurried(self) -> Care:
        """How a pilot goes on that is late: on levels further apart, with the fewest moves."""
        return replace(self, gain=max(self.gain, _HURRIED), moves=(self.moves[0], self.moves[0]))

    @property
    def work(self) -> float:
        """Cost of a path, as a multiple of one move of one particle at each level."""
        return self.particles * sum(self.moves) / 2


HASTY = Care(6, 3.0, (1, 1), learns=False)
CAREFUL, MIDDLING = Care(32, 0.5, (2, 5)), Care(64, 0.35, (2, 5))
GROWING = Care(4, 1.5, (1, 2))  # a narrow body, where levels tell more than particles


def may_grow(way: list[tuple[float, float]], goal: float) -> bool:
    """Return whether particles may grow on: for a share of what was left, and for more if the goal is near then.

    Args:
        way: the share of the budget that was spent at each level, and log of the outer radius there.
        goal: log of the radius to reach.
    """
    (begun, _), (spent, radius) = way[0], way[-1]
    part = (spent - begun) / max(1 - begun, 1e-9)
    if part < _GROWTH:
        return True
    half = (begun + spent) / 2
    gained = radius - next(before for used, before in reversed(way) if used <= half)
    return part < _LONG_GROWTH and goal - radius <= _NEAR * gained
