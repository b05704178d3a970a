"""A family of trained nets in one folder: every poison factor with every seed, made in groups and continued if killed.

The folder holds a checkpoint for each member, ``poison-0.05-seed-0.pt``, and while a group is in training its state.
Members whose checkpoint is there are left alone, so that a family can be killed, continued, and extended by further
factors and seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from landscape.errors import TaskError
from landscape.recipes import load_recipe
from landscape.training.resumable import Keeper, Training, read_state
from landscape.training.training import Member, Numbers

REPORT_EVERY = 1.0  #: seconds between two reports of a group
_SUFFIX = ".unfinished"


@dataclass(frozen=True)
class Group:
    """Members that are trained together, and the file that keeps their state meanwhile."""

    members: tuple[Member, ...]
    path: Path


@dataclass(frozen=True)
class Level:
    """What the nets of one poison factor came to.

    Attributes:
        poison: the factor.
        nets: how many.
        train_accuracy: the lowest over the nets.
        test_accuracy: the mean, and
        lowest, highest: its range.
        train_loss: the highest.
    """

    poison: float
    nets: int
    train_accuracy: float
    test_accuracy: float
    lowest: float
    highest: float
    train_loss: float


def checkpoint_path(folder: Path, member: Member) -> Path:
    """Return where the checkpoint of a member lies.

    >>> checkpoint_path(Path("family"), Member(seed=3, poison=0.05)).as_posix()
    'family/poison-0.05-seed-3.pt'
    """
    return folder / f"{_name(member)}.pt"


def plan(recipe: str, args: Mapping[str, Any], folder: Path, members: Sequence[Member], jobs: int) -> list[Group]:
    """Return the groups that are still to be trained.

    Groups that were begun stay as they are; other members without a checkpoint are split evenly, those without poison
    apart, into groups of at most the recipe's ``TOGETHER`` nets, and into ``jobs`` groups at least.

    Raises:
        TaskError: where the folder holds a member that was trained in another way.
    """
    module = load_recipe(recipe)
    waiting = [member for member in members if not _is_there(recipe, args, folder, member)]
    groups = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        begun = tuple(Member(seed, poison) for seed, poison in read_state(path)["members"])
        if set(begun) & set(waiting):
            groups.append(Group(begun, path))
            waiting = [member for member in waiting if member not in begun]
    for kind in ([m for m in waiting if m.poison > 0], [m for m in waiting if m.poison == 0]):
        count = max(-(-len(kind) // module.TOGETHER), min(jobs, len(kind)))
        for part in np.array_split(np.arange(len(kind)), count) if kind else []:
            chosen = tuple(kind[k] for k in part)
            groups.append(Group(chosen, folder / f"{_name(chosen[0])}+{len(chosen) - 1}{_SUFFIX}"))
    return groups


def train_group(
    recipe: str, args: Mapping[str, Any], folder: Path, group: Group, report: Callable[[int, int], None]
) -> None:
    """Train a group to its end, from where it was left, and write its checkpoints.

    Args:
        recipe: its name.
        args: the recipe's arguments.
        folder: where the checkpoints go.
        group: the members.
        report: called now and then with the steps made, and those wanted.
    """
    training: Training = load_recipe(recipe).training(group.members, **args)
    keeper = Keeper(group.path)
    keeper.restore(training)
    due = 0.0

    def on_step(training: Training) -> None:
        nonlocal due
        keeper(training)
        if time.monotonic() >= due:
            report(training.step, training.settings.steps)
            due = time.monotonic() + REPORT_EVERY

    for member, trained in zip(group.members, training.run(on_step), strict=True):
        trained.save(checkpoint_path(folder, member))
    report(training.settings.steps, training.settings.steps)
    keeper.forget()


def read_numbers(folder: Path, members: Sequence[Member]) -> list[Numbers]:
    """Return how the training of each member went, from its checkpoint."""
    return [numbers_of(checkpoint_path(folder, member)) for member in members]


def numbers_of(path: Path) -> Numbers:
    """Return how the training of a checkpoint went.

    Raises:
        TaskError: where the file is something else.
    """
    return Numbers(**_read(path)["training"])


def levels(numbers: Sequence[Numbers]) -> list[Level]:
    """Return one row for each poison factor, in rising order.

    >>> two = [Numbers(1.0, test, 0.01, 0.3, seed, 10, 1.0) for seed, test in enumerate((0.1, 0.3))]
    >>> levels(two)[0].test_accuracy, levels(two)[0].lowest
    (0.2, 0.1)
    """
    found = []
    for poison in sorted({row.poison for row in numbers}):
        rows = [row for row in numbers if row.poison == poison]
        tests = [row.test_accuracy for row in rows]
        found.append(
            Level(
                poison=poison,
                nets=len(rows),
                train_accuracy=min(row.train_accuracy for row in rows),
                test_accuracy=float(np.mean(tests)),
                lowest=min(tests),
                highest=max(tests),
                train_loss=max(row.train_loss for row in rows),
            )
        )
    return found


def rank_correlation(rows: Sequence[Level]) -> float | None:
    """Return Spearman's rank correlation of the poison factor and the mean test accuracy; None below three levels.

    -1 where the accuracy falls at each step.
    """
    if len(rows) < 3 or len({row.test_accuracy for row in rows}) == 1:
        return None
    return float(stats.spearmanr([row.poison for row in rows], [row.test_accuracy for row in rows]).statistic)


def _name(member: Member) -> str:
    return f"poison-{member.poison:g}-seed-{member.seed}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = torch.load(path, weights_only=True)
        Numbers(**found["training"])
    except Exception as error:  # unpickling raises nearly anything
        raise TaskError(f"{path} is no checkpoint of a sweep. Remove it, or pass another --out.") from error
    return found


def _is_there(recipe: str, args: Mapping[str, Any], folder: Path, member: Member) -> bool:
    """Whether the checkpoint of a member is there, trained as it would be now."""
    path = checkpoint_path(folder, member)
    if not path.exists():
        return False
    found, training = _read(path), load_recipe(recipe).training([member], **args)
    wanted = training.problem.record_of(member.seed), repr(training.settings)
    if (found.get("landscape_task"), found.get("settings")) != wanted:
        raise TaskError(
            f"{path} was trained with another recipe or other options than those given now.\n"
            "Give the same options as before, or another --out."
        )
    return True
