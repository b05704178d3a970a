"""The state of a run of annealed chains, and one target after the other.

For each cutoff three *legs*, each with random numbers of its own: the pilot, whose lessons fix the schedule; then
chains at half the targets and chains at all of them. Within a leg all chains take each target together, in one batch.
A leg's state after a target is all that the next one needs, so a run can stop and go on at any of them.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from landscape import distributed
from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.rays import make_metric
from landscape.results import Cost, Radii
from landscape.results.chains import COLUMNS, LEGS, Chains
from landscape.volume.annealing.moves import Moved, flight_move, slice_move
from landscape.volume.annealing.pilot import (
    PILOT_CHAINS,
    Lesson,
    energy_of,
    first_lesson,
    hopeless,
    radius_step,
    soft_step,
    target_of,
    uneven,
)
from landscape.volume.annealing.points import Points, sphere
from landscape.volume.annealing.precondition import learn
from landscape.volume.annealing.schedule import Move, Schedule
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import normals, stream, uniforms
from landscape.volume.annealing.targets import RadiusTarget, Ray, growing_ray, measured, ray_for
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.measure import Measure, along_uniform, lengthened

_DERIVED = ("first_step_taken", "steepness")  # settings that the function itself makes
_FINISHED = (
    "log_weights",
    "censored_last",
    "log_radius_last",
    "path_log_weights",
    "path_log_radii",
    "path_along",
    "unfinished",
)  # fields of the result that a run fills in and never changes again
_MEASURE = ("measure", "sigma", "measure_centre")  # settings that a run of volumes leaves out
_SOFT_START = 2**32  # the step at which the soft pilot draws its directions
_SHARED, _RESAMPLED = 2**64 - 1, 2**64 - 2  # chain numbers of draws that all chains share: of a length, of who goes on


@dataclass
class Run:
    """The growing result, and where it stands."""

    bodies: list[StarBody]
    rays: list[Ray]
    look: Radii
    config: dict[str, Any]
    seed: int
    chains: int | None
    temperatures: int | None
    log_weights: np.ndarray
    censored_last: np.ndarray
    log_radius_last: np.ndarray
    path_log_weights: np.ndarray
    path_log_radii: np.ndarray
    path_along: np.ndarray
    unfinished: np.ndarray
    look_along: np.ndarray
    leg: int = 0
    step: int = 0
    points: Points | None = None
    log_weight: np.ndarray | None = None
    trace: list[list[float]] | None = None
    seconds: float = 0.0
    evaluations: float = 0.0
    calls: int = 0
    _frozen: tuple[int, Schedule] | None = None

    @classmethod
    def start(
        cls,
        objective: Objective,
        look: Radii,
        law: Measure,
        chains: int | None,
        temperatures: int | None,
        path: str,
        precondition: str = "none",
        learning: int | None = None,
    ) -> Run:
        """Return a run with nothing done; without ``temperatures`` it needs :meth:`settle` after its pilots.

        ``law`` is what the basin is measured by; ``learning`` what coordinates may cost, in evaluations, None for all.
        """
        started = time.perf_counter()
        made = make_metric(look.config["metric"], objective.theta, objective.scope)
        bodies = [StarBody.of(objective, made, look, cutoff, law) for cutoff in look.cutoffs]
        shown: list[Points | None] = [None] * len(bodies)
        if precondition != "none":
            given, most = look.config["seed"], math.inf if learning is None else learning / len(bodies)
            with objective.running():
                shown = [learn(body, given, len(LEGS) * i, precondition, most) for i, body in enumerate(bodies)]
        rays = [ray_for(body, *both) for body, *both in zip(bodies, look.radii.T, shown, strict=True)]
        shape = (len(bodies), 2, 0)
        run = cls(
            bodies,
            rays,
            look,
            {
                **look.config,
                **law.describe(),
                "chains": chains,
                "temperatures": temperatures,
                "path": path,
                "precondition": precondition,
                "learning": learning,
                "shapes": [body.shape.digest() if body.shape else None for body in bodies],
            },
            look.config["seed"],
            chains,
            temperatures,
            np.full(shape, np.nan),
            np.zeros(shape, dtype=bool),
            np.full(shape, np.nan),
            np.zeros((*shape, 0)),
            np.zeros((*shape, 0)),
            np.zeros((*shape, 0, bodies[0].columns)),
            np.zeros(shape[:2], dtype=np.int64),
            look_along=along_uniform(law, objective, made, look).table(look.radii),
            trace=[],
            seconds=distributed.from_first(lambda: look.cost.seconds + time.perf_counter() - started),
            evaluations=look.cost.evaluations + sum(body.evaluations for body in bodies),
            calls=look.cost.calls + sum(body.calls for body in bodies),
        )
        if chains is not None and temperatures is not None:
            run.settle(chains, temperatures)
        return run

    def settle(self, chains: int, temperatures: int) -> None:
        """Fix how many chains and temperatures there are."""
        shape = (len(self.bodies), 2, chains)
        self.chains, self.temperatures = chains, temperatures
        self.config = {**self.config, "chains": chains, "temperatures": temperatures}
        self.log_weights, self.log_radius_last = np.full(shape, np.nan), np.full(shape, np.nan)
        self.censored_last = np.zeros(shape, dtype=bool)
        paths = (*shape[:2], temperatures, chains)
        self.path_log_weights, self.path_log_radii = np.full(paths, np.nan), np.full(paths, np.nan)
        self.path_along = np.full((*paths, self.bodies[0].columns), np.nan)

    @property
    def finished(self) -> bool:
        """Whether all legs are done."""
        return self.leg == len(LEGS) * len(self.bodies)

    @property
    def cost(self) -> Cost:
        """What it all cost so far."""
        return Cost(self.evaluations, self.calls, self.seconds)

    @property
    def piloting(self) -> bool:
        """Whether the pilots of some cutoffs are still under way: those of all cutoffs come first."""
        return not self.finished and self.leg % len(LEGS) == 0

    @property
    def body(self) -> StarBody:
        """That of the current leg."""
        return self.bodies[self.leg // len(LEGS)]

    def advance(self) -> None:
        """Do one temperature of the current leg."""
        started, body = time.perf_counter(), self.body
        body.evaluations, body.calls = 0.0, 0
        if self.piloting:
            self._pilot()
        else:
            self._anneal(self.leg % len(LEGS) - 1)
        self.evaluations += body.evaluations
        self.calls += body.calls
        # the first rank's clock, since a budget of time is spent by it
        self.seconds += distributed.from_first(lambda: time.perf_counter() - started)

    def _begin(self, count: int, step: int = 0) -> Points:
        """Return uniform directions with their radii, the first of this leg."""
        streams = [stream(self.seed, chain, self.leg, step) for chain in range(count)]
        body = self.body
        like = torch.empty(count, body.dimension, dtype=torch.float64, device=body.objective.theta.device)
        return body.measure(sphere(normals(streams, like)))

    def _pilot(self) -> None:
        lessons, body = self._lessons(), self.body
        turns = self.config["path"] == "auto" and bool(lessons) and lessons[-1].path == "radius"
        if not lessons or (turns and lessons[0].step > 0 and hopeless(lessons)):
            path = "radius" if self.config["path"] == "auto" else self.config["path"]
            if lessons:
                path = "growth" if body.shape else "soft"
            self.points = self._begin(PILOT_CHAINS, _SOFT_START if lessons else 0)
            self.log_weight = np.zeros(PILOT_CHAINS)
            lesson = first_lesson(body, self.points, path)
            if path != "radius":
                self.points = target_of(body, self._ray(path), lesson).seen(self.points)
        else:
            assert self.points is not None
            given = (self.points, lessons, self.seed, self.leg)
            if lessons[-1].path == "radius":
                self.points, lesson = radius_step(body, *given)
            else:
                self.points, lesson = soft_step(body, self._ray(lessons[-1].path), *given)
        self._note(**asdict(lesson))
        self.step += 1
        if lesson.temperature == 1.0:
            self._next_leg()

    def _ray(self, path: str) -> Ray:
        """Return where a path looks, at the current leg's cutoff."""
        return growing_ray(self.body.dimension) if path == "growth" else self.rays[self.leg // len(LEGS)]

    def _anneal(self, effort: int) -> None:
        assert self.chains is not None
        cutoff, schedule = self.leg // len(LEGS), self._schedule()
        here, following = schedule.move(self.step), schedule.move(self.step + 1)
        if self.points is None:
            self.points = here.target.seen(self._begin(self.chains))
            self.log_weight = here.target.log_density(self.points) + self.body.log_determinant
            self.unfinished[cutoff, effort] = self.points.unfinished.sum()
        assert self.log_weight is not None
        density = here.target.log_density(self.points)
        before = self.points = following.target.seen(self.points)
        shown, lengths = measured(self.body, before), self.body.log_lengths(before.phi)
        self.path_log_weights[cutoff, effort, self.step] = (
            w.ratio(self.log_weight, density) - self.body.dimension * lengths
        )
        self.path_log_radii[cutoff, effort, self.step] = shown.log_radius + lengths
        self.path_along[cutoff, effort, self.step] = lengthened(shown.along, lengths)
        gain = w.ratio(following.target.log_density(before), density)
        self.log_weight = self.log_weight + gain
        energy, energy_spread = energy_of(self.body, shown)
        last = self.step + 1 == len(schedule)
        resampled = following.resampling and not last and uneven(self.log_weight)
        row = {
            "resampled": resampled,
            "temperature": here.target.temperature,
            "hardness": getattr(here.target, "hardness", math.nan),
            "reach": getattr(here.target, "reach", None) or math.nan,
            "stride": w.spread(gain),
            "energy": energy,
            "energy_spread": energy_spread,
            "weight_spread": w.spread(self.log_weight),
        }
        self.step += 1
        if last:
            self._note(**row)
            self.log_weights[cutoff, effort] = self.log_weight
            self.censored_last[cutoff, effort] = before.censored
            self.log_radius_last[cutoff, effort] = before.log_radius + lengths
            self._next_leg()
            return
        if resampled:
            place = float(uniforms([stream(self.seed, _RESAMPLED, self.leg, self.step)])[0])
            before = self.points = before.take(w.resample(self.log_weight, place))
            self.log_weight = np.full(self.chains, w.log_mean(self.log_weight))
        started = self.body.evaluations
        moved = self._move(following)
        self.points = moved.points
        self.unfinished[cutoff, effort] += moved.points.unfinished.sum()
        densities = [following.target.log_density(points) for points in (before, moved.points)]
        self._note(
            **row,
            flight=following.flight,
            accepted=moved.accepted.mean(),
            angle=moved.angle.mean(),
            correlation=w.correlation(*densities),
            evaluations=(self.body.evaluations - started) / self.chains,
        )

    def _move(self, how: Move) -> Moved:
        """Move all chains under the next target."""
        assert self.points is not None
        streams = [stream(self.seed, chain, self.leg, self.step) for chain in range(len(self.points))]
        if not how.flight:
            assert isinstance(how.target, RadiusTarget)
            return slice_move(self.body, self.points, how.target.power, how.width, streams, how.target.guess)
        # flights of one length could be in step with a period of the body
        share = 0.75 + 0.5 * float(uniforms([stream(self.seed, _SHARED, self.leg, self.step)])[0])
        count = min(max(round(how.time * share / how.step), 1), how.flights.most)
        return flight_move(how.target, self.points, how.step, count, streams, how.flights.varied, how.flights.kept)

    def _lessons(self) -> list[Lesson]:
        """Return what this cutoff's pilot has learnt so far, of the path alone to which it has turned."""
        pilot = self.leg - self.leg % len(LEGS)
        rows = (dict(zip(COLUMNS, row, strict=True)) for row in self.trace or [] if row[0] == pilot)
        lessons = [Lesson(**{name: row[name] for name in Lesson.__dataclass_fields__}) for row in rows]
        return [lesson for lesson in lessons if lesson.path != "radius"] or lessons

    def _schedule(self) -> Schedule:
        if self._frozen is None or self._frozen[0] != self.leg:
            assert self.temperatures is not None
            count = self.temperatures // 2 if self.leg % len(LEGS) == 1 else self.temperatures
            lessons = self._lessons()
            self._frozen = self.leg, Schedule(self.body, self._ray(lessons[0].path), lessons, count)
        return self._frozen[1]

    def _note(self, **values: Any) -> None:
        assert self.trace is not None
        values["leg"] = self.leg
        self.trace.append([float(values.get(name, math.nan)) for name in COLUMNS])

    def _next_leg(self) -> None:
        legs = np.arange(len(LEGS) * len(self.bodies)).reshape(-1, len(LEGS))
        order = [*legs[:, 0].tolist(), *legs[:, 1:].ravel().tolist(), legs.size]
        self.leg = order[order.index(self.leg) + 1]
        self.step, self.points, self.log_weight = 0, None, None

    def go_on(self, past: Chains) -> None:
        """Take the state of an earlier run, having checked that it measured the same thing."""
        if self.temperatures is None and past.config.get("temperatures") is not None:
            self.settle(int(past.config["chains"]), int(past.config["temperatures"]))
        now, then = self.result(), past
        wrong = [
            f"{key}: stored {then.config.get(key)!r}, asked {value!r}"
            for key, value in {**dict.fromkeys(_MEASURE), **now.config}.items()
            if then.config.get(key) != value and key not in _DERIVED
        ]
        if then.cutoffs != now.cutoffs:
            wrong.append(f"cutoffs: stored {list(then.cutoffs)}, asked {list(now.cutoffs)}")
        if then.columns != COLUMNS or len(then.path_along) != len(then.cutoffs):
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
        for name in _FINISHED:
            setattr(self, name, getattr(past, name).copy())
        self.trace = past.trace.tolist()
        self.leg, self.step = past.position
        self.evaluations, self.calls, self.seconds = past.cost.evaluations, past.cost.calls, past.cost.seconds
        if len(past.phi):
            phi = torch.from_numpy(past.phi).to(self.body.objective.theta.device)
            arrays = (past.phi_log_radius, past.phi_censored, past.phi_unfinished, past.phi_rises, past.phi_along)
            velocity = torch.from_numpy(past.phi_velocity).to(phi) if len(past.phi_velocity) else None
            self.points = Points(phi, *(array.copy() for array in arrays), velocity=velocity)
            self.log_weight = past.phi_log_weight.copy()

    def result(self) -> Chains:
        """Return what is known so far as a frozen result."""
        n = self.bodies[0].dimension
        points = Points.bare(torch.zeros(0, n, dtype=torch.float64)) if self.points is None else self.points
        return Chains(
            **{name: getattr(self, name).copy() for name in _FINISHED},
            trace=np.array(self.trace, dtype=np.float64).reshape(-1, len(COLUMNS)),
            phi=points.phi.cpu().numpy().copy(),
            phi_log_radius=points.log_radius,
            phi_log_weight=np.zeros(0) if self.log_weight is None else self.log_weight,
            phi_censored=points.censored,
            phi_unfinished=points.unfinished,
            phi_rises=points.rises,
            phi_along=points.along,
            phi_velocity=np.zeros((0, n)) if points.velocity is None else points.velocity.cpu().numpy().copy(),
            look=self.look.radii,
            look_along=self.look_along,
            position=(self.leg, self.step),
            cutoffs=self.look.cutoffs,
            columns=COLUMNS,
            dimension=n,
            log_scale_sum=self.look.log_scale_sum,
            config=self.config,
            cost=self.cost,
        )
