"""How long a pilot may grow."""

from __future__ import annotations

import pytest

from landscape.volume.annealing.care import may_grow

EARLY = [(0.0, -5.0), (0.3, -1.0)]


@pytest.mark.parametrize(
    ("way", "goes_on"),
    [
        ([*EARLY, (0.5, -0.9)], True),
        ([*EARLY, (0.6, -0.9)], False),  # 0.1 gained by the last half, and 0.9 to go
        ([*EARLY, (0.6, -0.1)], True),  # 0.9 gained, and 0.1 to go
        ([(0.0, -5.0), (0.3, -0.15), (0.8, -0.1)], False),  # 0.05 gained, and 0.1 to go
        ([*EARLY, (0.9, -0.1)], False),
        ([(0.5, -1.0), (0.55, -0.95), (0.65, -0.9)], True),  # the shell took half of it, and much of the rest is left
        ([(0.7, -5.0), (0.8, -1.0), (0.98, -0.9)], False),
    ],
)
def test_growth_may_take_more_of_the_budget_if_the_goal_is_near(way: list[tuple[float, float]], goes_on: bool) -> None:
    assert may_grow(way, goal=0.0) is goes_on
