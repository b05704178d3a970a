"""The state of a run of annealed chains, which goes from target to target.

Each cutoff has three *stages*, each with random numbers of its own: the pilot, whose steps fix the schedule; then
chains at half the targets, and chains at all of them. Within a stage all chains take each target together, in one
batch. The state after a target is all that the next one needs, so a run can stop and continue at any of them.
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
from landscape.rays import Metric
from landscape.rays.streams import Purpose
from landscape.results import Cost, Radii, require_same_config
from landscape.results.chains import COLUMNS, STAGES, Chains
from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.annealing.moves import Moved, hmc_move, slice_move
from landscape.volume.annealing.pilot import (
    PILOT_CHAINS,
    PilotStep,
    first_pilot_step,
    hopeless,
    mean_log_density,
    radius_step,
    soft_step,
    target_of,
    uneven,
)
from landscape.volume.annealing.points import Points, sphere
from landscape.volume.annealing.precondition import Learnt, learn
from landscape.volume.annealing.schedule import Move, Schedule
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import normals, stream, uniforms
from landscape.volume.annealing.targets import RadiusTarget, Ray, growing_ray, ray_for, with_radii
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.measure import Measure, lengthened, measure_on_uniform_rays

_DERIVED = ("first_step_taken", "steepness")  # follow from the function, which is checked by itself
_FINISHED = (
    "log_weights",
    "censored_last",
    "log_radius_last",
    "path_log_weights",
    "path_log_radii",
    "path_measure",
    "unfinished",
)  # fields of the result that a run fills in once
_MEASURE = ("measure", "sigma", "measure_centre")  # settings that are not stored for volumes


@dataclass
class Run:
    """The growing result, and where it stands."""

    bodies: list[StarBody]
    best_preconditioner: LinearMap | None  # of the smallest cutoff's body
    rays: list[Ray]
    reference_rays: Radii
    config: dict[str, Any]
    seed: int
    chains: int | None
    temperatures: int | None
    log_weights: np.ndarray
    censored_last: np.ndarray
    log_radius_last: np.ndarray
    path_log_weights: np.ndarray
    path_log_radii: np.ndarray
    path_measure: np.ndarray
    unfinished: np.ndarray
    reference_measure: np.ndarray
    stage: int = 0
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
        metric: Metric,
        reference_rays: Radii,
        measure: Measure,
        chains: int | None,
        temperatures: int | None,
        path: str,
        precondition: str = "none",
        most_precondition_evaluations: int | None = None,
    ) -> Run:
        """Return a run with nothing done. Without ``temperatures`` it needs :meth:`set_effort` after its pilots.

        Args:
            objective, chains, temperatures, path, precondition: as for
                :func:`landscape.volume.annealing.anneal.anneal`.
            metric: the scale of a step.
            reference_rays: uniform rays, whose settings are those of the run.
            measure: what the basin is measured by.
            most_precondition_evaluations: limit on the cost of learning coordinates; None for no limit.
        """
        started = time.perf_counter()
        learnt = [
            Learnt(StarBody.of(objective, metric, reference_rays, cutoff, measure)) for cutoff in reference_rays.cutoffs
        ]
        if precondition != "none":
            seed, most = reference_rays.config["seed"], math.inf
            if most_precondition_evaluations is not None:
                most = most_precondition_evaluations / len(learnt)
            with objective.running():
                learnt = [
                    learn(plain.body, seed, len(STAGES) * index, precondition, most)
                    for index, plain in enumerate(learnt)
                ]
        bodies = [coordinates.body for coordinates in learnt]
        rays = [
            ray_for(coordinates.body, radii, coordinates.points)
            for coordinates, radii in zip(learnt, reference_rays.radii.T, strict=True)
        ]
        shape = (len(bodies), 2, 0)
        run = cls(
            bodies=bodies,
            best_preconditioner=learnt[0].best_preconditioner,
            rays=rays,
            reference_rays=reference_rays,
            config={
                **reference_rays.config,
                **measure.describe(),
                "chains": chains,
                "temperatures": temperatures,
                "path": path,
                "precondition": precondition,
                "precondition_evaluations": most_precondition_evaluations,
                "preconditioners": [body.preconditioner.digest() if body.preconditioner else None for body in bodies],
            },
            seed=reference_rays.config["seed"],
            chains=chains,
            temperatures=temperatures,
            log_weights=np.full(shape, np.nan),
            censored_last=np.zeros(shape, dtype=bool),
            log_radius_last=np.full(shape, np.nan),
            path_log_weights=np.zeros((*shape, 0)),
            path_log_radii=np.zeros((*shape, 0)),
            path_measure=np.zeros((*shape, 0, bodies[0].measure_columns)),
            unfinished=np.zeros(shape[:2], dtype=np.int64),
            reference_measure=measure_on_uniform_rays(measure, objective, metric, reference_rays).table(
                reference_rays.radii
            ),
            trace=[],
            seconds=distributed.from_first(lambda: reference_rays.cost.seconds + time.perf_counter() - started),
            evaluations=reference_rays.cost.evaluations + sum(body.spent.evaluations for body in bodies),
            calls=reference_rays.cost.calls + sum(body.spent.calls for body in bodies),
        )
        if chains is not None and temperatures is not None:
            run.set_effort(chains, temperatures)
        return run

    def set_effort(self, chains: int, temperatures: int) -> None:
        """Fix how many chains and temperatures there are."""
        shape = (len(self.bodies), 2, chains)
        self.chains, self.temperatures = chains, temperatures
        self.config = {**self.config, "chains": chains, "temperatures": temperatures}
        self.log_weights, self.log_radius_last = np.full(shape, np.nan), np.full(shape, np.nan)
        self.censored_last = np.zeros(shape, dtype=bool)
        paths = (*shape[:2], temperatures, chains)
        self.path_log_weights, self.path_log_radii = np.full(paths, np.nan), np.full(paths, np.nan)
        self.path_measure = np.full((*paths, self.bodies[0].measure_columns), np.nan)

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.stage == len(STAGES) * len(self.bodies)

    @property
    def cost(self) -> Cost:
        """What the run has cost so far."""
        return Cost(self.evaluations, self.calls, self.seconds)

    @property
    def piloting(self) -> bool:
        """Whether the pilots are still running: those of all cutoffs come first."""
        return not self.finished and self.stage % len(STAGES) == 0

    @property
    def body(self) -> StarBody:
        """The body of the current stage."""
        return self.bodies[self.stage // len(STAGES)]

    def advance(self) -> None:
        """Do one temperature of the current stage."""
        started, body = time.perf_counter(), self.body
        body.spent.clear()
        if self.piloting:
            self._pilot()
        else:
            self._anneal(self.stage % len(STAGES) - 1)
        self.evaluations += body.spent.evaluations
        self.calls += body.spent.calls
        # all ranks go by the first one's clock, so that a budget of time ends for all at once
        self.seconds += distributed.from_first(lambda: time.perf_counter() - started)

    def _begin(self, count: int, purpose: Purpose = Purpose.CHAIN) -> Points:
        """Return the first points of this stage: uniform directions with their radii."""
        streams = [stream(self.seed, chain, self.stage, 0, purpose) for chain in range(count)]
        body = self.body
        like = torch.empty(count, body.dimension, dtype=torch.float64, device=body.objective.theta.device)
        return body.points_at(sphere(normals(streams, like)))

    def _pilot(self) -> None:
        """Do one step of the pilot: the first one of a path, or the next one."""
        pilot_steps, body = self._pilot_steps(), self.body
        may_turn = self.config["path"] == "auto" and bool(pilot_steps) and pilot_steps[-1].path == "radius"
        if not pilot_steps or (may_turn and pilot_steps[0].step > 0 and hopeless(pilot_steps)):
            path = "radius" if self.config["path"] == "auto" else self.config["path"]
            if pilot_steps:
                path = "growth" if body.preconditioner else "soft"
            self.points = self._begin(PILOT_CHAINS, Purpose.SOFT_START if pilot_steps else Purpose.CHAIN)
            self.log_weight = np.zeros(PILOT_CHAINS)
            pilot_step = first_pilot_step(body, self.points, path)
            if path != "radius":
                self.points = target_of(body, self._ray(path), pilot_step).complete(self.points)
        else:
            assert self.points is not None
            path, state = pilot_steps[-1].path, (self.points, pilot_steps, self.seed, self.stage)
            if path == "radius":
                self.points, pilot_step = radius_step(body, *state)
            else:
                self.points, pilot_step = soft_step(body, self._ray(path), *state)
        self._note(**asdict(pilot_step))
        self.step += 1
        if pilot_step.inverse_temperature == 1.0:
            self._next_stage()

    def _ray(self, path: str) -> Ray:
        """Return where a path reads a ray, at the cutoff of the current stage."""
        return growing_ray(self.body.dimension) if path == "growth" else self.rays[self.stage // len(STAGES)]

    def _anneal(self, effort: int) -> None:
        """Go to the next target of half (0) or full (1) effort: take the gain in weight, then move."""
        assert self.chains is not None
        cutoff, schedule = self.stage // len(STAGES), self._schedule()
        here, following = schedule.move(self.step), schedule.move(self.step + 1)
        if self.points is None:
            self.points = here.target.complete(self._begin(self.chains))
            self.log_weight = here.target.log_density(self.points) + self.body.coordinates.log_determinant
            self.unfinished[cutoff, effort] = self.points.unfinished.sum()
        assert self.log_weight is not None
        density = here.target.log_density(self.points)
        before = self.points = following.target.complete(self.points)
        shown, lengths = with_radii(self.body, before), self.body.coordinates.log_lengths(before.phi)
        self.path_log_weights[cutoff, effort, self.step] = (
            w.ratio(self.log_weight, density) - self.body.dimension * lengths
        )
        self.path_log_radii[cutoff, effort, self.step] = shown.log_radius + lengths
        self.path_measure[cutoff, effort, self.step] = lengthened(shown.ray_measure, lengths)
        gain = w.ratio(following.target.log_density(before), density)
        self.log_weight = self.log_weight + gain
        log_density, log_density_spread = mean_log_density(self.body, shown)
        last = self.step + 1 == len(schedule)
        resampled = following.resampling and not last and uneven(self.log_weight)
        row = {
            "resampled": resampled,
            "inverse_temperature": here.target.inverse_temperature,
            "penalty": getattr(here.target, "penalty", math.nan),
            "outer_radius": getattr(here.target, "outer_radius", None) or math.nan,
            "log_weight_increment_sd": w.spread(gain),
            "log_density": log_density,
            "log_density_spread": log_density_spread,
            "weight_spread": w.spread(self.log_weight),
        }
        self.step += 1
        if last:
            self._note(**row)
            self.log_weights[cutoff, effort] = self.log_weight
            self.censored_last[cutoff, effort] = before.censored
            self.log_radius_last[cutoff, effort] = before.log_radius + lengths
            self._next_stage()
            return
        if resampled:
            place = float(uniforms([stream(self.seed, 0, self.stage, self.step, Purpose.RESAMPLING)])[0])
            before = self.points = before.take(w.resample(self.log_weight, place))
            self.log_weight = np.full(self.chains, w.log_mean(self.log_weight))
        started = self.body.spent.evaluations
        moved = self._move(following)
        self.points = moved.points
        self.unfinished[cutoff, effort] += moved.points.unfinished.sum()
        densities = [following.target.log_density(points) for points in (before, moved.points)]
        self._note(
            **row,
            hmc=following.hmc,
            accepted=moved.accepted.mean(),
            angle=moved.angle.mean(),
            correlation=w.correlation(*densities),
            evaluations=(self.body.spent.evaluations - started) / self.chains,
        )

    def _move(self, how: Move) -> Moved:
        """Move all chains under the next target."""
        assert self.points is not None
        streams = [stream(self.seed, chain, self.stage, self.step) for chain in range(len(self.points))]
        if not how.hmc:
            assert isinstance(how.target, RadiusTarget)
            return slice_move(self.body, self.points, how.target.power, how.width, streams, how.target.guess)
        # trajectories of one length could be in step with a period of the body
        share = 0.75 + 0.5 * float(uniforms([stream(self.seed, 0, self.stage, self.step, Purpose.MOVE_LENGTH)])[0])
        count = min(max(round(how.time * share / how.step), 1), how.trajectories.most_steps)
        return hmc_move(
            how.target, self.points, how.step, count, streams, how.trajectories.varied, how.trajectories.kept
        )

    def _pilot_steps(self) -> list[PilotStep]:
        """Return what the pilot of this cutoff has learnt, on the path to which it has turned if it has."""
        pilot = self.stage - self.stage % len(STAGES)
        rows = (dict(zip(COLUMNS, row, strict=True)) for row in self.trace or [] if row[0] == pilot)
        pilot_steps = [PilotStep(**{name: row[name] for name in PilotStep.__dataclass_fields__}) for row in rows]
        return [step for step in pilot_steps if step.path != "radius"] or pilot_steps

    def _schedule(self) -> Schedule:
        """Return the frozen schedule of the current stage, made once."""
        if self._frozen is None or self._frozen[0] != self.stage:
            assert self.temperatures is not None
            count = self.temperatures // 2 if self.stage % len(STAGES) == 1 else self.temperatures
            pilot_steps = self._pilot_steps()
            self._frozen = self.stage, Schedule(self.body, self._ray(pilot_steps[0].path), pilot_steps, count)
        return self._frozen[1]

    def _note(self, **values: Any) -> None:
        """Add a row to the trace."""
        assert self.trace is not None
        values["stage"] = self.stage
        self.trace.append([float(values.get(name, math.nan)) for name in COLUMNS])

    def _next_stage(self) -> None:
        """Begin the next stage: first the pilots of all cutoffs, then half and full effort of each."""
        stages = np.arange(len(STAGES) * len(self.bodies)).reshape(-1, len(STAGES))
        order = [*stages[:, 0].tolist(), *stages[:, 1:].ravel().tolist(), stages.size]
        self.stage = order[order.index(self.stage) + 1]
        self.step, self.points, self.log_weight = 0, None, None

    def resume(self, past: Chains) -> None:
        """Check that an earlier run measured the same thing, and take its state."""
        if self.temperatures is None and past.config.get("temperatures") is not None:
            self.set_effort(int(past.config["chains"]), int(past.config["temperatures"]))
        asked = {**dict.fromkeys(_MEASURE), **self.config, "cutoffs": list(self.reference_rays.cutoffs)}
        settings = {key: value for key, value in asked.items() if key not in _DERIVED}
        require_same_config({**past.config, "cutoffs": list(past.cutoffs)}, settings)
        if not np.allclose(past.reference_radii, self.reference_rays.radii, rtol=1e-3):
            raise LandscapeError(
                "the stored run measured another function: radii along the same rays are no longer the same.\n"
                "Measure with the same model, data, loss and forward, or --overwrite to start again."
            )
        for name in _FINISHED:
            setattr(self, name, getattr(past, name).copy())
        self.trace = past.trace.tolist()
        self.stage, self.step = past.position
        self.evaluations, self.calls, self.seconds = past.cost.evaluations, past.cost.calls, past.cost.seconds
        if len(past.phi):
            phi = torch.from_numpy(past.phi).to(self.body.objective.theta.device)
            arrays = (past.phi_log_radius, past.phi_censored, past.phi_unfinished, past.phi_rises, past.phi_measure)
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
            phi_measure=points.ray_measure,
            phi_velocity=np.zeros((0, n)) if points.velocity is None else points.velocity.cpu().numpy().copy(),
            reference_radii=self.reference_rays.radii,
            reference_measure=self.reference_measure,
            position=(self.stage, self.step),
            cutoffs=self.reference_rays.cutoffs,
            columns=COLUMNS,
            dimension=n,
            log_scale_sum=self.reference_rays.log_scale_sum,
            config=self.config,
            cost=self.cost,
        )
