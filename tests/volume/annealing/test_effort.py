"""How many particles a round has, and what it may cost."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.volume.annealing.effort import PARTIES


@pytest.mark.parametrize("path", PARTIES)
@pytest.mark.parametrize("levels", [1, 8, 35, 200])
def test_a_round_costs_what_its_effort_was_reckoned_from(path: str, levels: int) -> None:
    """More work never gives less effort, and no round costs more than was asked for."""
    party, before = PARTIES[path], 0.0
    for work in np.geomspace(1e3, 1e6, 40):
        effort = party.effort(work, levels)
        chosen = party.at(effort, levels)
        assert effort >= before
        if effort > 0:
            cost = chosen.work(effort * levels / chosen.times)
            assert cost <= work * (1 + 1e-9)
            # where islands become larger, some work is left over
            assert cost > 0.5 * work
        before = effort


def test_rounds_of_much_effort_have_larger_islands_on_fewer_levels() -> None:
    party = PARTIES["shell"]
    large = party.at(4.0, 30)
    assert (large.each, large.times) == (32, 2)
    assert party.at(4.0, 8) == party.at(1.5, 200) == party
    assert PARTIES["growth"].at(4.0, 500) == PARTIES["growth"]


def test_islands_stay_small_after_a_round_that_scatters_much() -> None:
    """Levels tell more there: skew cubes of 60 and 100 dimensions lost 3 to 12 nats by larger islands."""
    party = PARTIES["radius"]
    assert party.after(1.0) == party
    assert party.after(10.0).at(4.0, 30).each == party.each


@pytest.mark.parametrize("times", [1, 2])
def test_as_many_of_each_island_go_back_whatever_its_size(times: int) -> None:
    party = PARTIES["shell"] if times == 1 else PARTIES["shell"].doubled
    islands = party.going_back() // party.each
    assert np.bincount(islands).tolist() == [8] * party.islands
    assert party.late == 32
