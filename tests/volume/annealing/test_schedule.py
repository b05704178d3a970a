"""Schedules: which levels an effort gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from landscape.volume.annealing.path import Place, straight
from landscape.volume.annealing.schedule import Level, Schedule


class Straight:
    """A path whose places are numbers."""

    def between(self, here: Place, there: Place, share: float) -> Place:
        return straight(here, there, share)


def schedule_of(shares: list[float]) -> Schedule:
    """Return a schedule with places 0, 1, 2, ... and these shares on the way to each but the first."""
    path: Any = Straight()
    level = Level((0.0,), 0.1, 4, None)
    others = [replace(level, place=(float(i),), share=share) for i, share in enumerate(shares, start=1)]
    return Schedule(path, (level, *others))


def places(schedule: Schedule, effort: float) -> list[float]:
    """Return the places of the levels at an effort."""
    return [level.place[0] for level in schedule.at(effort)]


@pytest.mark.parametrize("effort", [0.5, 1.0, 2.0, 3.5])
def test_levels_are_even_where_shares_are(effort: float) -> None:
    even = places(schedule_of([2.0] * 8), effort)
    assert even == pytest.approx(np.linspace(0, 8, len(even)).tolist())
    assert len(even) == 1 + round(8 * effort)


@pytest.mark.parametrize("effort", [1.0, 3.0])
def test_levels_are_as_dense_as_shares_say_and_reach_the_end(effort: float) -> None:
    found = places(schedule_of([1.0] * 4 + [3.0] * 4), effort)
    assert (found[0], found[-1]) == (0.0, 8.0)
    assert sum(place > 4 for place in found) == pytest.approx(3 * sum(0 < place <= 4 for place in found), abs=1)
    assert len(found) == 1 + round(8 * effort)
