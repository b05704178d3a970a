"""How many particles a round has, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.volume.annealing.party import PARTIES, Party


def test_a_round_costs_its_moves() -> None:
    """Two islands of four go out, and half of them go back. From the second round on, others go the second half."""
    first, costs = Party(3, 2, 4), np.array([1.0, 10.0, 20.0, 40.0, 80.0])
    out, back = 8 * costs.sum(), 4 * (costs[1:].sum() + 3 * costs[-1])
    second = 8 * (3 * (2 + 1) * 20.0 + 40.0 + 80.0 + 3 * 80.0)
    looks = 8 * 2 * 80.0
    assert first.passes(costs, approach=2) == 3 * (out + back) + looks
    assert first.again.passes(costs, approach=2) == 3 * (out + back) + second + looks
    assert first.again.alone.passes(costs, approach=2) == (out + looks) / 2


def test_rounds_of_much_effort_have_larger_islands_on_fewer_levels() -> None:
    party = PARTIES["shell"]
    large = party.at(4.0, 30)
    assert (large.each, large.times) == (32, 2)
    assert party.at(4.0, 8) == party.at(1.5, 200) == party
    assert PARTIES["growth"].at(4.0, 500) == PARTIES["growth"]


def test_islands_stay_small_after_a_round_that_scatters_much() -> None:
    """Levels tell more there: skew cubes of 60 and 100 dimensions lost 3 to 12 nats by larger islands."""
    party = PARTIES["radius"]
    assert party.after(8, 1.0).at(4.0, 30).each == 2 * party.each
    assert party.after(8, 10.0).at(4.0, 30).each == party.each


def test_the_first_round_that_comes_back_has_no_second_start() -> None:
    """Its verdict is a lower bound in any case, since nothing tells how far log V moves with effort."""
    party = PARTIES["radius"]
    assert (party.late, party.after(1, 0.0).late) == (0, 0)
    assert party.after(8, 0.0).late == 32


@pytest.mark.parametrize("times", [1, 2])
def test_as_many_of_each_island_go_back_whatever_its_size(times: int) -> None:
    party = PARTIES["shell"] if times == 1 else PARTIES["shell"].doubled
    islands = party.going_back() // party.each
    assert np.bincount(islands).tolist() == [8] * party.islands
    assert party.again.late == 32


@pytest.mark.parametrize(
    ("levels", "length", "least"), [(1, 0.0, 1.0), (2, 8.1, 4.0), (2, 5.0, 2.5), (2, None, 1.0), (40, None, 0.1)]
)
def test_the_least_effort_follows_the_length_of_a_hasty_path(levels: int, length: float | None, least: float) -> None:
    """Where all rays are alike, two levels serve; on a long way the two of a hasty pilot do not."""
    assert PARTIES["radius"].least_effort(levels, length) == least
