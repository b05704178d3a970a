"""The groups of a round: their ways out and back, taken by ranks side by side; and where a budget cuts them.

Each rank takes whole groups, alone, if there are no more ranks than groups. Otherwise all ranks share each group. A
budget in passes cuts at the same move on any number of ranks. For that, each group notes what it has spent at each
check. They are added up in order, as if one had gone after the other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.errors import OutOfBudget
from landscape.volume.annealing.islands import Key, backwards, difference, forwards, second_start
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.party import PARTIES, WIDEST, Party
from landscape.volume.annealing.path import Path
from landscape.volume.annealing.pilot import Piloted, TooFewLevels
from landscape.volume.annealing.readings import gradients_at, surviving_share, with_radii
from landscape.volume.annealing.schedule import Level
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import Spent, StarBody

Task = TypeVar("Task")
Found = TypeVar("Found")
Check = Callable[[], None]

_READINGS, _MOST_SPEED_UP = 3, 1.3  # of a number of particles; how much faster larger groups may be reckoned
_CROWDED = 0.8  # speed of a rank beside others, over that of one alone


class Walked(NamedTuple):
    """A group that has gone out and back.

    Attributes:
        accepted: mean acceptance of the moves on the way out.
        forwards, backwards: log-volumes of its islands out and back, shape (islands,). NaN in the places of islands
            that there are not; inf backwards if it did not come back.
        log_radii: of the particles at the end, shape (islands * WIDEST,).
    """

    accepted: float
    forwards: np.ndarray
    backwards: np.ndarray
    log_radii: np.ndarray


class Seen(NamedTuple):
    """What a look at the end of a round found, as in :class:`landscape.results.islands.RoundRow`."""

    start_shift: float
    start_error: float
    survives: float
    censored: float


@dataclass
class Ways:
    """The ways of the groups of a round.

    Attributes:
        body, path, levels, party: where they go, and how many.
        seed, stage: key their random numbers.
        ends: particles at the end of the way out, of the groups that this rank took. The first rank takes the first.
    """

    body: StarBody
    path: Path
    levels: list[Level]
    party: Party
    seed: int
    stage: int
    ends: list[Particles] = field(default_factory=list)

    def go(self, group: int, *, back: bool, check: Check) -> Walked:
        """Take a group out, and back if so."""
        party, path, levels = self.party, self.path, self.levels
        out = forwards(self.body, path, levels, party.islands, party.each, Key(self.seed, self.stage, group), check)
        self.ends.append(out.particles)
        islands = PARTIES[path.name].islands
        gone, returned = np.full(islands, np.nan), np.full(islands, np.inf)
        gone[: party.islands] = out.log_means
        if back:
            key = Key(self.seed, self.stage + 1, group)
            some = out.particles.take(party.going_back())
            returned[: party.islands] = -backwards(path, levels, some, party.islands, key, check).log_means
        log_radii = party.by_island(out.particles.log_radius, islands, WIDEST)
        return Walked(out.accepted, gone, returned, log_radii)

    def look(self, longest: Tensor | None, key: Key, check: Check) -> Seen:
        """Look again at the ends of the first group: from a second start, and on a finer grid.

        Args:
            longest: directions of the second start, shape (k, n); None for none.
            key, check: as for :func:`landscape.volume.annealing.islands.second_start`.
        """
        own, shift, error = with_radii(self.body, self.ends[0]), math.nan, math.nan
        if longest is not None:
            starts = self.path.look(longest, self.levels[len(self.levels) // 2].place)
            late = second_start(self.path, self.levels, starts, self.party.islands, key, check)
            shift, error = difference(late, own.log_mass)
        return Seen(shift, error, surviving_share(self.body, own), float(own.censored.mean()))


@dataclass(frozen=True)
class Went(Generic[Found]):
    """What became of a task.

    Attributes:
        found: its result; None if it was cut.
        spent: passes and calls in all.
        at_checks: both at each check, in order.
    """

    found: Found | None
    spent: tuple[float, float]
    at_checks: list[tuple[float, float]]

    def within(self, affords: Callable[[float], bool], spent: Spent) -> Found:
        """Return the result, and count what it cost.

        Args:
            affords: returns whether the budget had room for so many passes of this task.
            spent: is set to what the task has spent, up to where it was cut.

        Raises:
            OutOfBudget: if it was cut.
        """
        late = next((at for at in self.at_checks if not affords(at[0])), None)
        spent.clear()
        spent.count(*(late or self.spent))
        if late is not None or self.found is None:
            raise OutOfBudget
        return self.found


def side_by_side(groups: int) -> int:
    """Return how many groups go at a time: one for each rank, if there are no more ranks than groups; else one."""
    return distributed.count() if distributed.count() <= groups else 1


def faster(groups: int) -> float:
    """Return how many times as fast as one rank alone the groups go, carefully reckoned."""
    together = side_by_side(groups)
    return 1.0 if together == 1 else _CROWDED * together


def speed_up(body: StarBody, few: int, many: int) -> float:
    """Return how many times as fast passes go if many particles are read together in place of few, carefully reckoned.

    Each number of particles is read a few times, and the fastest counts.
    """

    def seconds_each(count: int) -> float:
        like = body.objective.theta.new_ones(count, body.dimension, dtype=torch.float64)
        phi, radii, took = sphere(like), np.full(count, body.first_step), []
        for _ in range(_READINGS):
            begun = time.perf_counter()
            gradients_at(body, phi, radii)
            took.append(time.perf_counter() - begun)
        return min(took) / count

    def gain() -> float:
        with distributed.alone():
            return min(max(seconds_each(few) / seconds_each(many), 1.0), _MOST_SPEED_UP)

    return distributed.from_first(gain)


def by_first(find: Callable[[], Piloted], body: StarBody) -> Piloted:
    """Return what a pilot finds, on every rank. The first rank sends it alone where ranks take groups of their own.

    The others would wait for it at every step otherwise, and bring little help.

    Args:
        find: sends a pilot into the body.
        body: whose ``spent`` is set to what the pilot has spent, on every rank.
    """
    if side_by_side(min(party.groups for party in PARTIES.values())) == 1:
        return find()

    def alone() -> tuple[Piloted | type[OutOfBudget | TooFewLevels], tuple[float, float]]:
        with distributed.alone():
            try:
                return find().sendable(), body.spent.row
            except (OutOfBudget, TooFewLevels) as error:
                return type(error), body.spent.row

    found, spent = distributed.from_first(alone)
    body.spent.clear()
    body.spent.count(*spent)
    if isinstance(found, Piloted):
        return found.at(body)
    raise found


def go_through(
    tasks: Sequence[Task], compute: Callable[[Task, Check], Found], spent: Spent, check: Check, *, alone: bool
) -> list[Went[Found]]:
    """Return what became of tasks.

    Args:
        tasks: what to do.
        compute: does a task. It calls the function that it gets before every step.
        spent: what the work costs; it begins at nothing for each task.
        check: raises :class:`OutOfBudget` once the budget has no room for what is spent.
        alone: whether each rank does whole tasks alone. Otherwise all ranks share each task.
    """

    def go(task: Task) -> Went[Found]:
        at_checks: list[tuple[float, float]] = []

        def noted() -> None:
            at_checks.append(spent.row)
            check()

        spent.clear()
        try:
            found = compute(task, noted)
        except OutOfBudget:
            return Went(None, spent.row, at_checks)
        return Went(found, spent.row, at_checks)

    def go_alone(task: Task) -> Went[Found]:
        with distributed.alone():
            return go(task)

    return distributed.each(tasks, go_alone) if alone else [go(task) for task in tasks]
