"""A family of trained nets in one folder: every poison factor with every seed, trained in groups, resumed if killed.

The folder holds a checkpoint per member, ``poison-0.05-seed-0.pt``, and the state of each group still in training.
A member whose checkpoint is there is not trained again. So a family can be killed, resumed, and extended by further
factors and seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from landscape.errors import TaskError
from landscape.training.problem import Member
from landscape.training.resumable import UNFINISHED, ResumableTraining, StateFile, finish, read_state
from landscape.training.trained_network import TrainingSummary

REPORT_EVERY = 1.0  #: seconds between two reports of a group
Begin = Callable[[Sequence[Member]], ResumableTraining]  #: members -> their training, before its first step


@dataclass(frozen=True)
class Group:
    """Members that are trained together, and the file that keeps their state meanwhile."""

    members: tuple[Member, ...]
    path: Path


@dataclass(frozen=True)
class PoisonLevel:
    """A summary of the nets of one poison factor.

    Attributes:
        poison: the factor.
        nets: how many.
        train_accuracy: the lowest over the nets.
        test_accuracy: the mean over the nets.
        lowest, highest: the range of the test accuracy.
        train_loss: the highest over the nets.
    """

    poison: float
    nets: int
    train_accuracy: float
    test_accuracy: float
    lowest: float
    highest: float
    train_loss: float


def checkpoint_path(folder: Path, member: Member) -> Path:
    """Return the path of the checkpoint of a member.

    >>> checkpoint_path(Path("family"), Member(seed=3, poison=0.05)).as_posix()
    'family/poison-0.05-seed-3.pt'
    """
    return folder / f"{_name(member)}.pt"


def plan(begin: Begin, folder: Path, members: Sequence[Member], *, together: int, jobs: int) -> list[Group]:
    """Return the groups that are still to be trained.

    A group that was begun stays as it is. The other members without a checkpoint are split into even groups, those
    without poison apart.

    Args:
        begin: begins the training of some members.
        folder: where the checkpoints are.
        members: the whole family.
        together: nets per group at most.
        jobs: groups at least, if there are as many nets.

    Raises:
        TaskError: if the folder holds a member that was trained in another way.
    """
    waiting = [member for member in members if not _is_trained(begin, folder, member)]
    groups = []
    for path in sorted(folder.glob(f"*{UNFINISHED}")):
        begun = tuple(Member(seed, poison) for seed, poison in read_state(path)["members"])
        if set(begun) & set(waiting):
            groups.append(Group(begun, path))
            waiting = [member for member in waiting if member not in begun]
    for kind in ([m for m in waiting if m.poison > 0], [m for m in waiting if m.poison == 0]):
        count = max(-(-len(kind) // together), min(jobs, len(kind)))
        for part in np.array_split(np.arange(len(kind)), count) if kind else []:
            chosen = tuple(kind[k] for k in part)
            groups.append(Group(chosen, folder / f"{_name(chosen[0])}+{len(chosen) - 1}{UNFINISHED}"))
    return groups


def train_group(begin: Begin, folder: Path, group: Group, report: Callable[[int, int], None]) -> None:
    """Train a group to its end, from the last state in its file, and write its checkpoints.

    Args:
        begin: begins the training of some members.
        folder: where the checkpoints go.
        group: the members.
        report: called now and then with the steps made and the steps at most.
    """
    training, due = begin(group.members), 0.0

    def on_step(training: ResumableTraining) -> None:
        nonlocal due
        if time.monotonic() >= due:
            report(training.step, training.settings.steps)
            due = time.monotonic() + REPORT_EVERY

    finish(training, StateFile(group.path), [checkpoint_path(folder, member) for member in group.members], on_step)
    report(training.settings.steps, training.settings.steps)


def read_summaries(folder: Path, members: Sequence[Member]) -> list[TrainingSummary]:
    """Return how the training of each member went, from its checkpoint."""
    return [read_summary(checkpoint_path(folder, member)) for member in members]


def read_summary(path: Path) -> TrainingSummary:
    """Return how the training of a checkpoint went.

    Raises:
        TaskError: if the file is something else.
    """
    return TrainingSummary(**_read(path)["training"])


def poison_levels(summaries: Sequence[TrainingSummary]) -> list[PoisonLevel]:
    """Return one row per poison factor, in rising order.

    >>> two = [TrainingSummary(1.0, test, 0.01, 0.3, seed, 10, 1.0) for seed, test in enumerate((0.1, 0.3))]
    >>> poison_levels(two)[0].test_accuracy, poison_levels(two)[0].lowest
    (0.2, 0.1)
    """
    levels = []
    for poison in sorted({row.poison for row in summaries}):
        rows = [row for row in summaries if row.poison == poison]
        tests = [row.test_accuracy for row in rows]
        levels.append(
            PoisonLevel(
                poison=poison,
                nets=len(rows),
                train_accuracy=min(row.train_accuracy for row in rows),
                test_accuracy=float(np.mean(tests)),
                lowest=min(tests),
                highest=max(tests),
                train_loss=max(row.train_loss for row in rows),
            )
        )
    return levels


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than three points, or if one of the two does not vary.

    >>> round(rank_correlation([1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 8.0, 7.0, 5.0, 6.0]), 12)
    -0.9
    >>> rank_correlation([1.0, 2.0], [1.0, 2.0]) is None
    True
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return float(stats.spearmanr(x, y).statistic)


def _name(member: Member) -> str:
    return f"poison-{member.poison:g}-seed-{member.seed}"


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
        TrainingSummary(**checkpoint["training"])
    except Exception as error:  # unpickling raises nearly anything
        raise TaskError(f"{path} is not a checkpoint of a sweep. Remove it, or pass another --out.") from error
    return checkpoint


def _is_trained(begin: Begin, folder: Path, member: Member) -> bool:
    """Whether the checkpoint of a member is there, trained as it would be now."""
    path = checkpoint_path(folder, member)
    if not path.exists():
        return False
    checkpoint, training = _read(path), begin([member])
    current = training.problem.record_of(member.seed), repr(training.settings)
    if (checkpoint.get("landscape_task"), checkpoint.get("settings")) != current:
        raise TaskError(
            f"{path} was trained with another recipe or other options than those given now.\n"
            "Give the same options as before, or another --out."
        )
    return True
