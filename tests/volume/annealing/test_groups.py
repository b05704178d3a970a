"""Groups of a round: which rank takes them, and where a budget cuts them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from landscape import distributed
from landscape.errors import OutOfBudget
from landscape.volume.annealing.groups import Went, apart, go_through
from landscape.volume.annealing.star_body import Spent


def test_a_group_is_cut_at_the_check_at_which_those_before_it_leave_no_room() -> None:
    went, spent = Went("whole", (9.0, 5.0), [(2.0, 1.0), (5.0, 2.0), (8.0, 4.0)]), Spent()
    assert went.within(lambda passes: passes < 10, spent) == "whole"
    assert spent.row == (9.0, 5.0)
    with pytest.raises(OutOfBudget):
        went.within(lambda passes: passes < 5, spent)
    assert spent.row == (5.0, 2.0)


def test_a_group_that_a_deadline_has_cut_has_spent_what_it_spent() -> None:
    went, spent = Went(None, (9.0, 5.0), [(2.0, 1.0)]), Spent()
    with pytest.raises(OutOfBudget):
        went.within(lambda passes: True, spent)
    assert spent.row == (9.0, 5.0)


def test_each_group_counts_from_nothing_and_a_cut_one_does_not_stop_the_next() -> None:
    spent = Spent()

    def compute(task: int, check: Callable[[], None]) -> int:
        spent.count(task, 1)
        check()
        return task

    def check() -> None:
        if spent.evaluations == 2:
            raise OutOfBudget

    went = go_through([1, 2, 3], compute, spent, check, alone=False)
    assert [one.found for one in went] == [1, None, 3]
    assert [one.spent for one in went] == [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]
    assert [one.at_checks for one in went] == [[one.spent] for one in went]


@pytest.mark.parametrize(("ranks", "groups", "own"), [(1, 4, False), (2, 4, True), (4, 4, True), (5, 4, False)])
def test_ranks_take_groups_of_their_own_unless_some_would_get_none(
    monkeypatch: pytest.MonkeyPatch, ranks: int, groups: int, own: bool
) -> None:
    monkeypatch.setattr(distributed, "_group", distributed._Group(0, ranks, None))
    assert apart(groups) == own
    with distributed.alone():
        assert (distributed.rank(), distributed.count()) == (0, 1)
    assert distributed.count() == ranks
