"""Groups of a round: which rank takes them, and where a budget cuts them."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch

from landscape import distributed
from landscape.errors import OutOfBudget
from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.volume.annealing import groups
from landscape.volume.annealing.find_schedule import find_schedule
from landscape.volume.annealing.groups import Went, by_first, faster, go_through, side_by_side, speed_up
from landscape.volume.annealing.pilot import Piloted, TooFewLevels
from landscape.volume.body.star_body import Spent, StarBody
from landscape.volume.ray_weights.measure import make_measure


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


@pytest.mark.parametrize(("ranks", "groups", "together"), [(1, 4, 1), (2, 4, 2), (4, 4, 4), (5, 4, 1)])
def test_ranks_take_groups_of_their_own_unless_some_would_get_none(
    monkeypatch: pytest.MonkeyPatch, ranks: int, groups: int, together: int
) -> None:
    monkeypatch.setattr(distributed, "_group", distributed._Group(0, ranks, None))
    assert side_by_side(groups) == together
    assert faster(groups) == pytest.approx(1.0 if together == 1 else 0.8 * together)
    with distributed.alone():
        assert (distributed.rank(), distributed.count()) == (0, 1)
    assert distributed.count() == ranks


def two_ranks(patch: pytest.MonkeyPatch) -> None:
    """Let what the first of two ranks finds arrive at this one as it would by post."""
    patch.setattr(distributed, "_group", distributed._Group(0, 2, None))
    patch.setattr(distributed, "from_first", lambda make: pickle.loads(pickle.dumps(make())))


def body_under_a_cap() -> StarBody:
    """A ball off its centre, cut by a cap."""
    theta = torch.zeros(4, dtype=torch.float64)
    objective = Objective.from_function(lambda x: (x - 0.3).square().sum(-1), theta)
    rays = basin_radii(objective, [1.0], metric="identity", directions=16, max_radius=0.8, rtol=0.01)
    metric = make_metric("identity", objective.theta, objective.scope)
    return StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))


def test_the_first_rank_sends_the_pilot_alone_and_all_get_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    body = body_under_a_cap()
    with body.objective.running():
        own, spent = find_schedule(body, 0, 1, lambda: None), body.spent.row
        body.spent.clear()
        two_ranks(monkeypatch)
        counts: list[int] = []
        sent = by_first(lambda: find_schedule(body, 0, 1, lambda: counts.append(distributed.count())), body)
    assert set(counts) == {1}
    assert body.spent.row == spent
    assert sent.schedule.path.body is body  # type: ignore[attr-defined]
    assert [level.place for level in sent.schedule.levels] == [level.place for level in own.schedule.levels]
    assert [level.step for level in sent.schedule.levels] == [level.step for level in own.schedule.levels]


def test_the_first_rank_measures_the_speed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others do not read meanwhile, so a reading that all share would wait for them."""
    body = body_under_a_cap()
    counts: list[int] = []
    two_ranks(monkeypatch)
    monkeypatch.setattr(groups, "gradients_at", lambda *_: counts.append(distributed.count()))
    assert 1.0 <= speed_up(body, 4, 8) <= 1.3
    assert set(counts) == {1}


@pytest.mark.parametrize("error", [OutOfBudget, TooFewLevels])
def test_a_pilot_that_does_not_arrive_ends_all_ranks_alike(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    body = body_under_a_cap()
    two_ranks(monkeypatch)

    def find() -> Piloted:
        body.spent.count(7.0, 3)
        raise error

    with pytest.raises(error):
        by_first(find, body)
    assert body.spent.row == (7.0, 3.0)
