"""Annealed chains: from uniform directions to directions in proportion to r^n, weights collected on the way.

For each cutoff three *legs*, each with random numbers of its own: the pilot, whose lessons fix the schedule; then
chains at half the temperatures and chains at all of them. Within a leg all chains take each temperature together, in
one batch. A leg's state after a temperature is all that the next one needs, so a run can stop and go on at any of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from landscape.errors import LandscapeError, ObjectiveError
from landscape.metric import make_metric
from landscape.objective import Objective
from landscape.radius import basin_radii
from landscape.results import Cost, Radii
from landscape.results.chains import COLUMNS, LEGS, Chains
from landscape.volume.body import Points, StarBody, sphere
from landscape.volume.kernels import Moved, flight_move, normals, slice_move, stream, uniforms
from landscape.volume.schedule import MOST_STEPS, PILOT_CHAINS, Lesson, Schedule, first_lesson, pilot_step

LOOK = 16  # uniform rays in the first look
LEAST_CHAINS = 4
_SHARED = 2**64 - 1  # the chain number of draws that all chains share
_FINE = 0.1  # nats that the tolerance of the radii may move log V by
_FINEST = 1e-6
_DERIVED = ("first_step_taken",)  # settings that the function itself makes


@dataclass(frozen=True)
class Annealed:
    """Where a run stands, handed to ``on_block`` after every temperature.

    Attributes:
        done, total: temperatures done and wanted, the pilots' not counted.
        snapshot: makes the partial :class:`Chains` of this moment.
    """

    done: int
    total: int
    snapshot: Callable[[], Chains]


def anneal(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str = "filter",
    chains: int = 32,
    temperatures: int = 500,
    seed: int = 0,
    max_radius: float | None = None,
    rtol: float | None = None,
    growth: float = 2.0,
    first_step: float | None = None,
    resume: Chains | None = None,
    on_block: Callable[[Annealed], None] | None = None,
) -> Chains:
    """Return chains annealed from uniform directions to the basin of each cutoff, with their weights.

    A chain begins at a uniform direction; at temperature t_k its log-weight gains n (t_{k+1} - t_k) log r(phi), then it
    moves so that pi_{t_{k+1}}(phi), proportional to r^(n t_{k+1}), stays as it is. The weight is unbiased for E[r^n]
    whatever the temperatures and however slowly the moves mix (Jarzynski 1997; Neal 2001); one temperature is the
    plain mean over uniform rays.

    1. Temperatures, step sizes and which of the two moves is made come from pilot chains with random numbers of their
       own, and are then frozen, which keeps the weights unbiased.

    Args:
        objective, cutoffs, criterion, metric, max_radius, growth, first_step: as for :func:`landscape.basin_radii`.
        chains: independent chains, at least 4.
        temperatures: of the run of full effort, at least 2; that of half effort takes half of them.
        seed: keys everything drawn.
        rtol: relative tolerance of a radius; by default what moves log V by at most 0.1, from 1e-6 to 1e-3.
        resume: the partial result of an interrupted run with the same settings.
        on_block: called after every temperature.

    Raises:
        ObjectiveError: for too few chains or temperatures, and whatever :func:`landscape.basin_radii` raises.
        LandscapeError: where ``resume`` was measured with other settings, or is of another function.

    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> found = anneal(bowl, [4.0], metric="identity", chains=4, temperatures=2)
    >>> bool(np.allclose(found.log_weights, 3 * math.log(2.0)))
    True
    """
    for name, value, least in (("chains", chains, LEAST_CHAINS), ("temperatures", temperatures, 2)):
        if value < least:
            raise ObjectiveError(f"{name} = {value} anneals nothing. Pass at least {least}.")
    if rtol is None and isinstance(objective, Objective):
        rtol = min(max(_FINE / objective.dimension, _FINEST), 1e-3)
    look = basin_radii(
        objective,
        cutoffs,
        criterion=criterion,
        metric=metric,
        directions=LOOK,
        seed=seed,
        max_radius=max_radius,
        rtol=rtol or 1e-3,
        growth=growth,
        first_step=first_step,
    )
    run = _Run.start(objective, look, chains, temperatures)
    if resume is not None:
        run.go_on(resume)
    with objective.running():
        while not run.finished:
            run.advance()
            if on_block is not None:
                done = run.result().done
                on_block(Annealed(int(done.sum()), len(done), run.result))
    return run.result()


@dataclass
class _Run:
    """The growing result, and where it stands."""

    bodies: list[StarBody]
    look: Radii
    config: dict[str, Any]
    seed: int
    chains: int
    temperatures: int
    log_weights: np.ndarray
    censored_first: np.ndarray
    censored_last: np.ndarray
    unfinished: np.ndarray
    leg: int = 0
    step: int = 0
    points: Points | None = None
    log_weight: np.ndarray | None = None
    trace: list[list[float]] | None = None
    seconds: float = 0.0
    evaluations: float = 0.0
    calls: int = 0

    @classmethod
    def start(cls, objective: Objective, look: Radii, chains: int, temperatures: int) -> _Run:
        """Return a run with nothing done."""
        made = make_metric(look.config["metric"], objective.theta, objective.scope)
        bodies = [
            StarBody(
                objective,
                made,
                criterion=look.config["criterion"],
                cutoff=cutoff,
                centre=look.centre,
                max_radius=look.max_radius,
                rtol=look.config["rtol"],
                growth=look.config["growth"],
                first_step=look.config["first_step_taken"] or look.config["first_step"],
            )
            for cutoff in look.cutoffs
        ]
        shape = (len(bodies), 2, chains)
        return cls(
            bodies,
            look,
            {**look.config, "chains": chains, "temperatures": temperatures},
            look.config["seed"],
            chains,
            temperatures,
            np.full(shape, np.nan),
            np.zeros(shape, dtype=bool),
            np.zeros(shape, dtype=bool),
            np.zeros(shape[:2], dtype=np.int64),
            trace=[],
            seconds=look.cost.seconds,
            evaluations=look.cost.evaluations,
            calls=look.cost.calls,
        )

    @property
    def finished(self) -> bool:
        """Whether all legs are done."""
        return self.leg == len(LEGS) * len(self.bodies)

    @property
    def body(self) -> StarBody:
        """That of the current leg."""
        return self.bodies[self.leg // len(LEGS)]

    def advance(self) -> None:
        """Do one temperature of the current leg."""
        started, body = time.perf_counter(), self.body
        body.evaluations, body.calls = 0.0, 0
        if self.leg % len(LEGS) == 0:
            self._pilot()
        else:
            self._anneal(self.leg % len(LEGS) - 1)
        self.evaluations += body.evaluations
        self.calls += body.calls
        self.seconds += time.perf_counter() - started

    def _begin(self, count: int) -> Points:
        """Return uniform directions with their radii, the first of this leg."""
        streams = [stream(self.seed, chain, self.leg, 0) for chain in range(count)]
        like = torch.empty(count, self.body.dimension, dtype=torch.float64, device=self.body.objective.theta.device)
        return self.body.measure(sphere(normals(streams, like)))

    def _pilot(self) -> None:
        lessons = self._lessons()
        if not lessons:
            self.points, self.log_weight = self._begin(PILOT_CHAINS), np.zeros(PILOT_CHAINS)
            lesson = first_lesson(self.body, self.points)
        else:
            assert self.points is not None
            self.points, lesson = pilot_step(self.body, self.points, lessons, self.seed, self.leg)
        self._note(**{name: getattr(lesson, name) for name in COLUMNS if hasattr(lesson, name)})
        self.step += 1
        if lesson.temperature == 1.0:
            self._next_leg()

    def _anneal(self, effort: int) -> None:
        cutoff = self.leg // len(LEGS)
        if self.points is None:
            self.points, self.log_weight = self._begin(self.chains), np.zeros(self.chains)
            self.censored_first[cutoff, effort] = self.points.censored
            self.unfinished[cutoff, effort] = self.points.unfinished.sum()
        assert self.log_weight is not None
        schedule = self._schedule()
        t, after = schedule.temperatures[self.step : self.step + 2]
        n, before = self.body.dimension, self.points
        energy = n * before.log_radius
        self.log_weight = self.log_weight + (after - t) * energy
        row = {
            "temperature": t,
            "energy": energy.mean(),
            "energy_spread": energy.std(ddof=1),
            "weight_spread": self.log_weight.std(ddof=1),
        }
        self.step += 1
        if self.step == len(schedule.temperatures) - 1:
            self._note(**row)
            self.log_weights[cutoff, effort] = self.log_weight
            self.censored_last[cutoff, effort] = before.censored
            self._next_leg()
            return
        started = self.body.evaluations
        moved, flight = self._move(schedule, after)
        self.points = moved.points
        self.unfinished[cutoff, effort] += moved.points.unfinished.sum()
        self._note(
            **row,
            flight=flight,
            accepted=moved.accepted.mean(),
            angle=moved.angle.mean(),
            correlation=_correlation(before.log_radius, moved.points.log_radius),
            evaluations=(self.body.evaluations - started) / self.chains,
        )

    def _move(self, schedule: Schedule, t: float) -> tuple[Moved, bool]:
        """Move all chains at temperature t."""
        assert self.points is not None
        how, power = schedule.move(t), t * self.body.dimension
        streams = [stream(self.seed, chain, self.leg, self.step) for chain in range(self.chains)]
        if not how.flight:
            return slice_move(self.body, self.points, power, how.width, streams, how.guess), False
        # flights of one length could be in step with a period of the body
        share = 0.5 + float(uniforms([stream(self.seed, _SHARED, self.leg, self.step)])[0])
        count = min(max(round(how.time * share / how.step), 1), MOST_STEPS)
        radius = math.exp(how.guess[0])
        return flight_move(self.body, self.points, power, radius, how.step, count, streams, how.guess), True

    def _lessons(self) -> list[Lesson]:
        """Return what this cutoff's pilot has learnt so far."""
        pilot = self.leg - self.leg % len(LEGS)
        rows = (dict(zip(COLUMNS, row, strict=True)) for row in self.trace or [] if row[0] == pilot)
        names = Lesson.__dataclass_fields__
        return [Lesson(**{name: row[name] for name in names}) for row in rows]

    def _schedule(self) -> Schedule:
        count = self.temperatures // 2 if self.leg % len(LEGS) == 1 else self.temperatures
        return Schedule.learnt(self._lessons(), count)

    def _note(self, **values: Any) -> None:
        assert self.trace is not None
        values["leg"] = self.leg
        self.trace.append([float(values.get(name, math.nan)) for name in COLUMNS])

    def _next_leg(self) -> None:
        self.leg, self.step, self.points, self.log_weight = self.leg + 1, 0, None, None

    def go_on(self, past: Chains) -> None:
        """Take the state of an earlier run, having checked that it measured the same thing."""
        now, then = self.result(), past
        wrong = [
            f"{key}: stored {then.config.get(key)!r}, asked {value!r}"
            for key, value in now.config.items()
            if then.config.get(key) != value and key not in _DERIVED
        ]
        if then.cutoffs != now.cutoffs:
            wrong.append(f"cutoffs: stored {list(then.cutoffs)}, asked {list(now.cutoffs)}")
        if then.columns != COLUMNS:
            wrong.append("version: stored by another version of landscape")
        if wrong:
            raise LandscapeError(
                "the stored run was measured with other settings, so it cannot be continued:\n  "
                + "\n  ".join(wrong)
                + "\nPass the stored settings, or --overwrite to start anew, or another --out."
            )
        if not np.allclose(then.look, now.look, rtol=1e-3):
            raise LandscapeError(
                "the stored run measured another function: radii along the same rays are no longer the same.\n"
                "Measure with the same model, data, loss and forward, or --overwrite to start anew."
            )
        for name in ("log_weights", "censored_first", "censored_last", "unfinished"):
            setattr(self, name, getattr(past, name).copy())
        self.trace = past.trace.tolist()
        self.leg, self.step = past.position
        self.evaluations, self.calls, self.seconds = past.cost.evaluations, past.cost.calls, past.cost.seconds
        if len(past.phi):
            phi = torch.from_numpy(past.phi).to(self.body.objective.theta.device)
            self.points = Points(phi, past.phi_log_radius.copy(), past.phi_censored.copy(), past.phi_unfinished.copy())
            self.log_weight = past.phi_log_weight.copy()

    def result(self) -> Chains:
        """Return what is known so far as a frozen result."""
        points, n = self.points, self.bodies[0].dimension
        nothing = np.zeros(0)
        return Chains(
            log_weights=self.log_weights.copy(),
            censored_first=self.censored_first.copy(),
            censored_last=self.censored_last.copy(),
            unfinished=self.unfinished.copy(),
            trace=np.array(self.trace, dtype=np.float64).reshape(-1, len(COLUMNS)),
            phi=np.zeros((0, n)) if points is None else points.phi.cpu().numpy().copy(),
            phi_log_radius=nothing if points is None else points.log_radius,
            phi_log_weight=nothing if self.log_weight is None else self.log_weight,
            phi_censored=nothing.astype(bool) if points is None else points.censored,
            phi_unfinished=nothing.astype(bool) if points is None else points.unfinished,
            look=self.look.radii,
            position=(self.leg, self.step),
            cutoffs=self.look.cutoffs,
            columns=COLUMNS,
            dimension=n,
            log_scale_sum=self.look.log_scale_sum,
            config=self.config,
            cost=Cost(self.evaluations, self.calls, self.seconds),
        )


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    """Return the correlation over chains; NaN where either does not vary."""
    if before.std() == 0 or after.std() == 0:
        return math.nan
    return float(np.corrcoef(before, after)[0, 1])
