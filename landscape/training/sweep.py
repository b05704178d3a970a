"""A family of trained nets in one folder: a full factorial of axes, trained in groups, resumed if killed.

An axis is the poison factor, or any keyword of the recipe. The folder holds a checkpoint per member, such as
``poison-0.05-seed-0.pt`` or ``width-16-lr-0.1-seed-0.pt``, and the state of each group still in training. A member
whose checkpoint is there is not trained again. So a family can be killed, resumed, and extended by further values and
seeds. Another axis makes other names, hence another family.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # it loads scipy.stats when that is first used, which takes half a second
import torch

from landscape.checkpoint import TASK_ARGS
from landscape.errors import TaskError
from landscape.store.atomic import write_atomically
from landscape.training.checks import DivergedError
from landscape.training.problem import Member, Value
from landscape.training.resumable import UNFINISHED, ResumableTraining, StateFile, finish, read_state
from landscape.training.trained_network import TrainingSummary

REPORT_EVERY = 1.0  #: seconds between two reports of a group
Begin = Callable[[Sequence[Member]], ResumableTraining]  #: members of one group -> their training, not yet begun


@dataclass(frozen=True)
class Group:
    """Members that are trained together, and the file that keeps their state meanwhile."""

    members: tuple[Member, ...]
    path: Path


@dataclass(frozen=True)
class Configuration:
    """A summary of the nets at one place in a family; they differ in their seeds.

    Attributes:
        axes: axis -> value.
        nets: how many.
        converged: how many of them reached the target of their training.
        train_accuracy: the lowest over the nets.
        test_accuracy: the mean over the nets.
        lowest, highest: the range of the test accuracy.
        train_loss: the highest over the nets.
    """

    axes: Mapping[str, Value]
    nets: int
    converged: int
    train_accuracy: float
    test_accuracy: float
    lowest: float
    highest: float
    train_loss: float


def factorial(axes: Mapping[str, Sequence[Value]], seeds: int) -> list[Member]:
    """Return one member for each combination of values and each of the seeds 0 to ``seeds`` - 1.

    Raises:
        TaskError: if two members would have one name.

    >>> [member.name for member in factorial({"width": [8, 16], "poison": [0.5]}, seeds=1)]
    ['width-8-poison-0.5-seed-0', 'width-16-poison-0.5-seed-0']
    """
    places = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    members = [Member.at(seed, place) for place in places for seed in range(seeds)]
    if len({member.name for member in members}) < len(members):
        raise TaskError(
            "two nets of the family would have the same name, because two values of an axis differ only in characters "
            "that no file name holds. Use values that differ in letters and digits."
        )
    return members


def checkpoint_path(folder: Path, member: Member) -> Path:
    """Return the path of the checkpoint of a member.

    >>> checkpoint_path(Path("family"), Member(seed=3, poison=0.05)).as_posix()
    'family/poison-0.05-seed-3.pt'
    """
    return folder / f"{member.name}.pt"


def plan(begin: Begin, folder: Path, members: Sequence[Member], *, together: int, jobs: int) -> list[Group]:
    """Return the groups that are still to be trained.

    A group that was begun stays as it is. The other members without a checkpoint are split into even groups. The
    members of a group differ in seeds and poison factors alone, and either all have poison or none.

    Args:
        begin: begins the training of some members.
        folder: where the checkpoints are.
        members: the whole family.
        together: nets per group at most.
        jobs: groups at least, as far as there are nets.

    Raises:
        TaskError: if the folder holds a member that was trained in another way.
    """
    waiting = [member for member in members if not _is_done(begin, folder, member)]
    groups = []
    for path in sorted(folder.glob(f"*{UNFINISHED}")):
        begun = tuple(Member.from_plain(values) for values in read_state(path)["members"])
        if set(begun) & set(waiting):
            groups.append(Group(begun, path))
            waiting = [member for member in waiting if member not in begun]
    keywords = {tuple(member.keywords.items()) for member in waiting}
    kinds: dict[tuple[Any, bool], list[Member]] = {}
    for member in sorted(waiting, key=lambda member: member.poison == 0):  # the long trainings first
        kinds.setdefault((tuple(member.keywords.items()), member.poison > 0), []).append(member)
    for kind in kinds.values():
        count = max(-(-len(kind) // together), min(-(-jobs // len(keywords)), len(kind)))
        for part in np.array_split(np.arange(len(kind)), count):
            chosen = tuple(kind[k] for k in part)
            groups.append(Group(chosen, folder / f"{chosen[0].name}+{len(chosen) - 1}{UNFINISHED}"))
    return groups


def diverged_path(folder: Path, member: Member) -> Path:
    """Return the path of the file that says why a member has no checkpoint: its loss became NaN or infinite."""
    return folder / f"{member.name}.diverged"


def train_group(begin: Begin, folder: Path, group: Group, report: Callable[[int, int], None]) -> None:
    """Train a group to its end, from the last state in its file, and write its checkpoints.

    If the loss of a member becomes NaN or infinite, a file of its name says so, and the others train without it.

    Args:
        begin: begins the training of some members.
        folder: where the checkpoints go.
        group: the members.
        report: called now and then with the steps made and the steps at most.
    """
    due, members = 0.0, list(group.members)

    def on_step(training: ResumableTraining) -> None:
        nonlocal due
        if time.monotonic() >= due:
            report(training.step, training.settings.steps)
            due = time.monotonic() + REPORT_EVERY

    while members:
        training, state_file = begin(members), StateFile(group.path)
        try:
            finish(training, state_file, [checkpoint_path(folder, member) for member in members], on_step)
            break
        except DivergedError as error:
            write_atomically(diverged_path(folder, error.member), f"{error}\n".encode())
            state_file.remove()
            members.remove(error.member)
    report(1, 1)


def split_diverged(folder: Path, members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """Return the members that have a checkpoint, and those whose training diverged."""
    diverged = [member for member in members if diverged_path(folder, member).exists()]
    return [member for member in members if member not in diverged], diverged


def read_summaries(folder: Path, members: Sequence[Member]) -> list[TrainingSummary]:
    """Return how the training of each member went, from its checkpoint."""
    return [read_summary(checkpoint_path(folder, member)) for member in members]


def read_summary(path: Path) -> TrainingSummary:
    """Return how the training of a checkpoint went.

    Raises:
        TaskError: if the file is something else.
    """
    return read_member(path)[1]


def configurations(members: Sequence[Member], summaries: Sequence[TrainingSummary]) -> list[Configuration]:
    """Return one row per place in the family, in the order of the members.

    Args:
        members: the family.
        summaries: how the training of each went.

    >>> two = [TrainingSummary(1.0, test, 0.01, 0.3, seed, 10, 1.0) for seed, test in enumerate((0.1, 0.3))]
    >>> row = configurations(factorial({"poison": [0.3]}, seeds=2), two)[0]
    >>> row.axes, row.test_accuracy, row.lowest
    ({'poison': 0.3}, 0.2, 0.1)
    """
    places: dict[tuple[tuple[str, Value], ...], list[TrainingSummary]] = {}
    for member, summary in zip(members, summaries, strict=True):
        places.setdefault(member.axes, []).append(summary)
    rows = []
    for axes, nets in places.items():
        tests = [net.test_accuracy for net in nets]
        rows.append(
            Configuration(
                axes=dict(axes),
                nets=len(nets),
                converged=sum(bool(net.converged) for net in nets),
                train_accuracy=min(net.train_accuracy for net in nets),
                test_accuracy=float(np.mean(tests)),
                lowest=min(tests),
                highest=max(tests),
                train_loss=max(net.train_loss for net in nets),
            )
        )
    return rows


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than three points, or if one of the two does not vary.

    >>> round(rank_correlation([1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 8.0, 7.0, 5.0, 6.0]), 12)
    -0.9
    >>> rank_correlation([1.0, 2.0], [1.0, 2.0]) is None
    True
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return float(scipy.stats.spearmanr(x, y).statistic)


def read_member(path: Path) -> tuple[dict[str, Any], TrainingSummary]:
    """Return the content of a checkpoint of a sweep, on the CPU, and how its training went.

    Raises:
        TaskError: if the file is something else.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return checkpoint, TrainingSummary(**checkpoint["training"])
    except Exception as error:  # unpickling raises nearly anything
        raise TaskError(f"{path} is not a checkpoint of a sweep. Remove it, or pass another folder.") from error


def _is_done(begin: Begin, folder: Path, member: Member) -> bool:
    """Whether the checkpoint of a member is there, trained as it would be now; or whether its training diverged."""
    path = checkpoint_path(folder, member)
    if diverged_path(folder, member).exists():
        return True
    if not path.exists():
        return False
    (checkpoint, _), training = read_member(path), begin([member])
    problem = training.problem
    current = problem.record_of(member.seed), repr(training.settings), dict(problem.task_args)
    stored = (checkpoint.get(key) for key in ("landscape_task", "settings", TASK_ARGS))
    if tuple(stored) != current:
        raise TaskError(
            f"{path} was trained with another recipe or other options than those given now.\n"
            "Give the same options as before, or another folder."
        )
    return True
