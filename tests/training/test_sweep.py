"""Families of nets: what is planned, kept, resumed and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import landscape as ls
from landscape.recipes import swiss_roll
from landscape.training import FullBatchTraining, Member, StateFile, TrainingSummary
from landscape.training.sweep import (
    Group,
    PoisonLevel,
    checkpoint_path,
    plan,
    poison_levels,
    rank_correlation,
    read_summaries,
    train_group,
)

MEMBERS = [Member(seed, poison) for poison in (0.0, 0.1, 0.4) for seed in range(3)]


def begin(members: Sequence[Member], steps: int = 30, data_seed: int = 0) -> FullBatchTraining:
    return swiss_roll.training(members, steps=steps, data_seed=data_seed)


def planned(folder: Path, members: list[Member] = MEMBERS, jobs: int = 2) -> list[Group]:
    return plan(begin, folder, members, together=swiss_roll.NETS_TOGETHER, jobs=jobs)


def nothing(step: int, steps: int) -> None:
    """A report that nobody reads."""


def test_groups_hold_every_member_once_and_poison_apart(tmp_path: Path) -> None:
    groups = planned(tmp_path)
    assert [len(group.members) for group in groups] == [3, 3, 2, 1]
    assert sorted((m.poison, m.seed) for group in groups for m in group.members) == [
        (m.poison, m.seed) for m in MEMBERS
    ]
    assert all(len({m.poison > 0 for m in group.members}) == 1 for group in groups)
    assert len({group.path for group in groups}) == len(groups)
    many = [Member(seed, 0.1) for seed in range(50)]
    assert max(len(group.members) for group in planned(tmp_path, many)) <= swiss_roll.NETS_TOGETHER


def test_a_family_is_what_training_one_by_one_gives(tmp_path: Path) -> None:
    for group in planned(tmp_path):
        train_group(begin, tmp_path, group, nothing)
    assert not planned(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(MEMBERS)
    alone = swiss_roll.train(2, poison=0.4, steps=30)
    stored = torch.load(checkpoint_path(tmp_path, Member(2, 0.4)), weights_only=True)
    assert all(torch.equal(stored["state_dict"][name], value) for name, value in alone.state.items())
    assert [(row.poison, row.seed) for row in read_summaries(tmp_path, MEMBERS)] == [
        (m.poison, m.seed) for m in MEMBERS
    ]
    further = [*MEMBERS, Member(3, 0.4)]
    assert [group.members for group in planned(tmp_path, further)] == [(Member(3, 0.4),)]


class Killed(Exception):
    """Stands for whatever ends a process."""


def test_a_group_that_was_killed_goes_on_as_the_same_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.training.sweep.REPORT_EVERY", 0.0)
    monkeypatch.setattr(StateFile.__init__, "__defaults__", (0.0, *StateFile.__init__.__defaults__[1:]))  # type: ignore[index]
    group = planned(tmp_path)[0]

    def kill(step: int, steps: int) -> None:
        if step == 20:
            raise Killed

    with pytest.raises(Killed):
        train_group(begin, tmp_path, group, kill)
    again = planned(tmp_path, jobs=5)
    assert again[0] == group
    seen = []
    train_group(begin, tmp_path, again[0], lambda step, _: seen.append(step))
    assert seen[0] == 21
    for member in group.members:
        alone = swiss_roll.train(member.seed, poison=member.poison, steps=30)
        stored = torch.load(checkpoint_path(tmp_path, member), weights_only=True)["state_dict"]
        assert all(torch.equal(stored[name], value) for name, value in alone.state.items())


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    member = Member(0, 0.1)
    train_group(begin, tmp_path, Group((member,), tmp_path / "a.unfinished"), nothing)
    with pytest.raises(ls.LandscapeError, match="other options"):
        plan(partial(begin, steps=31), tmp_path, [member], together=1, jobs=1)
    with pytest.raises(ls.LandscapeError, match="other options"):
        plan(partial(begin, data_seed=1), tmp_path, [member], together=1, jobs=1)
    checkpoint_path(tmp_path, member).write_bytes(b"something else")
    with pytest.raises(ls.LandscapeError, match="not a checkpoint of a sweep"):
        planned(tmp_path, [member])


def test_levels_and_their_rank_correlation() -> None:
    one = TrainingSummary(1.0, 0.9, 0.01, 0.0, 0, 10, 1.0)
    rows = poison_levels(
        [replace(one, poison=0.5, test_accuracy=0.1, train_accuracy=0.99), one, replace(one, test_accuracy=0.7)]
    )
    assert rows[0] == PoisonLevel(0.0, 2, 1.0, 0.8, 0.7, 0.9, 0.01)
    assert rows[1].train_accuracy == 0.99
    assert rank_correlation([row.poison for row in rows], [row.test_accuracy for row in rows]) is None
    assert rank_correlation([0.3, 0.1, 0.2, 0.0], [0.7, 0.9, 0.8, 1.0]) == pytest.approx(-1.0)
    assert rank_correlation([0.3, 0.1, 0.2], [0.9, 0.9, 0.9]) is None
