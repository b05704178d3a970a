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
    Configuration,
    Group,
    checkpoint_path,
    configurations,
    diverged_path,
    factorial,
    plan,
    rank_correlation,
    read_summaries,
    split_diverged,
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


def test_configurations_and_the_rank_correlation() -> None:
    one = TrainingSummary(1.0, 0.9, 0.01, 0.0, 0, 10, 1.0, converged=True)
    summaries = [one, replace(one, test_accuracy=0.7), replace(one, train_accuracy=0.99, converged=False)]
    rows = configurations([Member.at(0, {"lr": 0.1}), Member.at(1, {"lr": 0.1}), Member.at(0, {"lr": 0.2})], summaries)
    assert rows[0] == Configuration({"lr": 0.1}, 2, 2, 1.0, 0.8, 0.7, 0.9, 0.01)
    assert (rows[1].axes, rows[1].converged, rows[1].train_accuracy) == ({"lr": 0.2}, 0, 0.99)
    assert rank_correlation([0.0, 0.5], [0.8, 0.1]) is None
    assert rank_correlation([0.3, 0.1, 0.2, 0.0], [0.7, 0.9, 0.8, 1.0]) == pytest.approx(-1.0)
    assert rank_correlation([0.3, 0.1, 0.2], [0.9, 0.9, 0.9]) is None


def test_a_factorial_holds_every_combination_once() -> None:
    members = factorial({"width": [8, 4], "lr": [0.1, 1e-05], "poison": [0.0, 0.5]}, seeds=2)
    assert len(members) == len({member.name for member in members}) == 16
    assert members[3] == Member(1, 0.5, (("width", 8), ("lr", 0.1), ("poison", 0.5)))
    assert members[3].name == "width-8-lr-0.1-poison-0.5-seed-1"
    assert members[3].keywords == {"width": 8, "lr": 0.1}
    assert all(Member.from_plain(member.plain()) == member for member in [*members, Member(3, 0.1)])
    assert [member.poison for member in factorial({"width": [8]}, seeds=1)] == [0.0]
    with pytest.raises(ls.LandscapeError, match="the same name"):
        factorial({"data": ["a/b", "a:b"]}, seeds=1)


def test_groups_share_all_keywords_of_the_recipe(tmp_path: Path) -> None:
    members = factorial({"width": [4, 6], "poison": [0.0, 0.1, 0.4]}, seeds=2)
    groups = planned(tmp_path, members)
    assert all(len({(m.axes[0], m.poison > 0) for m in group.members}) == 1 for group in groups)
    assert sorted(len(group.members) for group in groups) == [2, 2, 4, 4]
    assert all(member.poison > 0 for group in groups[:2] for member in group.members)
    assert [len(group.members) for group in planned(tmp_path, members[:6], jobs=4)] == [1, 1, 1, 1, 1, 1]


def test_a_checkpoint_of_a_family_holds_its_axes_and_how_its_training_went(tmp_path: Path) -> None:
    def varied(members: Sequence[Member]) -> FullBatchTraining:
        return swiss_roll.training(members, steps=30, **members[0].keywords)  # type: ignore[arg-type]

    members = factorial({"width": [8], "lr": [0.01], "poison": [0.4]}, seeds=2)
    groups = plan(varied, tmp_path, members, together=2, jobs=1)
    train_group(varied, tmp_path, groups[0], nothing)
    stored = torch.load(tmp_path / "width-8-lr-0.01-poison-0.4-seed-1.pt", weights_only=True)
    assert stored["axes"] == {"width": 8, "lr": 0.01, "poison": 0.4}
    assert stored["landscape_task"]["args"] == {"seed": 1, "data_seed": 0, "width": 8}
    assert stored["state_dict"]["0.weight"].shape == (8, 2)
    summary = TrainingSummary(**stored["training"])
    task = swiss_roll.task(1, width=8)
    task.model.load_state_dict(stored["state_dict"])
    inputs, targets = swiss_roll.problem().test
    logits = task.model(inputs)[:, 0]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets).item()
    assert summary.test_loss == pytest.approx(expected, rel=1e-5)
    assert summary.converged == (summary.train_accuracy == 1)
    assert not plan(varied, tmp_path, members, together=2, jobs=1)


def test_a_net_that_diverges_is_left_out_and_the_others_are_as_ever(tmp_path: Path) -> None:
    members = [Member(seed, 0.4) for seed in range(3)]

    def begin_broken(members: Sequence[Member]) -> FullBatchTraining:
        training = begin(members)
        for row, member in enumerate(members):
            if member.seed == 1:
                training.rows[row] = torch.nan
        return training

    (group,) = plan(begin_broken, tmp_path, members, together=3, jobs=1)
    train_group(begin_broken, tmp_path, group, nothing)
    assert split_diverged(tmp_path, members) == ([members[0], members[2]], [members[1]])
    assert "became nan at step 0" in diverged_path(tmp_path, members[1]).read_text()
    assert not checkpoint_path(tmp_path, members[1]).exists()
    assert not group.path.exists()
    alone = swiss_roll.train(2, poison=0.4, steps=30)
    stored = torch.load(checkpoint_path(tmp_path, members[2]), weights_only=True)["state_dict"]
    assert all(torch.equal(stored[name], value) for name, value in alone.state.items())
    assert not planned(tmp_path, members)
