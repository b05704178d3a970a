"""The effort of the next round: what the budget pays for."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from landscape.volume.annealing.effort import Past, most_effort, next_round
from landscape.volume.annealing.party import PARTIES
from landscape.volume.annealing.schedule import Level, Schedule


class Plain:
    """A path without changes of coordinates."""

    def approach(self) -> list[Any]:
        return []


@pytest.mark.parametrize("path", PARTIES)
@pytest.mark.parametrize("levels", [4, 35, 200])
def test_a_round_costs_what_its_effort_was_reckoned_from(path: str, levels: int) -> None:
    """More budget never gives less effort, and no round costs more than the budget."""
    party, before = PARTIES[path], 0.0

    def passes(effort: float) -> float:
        chosen = party.at(effort, levels)
        return chosen.passes(np.full(1 + max(2, round(levels * effort / chosen.times)), 20.0), approach=0)

    for budget in np.geomspace(1e4, 1e6, 30):
        effort = most_effort(passes, budget)
        assert effort >= before
        assert effort == 0 or passes(effort) <= budget
        assert passes(1.01 * effort + 1 / levels) > 0.5 * budget  # where islands become larger, some is left over
        before = effort


def schedule_of(count: int, cost: float) -> Schedule:
    """Return levels whose moves cost so much."""
    path: Any = Plain()
    return Schedule(path, (Level((0.0,), 0.1, 4, None, cost=cost),) * (count + 1))


def never(few: int, many: int) -> float:
    raise AssertionError("a budget in passes is not timed")


def test_the_next_round_costs_what_is_left_though_the_last_one_was_short_and_cheap() -> None:
    """What does not grow with the levels is much of a short round. A rule of three would be wrong by a third."""
    schedule, party = schedule_of(20, 10.0), PARTIES["radius"].after(8, 10.0)
    first = next_round(schedule, party, 50_000, None, None, length=None, timed=False, speed_up=never)
    assert first is not None
    past = Past(first[0], party, schedule.passes(party, first[0]))
    following = next_round(schedule, party, 4.5 * past.passes, past, first[0], length=None, timed=False, speed_up=never)
    assert following is not None
    assert 0.95 < schedule.passes(party, following[0]) / (4.5 * past.passes) < 1.005


def test_a_short_round_goes_first_far_beyond_what_a_hasty_pilot_has_told() -> None:
    """The only round of a small MLP cost a third more than was reckoned, and the whole budget was lost."""
    schedule, party = schedule_of(6, 100.0), PARTIES["radius"]
    following = partial(next_round, schedule, party, past=None, length=30.0, timed=False, speed_up=never)
    near = following(left=20_000, effort_before=None)
    far = following(left=60_000, effort_before=None)
    assert near is not None
    assert far is not None
    assert near[1] == far[1] == 1
    assert far[0] == pytest.approx(3 * near[0] / 5, rel=0.2)
    assert following(left=48_000, effort_before=far[0]) is not None


def test_a_time_pays_for_more_where_larger_islands_are_faster() -> None:
    schedule, party = schedule_of(40, 10.0), PARTIES["radius"]
    past = Past(1.0, party, schedule.passes(party, 1.0))
    efforts = []
    for gain in (1.0, 1.3):
        found = next_round(
            schedule, party, 3 * past.passes, past, 1.0, length=None, timed=True, speed_up=lambda few, many, g=gain: g
        )
        assert found is not None
        efforts.append(found[0])
    assert efforts[0] >= 2
    assert efforts[1] / efforts[0] == pytest.approx(1.3, abs=0.1)
