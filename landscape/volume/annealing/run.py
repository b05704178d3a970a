"""A run of islands within a budget: rounds of growing effort for each cutoff, each of them whole or not counted.

For each cutoff a pilot fixes the schedule, a hasty one if the budget is small. Then rounds follow, each with four times
the effort of the one before; the last one takes what is left of the budget. A round consists of groups of islands that
go out and back, and of a look at its end: on a finer grid, and with chains from a second start if it is not the first.
What is done is kept by group, so a run that is stopped continues to the same numbers. The pilot is made again then: its
random numbers are its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from landscape import distributed
from landscape.errors import LandscapeError, OutOfBudget
from landscape.objective import Objective
from landscape.objective.deadline import BUDGET
from landscape.rays import Metric, make_metric
from landscape.rays.basin import check_basin
from landscape.rays.budget import Budget, speed_of
from landscape.results import NOTHING, Cost, Islands, OnProgress, Radii, require_same_config
from landscape.results.islands import PATHS, GroupRow, PilotRow, RoundRow
from landscape.volume.annealing.effort import Past, next_round
from landscape.volume.annealing.find_schedule import find_schedule
from landscape.volume.annealing.groups import (
    Check,
    Seen,
    Walked,
    Ways,
    by_first,
    faster,
    go_through,
    side_by_side,
    speed_up,
)
from landscape.volume.annealing.islands import Key
from landscape.volume.annealing.party import PARTIES, Party
from landscape.volume.annealing.pilot import Piloted, TooFewLevels
from landscape.volume.annealing.readings import along_longest, check_room
from landscape.volume.annealing.reference_rays import reference_rays
from landscape.volume.annealing.tables import BY_GROUP, Tables
from landscape.volume.annealing.telling import Teller
from landscape.volume.annealing.verdict import exact, rounds_of
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import Measure, fine_rtol, make_measure, measure_on_uniform_rays
from landscape.volume.ray_weights.statistics import spread

_PILOT = 0.5  # share of a cutoff's budget that its pilot may use up
_SHELL = 0.5  # of that: when the path of the shell is given up
_LAST = 1.6  # of that: when a pilot without which there is no schedule must be at the end of the path
_SAFE = 0.9  # share of what is left that the last round is planned for
_STAGES_OF_CUTOFF, _STAGES_OF_ROUND = 4096, 4  # random numbers: stages of a cutoff, and of a round


def run_islands(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str = "filter",
    budget: str | float = BUDGET,
    seed: int = 0,
    max_radius: float | None = None,
    rtol: float | None = None,
    step_ratio: float = 2.0,
    first_step: float | None = None,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
    radii: Radii | None = None,
    resume: Islands | None = None,
    on_progress: OnProgress[Islands] | None = None,
) -> Islands:
    """Return islands of particles that have walked from uniform rays to the basin of each cutoff, within a budget.

    Args:
        objective, cutoffs, criterion, metric, max_radius, step_ratio, first_step: as for :func:`landscape.basin_radii`.
        budget: what the run may cost: a time (``300s``, ``5min``), which is a deadline, or a number of full passes over
            the data, which gives the same numbers on any machine.
        seed: keys all random numbers.
        rtol: relative tolerance of a radius; by default it moves log V by at most 0.1, from 1e-6 to 1e-3.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`.
        radii: uniform rays of this basin and seed, if they are measured already. They cost nothing more, and keep
            their tolerance.
        resume: the partial result of an earlier run with the same settings; the budget may be larger now.
        on_progress: called after every group of islands; and every second, with no news but words, in between.

    Raises:
        ObjectiveError: whatever :func:`landscape.basin_radii` raises.
        LandscapeError: if ``resume`` was measured with other settings, or is of another function.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> ball = run_islands(bowl, [4.0], metric="identity", budget=50_000)
    >>> bool(np.allclose(ball.forwards, 3 * math.log(2.0), atol=1e-3))
    True
    """
    limit, teller = Budget.parse(budget), Teller(on_progress)
    started = time.perf_counter()
    values, _ = check_basin(objective, cutoffs, criterion)
    metric_at_theta = make_metric(metric, objective.theta, objective.scope)
    basin_measure = make_measure(objective, metric_at_theta, measure, sigma, measure_centre)
    search: dict[str, Any] = {
        "criterion": criterion,
        "metric": metric_at_theta,
        "seed": seed,
        "max_radius": max_radius,
        "rtol": fine_rtol(basin_measure.steepness) if rtol is None else rtol,
        "step_ratio": step_ratio,
        "first_step": first_step,
    }
    rays, paid = reference_rays(objective, values, search, limit=limit, given=radii, resume=resume, tell=teller.tell)
    if resume is not None and rays.directions < len(resume.reference_radii):
        return replace(resume, share=1.0)  # the time was too short to measure them again
    check_room(rays)
    run = _Run.start(objective, metric_at_theta, rays, paid, basin_measure, limit, started, teller)
    if resume is not None:
        run.resume(resume)

    def report() -> None:
        teller.tell(int(run.result().done.sum()), run.result)

    with objective.running(), limit.deadline(run.cost.seconds):
        for cutoff in range(len(rays.cutoffs)):
            run.measure(cutoff, report)
    run.finished = True
    report()
    return run.result()


@dataclass
class _Run:
    """Tables that grow, and what is needed to fill them."""

    objective: Objective
    metric: Metric
    rays: Radii
    paid: Cost
    bodies: list[StarBody]
    masses: np.ndarray
    limit: Budget
    config: dict[str, Any]
    started: float
    teller: Teller
    seconds_before: float = 0.0
    tables: Tables = field(default_factory=Tables)
    finished: bool = False
    wasted: Cost = NOTHING
    _until: float = 1.0
    _speed: float | None = None  # of the last round, passes a second

    @classmethod
    def start(
        cls,
        objective: Objective,
        metric: Metric,
        rays: Radii,
        paid: Cost,
        measure: Measure,
        limit: Budget,
        started: float,
        teller: Teller,
    ) -> _Run:
        """Return a run with nothing done but its reference rays, which have cost this here."""
        on_rays = measure_on_uniform_rays(measure, objective, metric, rays)
        bodies = [StarBody.of(objective, metric, rays, cutoff, measure) for cutoff in rays.cutoffs]
        config, masses = {**rays.config, **measure.describe()}, on_rays.log_mass(rays.radii)
        return cls(objective, metric, rays, paid, bodies, masses, limit, config, started, teller)

    @property
    def cost(self) -> Cost:
        """What is in the tables, reference rays that were measured here, and what is being done now."""
        seconds = distributed.from_first(lambda: time.perf_counter() - self.started)
        calls = self.paid.calls + self.wasted.calls + self.tables.calls
        return Cost(self._passes, calls, self.seconds_before + seconds)

    @property
    def _passes(self) -> float:
        return self.paid.evaluations + self.wasted.evaluations + self.tables.evaluations

    def _used(self, now: float = 0.0) -> float:
        """Return the share of the budget that is spent, with so many passes that are in no table yet.

        Ranks agree on a time only if the budget is one: that is an exchange between them.
        """
        if math.isinf(self.limit.seconds):
            return (self._passes + now) / self.limit.passes
        return self.limit.used(self.cost)

    def measure(self, cutoff: int, report: Callable[[], None]) -> None:
        """Measure one cutoff with its share of what is left of the budget."""
        used = self._used()
        self._until = used + (1.0 - used) / (len(self.bodies) - cutoff)
        if self._ended(cutoff):
            return
        self.teller.learn(self.result(), cutoff)
        whole = self._until
        self._until = used + _PILOT * (whole - used)
        try:
            piloted = self._pilot(cutoff, report)
        except (OutOfBudget, TooFewLevels):
            self._waste(cutoff)
            return
        finally:
            self._until = whole
        while (following := self._next_round(cutoff, piloted)) is not None:
            try:
                self._round(cutoff, *following, piloted, report)
            except OutOfBudget:
                self._waste(cutoff)
                return

    def _waste(self, cutoff: int) -> None:
        """Count what was spent on something that is not whole."""
        spent = self.bodies[cutoff].spent
        self.wasted += Cost(spent.evaluations, spent.calls, 0.0)

    def _pilot(self, cutoff: int, report: Callable[[], None]) -> Piloted:
        """Return the schedule of a cutoff; its cost counts once."""
        body, known = self.bodies[cutoff], self.tables.pilot_of(cutoff)
        body.spent.clear()
        self.teller.stage, begun = "pilot", self._used()

        def share() -> float:
            return (self._used(body.spent.evaluations) - begun) / max(self._until - begun, 1e-9)

        def affords(dearer: float) -> bool:
            # the few particles of a hasty pilot are slow, so a time is reckoned at the speed of the rays
            needs = dearer * body.spent.evaluations / self.limit.passes_at(speed_of(self.rays.cost))
            return self._used(body.spent.evaluations) + needs <= self._until

        # what it costs to make a pilot again is no passes, but it is time
        again = known is not None and math.isinf(self.limit.seconds)
        check = (lambda: None) if again else self._check_of(body)
        find = partial(
            find_schedule,
            body,
            self.rays.config["seed"],
            1 + _STAGES_OF_CUTOFF * cutoff,
            check,
            check_shell=None if known else self._check_of(body, _SHELL),
            check_last=check if again else self._check_of(body, _LAST),
            share=(lambda: 0.0) if known else share,
            affords=affords,
            known=known,
        )
        piloted = by_first(find, body)
        if known and piloted.tried != known.tried:
            raise OutOfBudget
        if not known:
            path = PATHS.index(piloted.schedule.path.name)
            found = (cutoff, path, len(piloted.schedule), piloted.passes_per_level, piloted.tried)
            self.tables.pilots.append(PilotRow(*found, *body.spent.row, piloted.careful, piloted.count))
            report()
        return piloted

    def _ended(self, cutoff: int) -> bool:
        """Return whether the rounds of a cutoff are done, as far as that shows without a schedule."""
        begun, used = self.tables.rounds_of(cutoff), self._used()
        if not begun or not begun[-1].whole:
            return bool(begun) and used >= self._until
        left = max(self._until - used, 0.0) * self.limit.passes_at(speed_of(self.cost) * faster(int(begun[-1].groups)))
        return exact(rounds_of(self.result(), cutoff)) or left < self.tables.spent_on(begun[-1])

    def _next_round(self, cutoff: int, piloted: Piloted) -> tuple[float, int] | None:
        """Return effort and groups of the round that is not whole, or of the next one; None if there is no room."""
        begun, used = self.tables.rounds_of(cutoff), self._used()
        if begun and not begun[-1].whole:
            return (begun[-1].effort, int(begun[-1].groups)) if used < self._until else None
        if exact(rounds_of(self.result(), cutoff)):
            return None
        full, party, past = [row for row in begun if row.groups > 1], self._party(cutoff, len(begun)), None
        if full:
            last = full[-1]
            before = self._party(cutoff, int(last.round)).at(last.effort, len(piloted.schedule))
            past = Past(last.effort, before, self.tables.spent_on(last))
        passes = self.limit.passes_at(self._speed or faster(party.groups) * speed_of(self.cost))
        return next_round(
            piloted.schedule,
            party,
            _SAFE * max(self._until - used, 0.0) * passes,
            past,
            begun[-1].effort if begun else None,
            length=piloted.length if piloted.hasty else None,
            timed=math.isfinite(self.limit.seconds),
            speed_up=partial(speed_up, self.bodies[cutoff]),
        )

    def _party(self, cutoff: int, number: int) -> Party:
        """Return the particles that the round of this number may have, by what those before it have shown."""
        pilot, before = self.tables.pilot_of(cutoff), rounds_of(self.result(), cutoff)[:number]
        assert pilot is not None
        first = PARTIES[PATHS[int(pilot.path)]]
        return first.after(len(before[-1].out), spread(before[-1].out)) if before else first

    def _round(self, cutoff: int, effort: float, groups: int, piloted: Piloted, report: Callable[[], None]) -> None:
        """Do what a round lacks."""
        begun = self.tables.rounds_of(cutoff)
        number = len(begun) if not begun or begun[-1].whole else int(begun[-1].round)
        party = self._party(cutoff, number).of_round(effort, len(piloted.schedule), groups)
        levels, before = piloted.schedule.at(effort / party.times), self.cost
        if number == len(begun):
            self.tables.rounds.append(RoundRow(cutoff, number, effort, len(levels) - 1, groups))
        row = self.tables.rounds_of(cutoff)[-1]
        body, seed = self.bodies[cutoff], self.rays.config["seed"]
        stage = 1 + _STAGES_OF_CUTOFF * cutoff + _STAGES_OF_ROUND * (number + 1)
        ways = Ways(body, piloted.schedule.path, levels, party, seed, stage)
        done = [group.group for group in self.tables.groups_of(row)]

        def go(group: int, check: Check) -> Walked:
            self.teller.stage = f"round {number + 1}, group {group + 1} of {groups}"
            again = group in done and math.isinf(self.limit.seconds)  # as for a pilot, that costs no passes
            back = groups > 1 and group not in done
            return ways.go(group, back=back, check=(lambda: None) if again else check)

        missing = [group for group in range(groups) if group == 0 or group not in done]
        together = side_by_side(groups)
        for first in range(0, len(missing), together):
            wave = missing[first : first + together]
            gone = go_through(wave, go, body.spent, self._check_of(body), alone=together > 1)
            for group, went in zip(wave, gone, strict=True):
                walked = went.within(self._affords(), body.spent)
                if group not in done:  # otherwise only its end was needed again
                    self.tables.keep(GroupRow(cutoff, number, group, walked.accepted, *body.spent.row), walked)
                    report()
        self.teller.stage = f"round {number + 1}, {'second start' if party.late else 'finer grid'}"

        def look(key: Key, check: Check) -> Seen:
            masses, theta = self.masses[:, cutoff], self.objective.theta
            longest = along_longest(self.metric, theta, seed, masses, party.late) if party.late else None
            return ways.look(longest, key, check)

        (looked,) = go_through([Key(seed, stage + 2, 0)], look, body.spent, self._check_of(body), alone=together > 1)
        seen = looked.within(self._affords(), body.spent)
        self.tables.rounds[self.tables.rounds.index(row)] = RoundRow(*row[:5], *seen, *body.spent.row)
        self._speed = speed_of(self.cost, before)
        self.teller.learn(self.result(), cutoff)
        report()

    def _affords(self) -> Callable[[float], bool]:
        """Return what tells whether a budget in passes has room for so many more; a time has cut already."""
        until, timed = self._end_of(), math.isfinite(self.limit.seconds)
        return lambda passes: timed or self._used(passes) < until

    def _end_of(self, share: float = 1.0) -> float:
        """Return the share of the budget that is spent once a share of what is left now is."""
        used = self._used()
        return used + share * (self._until - used)

    def _check_of(self, body: StarBody, share: float = 1.0) -> Callable[[], None]:
        """Return what raises once a share of what is left now is spent, counting what the body has spent just now."""
        until = self._end_of(share)

        def check() -> None:
            used = self._used(body.spent.evaluations)
            self.teller.tell(math.floor(100 * min(used, 1.0)))
            if used >= until:
                raise OutOfBudget

        return check

    def resume(self, past: Islands) -> None:
        """Take over what an earlier run has measured.

        Raises:
            LandscapeError: if it measured something else.
        """
        # another version may have had other tables
        widths = {"particles of a group": past.log_radii.shape[1], "numbers of a pilot": past.pilots.shape[1]}
        asked = {"particles of a group": BY_GROUP["log_radii"], "numbers of a pilot": len(PilotRow._fields)}
        stored = {**past.config, "cutoffs": list(past.cutoffs), **widths}
        require_same_config(stored, {**self.config, "cutoffs": list(self.rays.cutoffs), **asked})
        if not np.allclose(past.reference_radii, self.rays.radii, rtol=1e-3):
            raise LandscapeError(
                "the stored run measured another function: its reference rays have other radii than they have now.\n"
                "Measure with the same model, data, loss and forward, or start over with `resume=None`."
            )
        self.tables = Tables.of(past)
        self.seconds_before = past.cost.seconds

    def result(self) -> Islands:
        """Return the tables as a frozen result."""
        return Islands(
            **self.tables.arrays(),
            reference_radii=self.rays.radii,
            reference_masses=self.masses,
            cutoffs=self.rays.cutoffs,
            dimension=self.rays.dimension,
            log_scale_sum=self.metric.log_scale_sum,
            share=1.0 if self.finished else min(self._used(), 1.0),
            config=self.config,
            cost=self.cost,
        )
