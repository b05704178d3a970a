"""Basin radii: the first crossing of each cutoff along random rays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from landscape import distributed
from landscape.errors import ObjectiveError, OutOfBudget, check_count
from landscape.objective import Objective
from landscape.rays.basin import CUTOFFS, check_basin
from landscape.rays.crossing import FirstCrossing
from landscape.rays.directions import Directions
from landscape.rays.entry_directions import AnyMetric, measured_by_entry, metric_of, random_directions
from landscape.rays.march import (
    March,
    Pilot,
    StoredPoint,
    check_same_function,
    describe_search,
    rays_in_time,
    settle_first_step,
    walk,
)
from landscape.results import NOTHING, Cost, OnProgress, Progress, Radii, RayStatus, require_same_config
from landscape.results.progress import telling

PROFILES = 32  #: rays whose evaluations are all kept, for plots
_ROW_ARRAYS = ("radii", "status", "lower", "upper", "calls", "evaluations", "nonfinite")
_PROFILE_ARRAYS = ("profile_ray", "profile_radius", "profile_loss")


def basin_radii(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    criterion: str = "loss",
    metric: str | AnyMetric = "filter",
    directions: int = 1000,
    seed: int = 0,
    max_radius: float | None = None,
    rtol: float = 1e-3,
    step_ratio: float = 2.0,
    first_step: float | None = None,
    rays: Directions | None = None,
    resume: Radii | None = None,
    progress: bool = False,
    on_progress: OnProgress[Radii] | None = None,
) -> Radii:
    """Return the basin radius r(phi) along uniform random rays: the first r at which the criterion reaches each cutoff.

    Points on a ray are theta + r · S · phi with phi uniform on the unit sphere of R^n and S the metric's scale. The
    march outwards takes the points of one grid, r_k = first_step · step_ratio^k, up to the cap. So the basin is the one
    at the resolution ``step_ratio``: a wall between two points of the grid can be stepped over (see
    :mod:`landscape.rays.crossing`; :func:`landscape.rays.finer_radii` looks for such walls). The grid is the same for
    every ray and is settled before the first, so a radius depends on its direction alone. A NaN or infinite loss
    counts as outside. All cutoffs share the evaluations of a ray.

    Args:
        objective: the loss around the trained point.
        cutoffs: values of the criterion that bound the basin; the result has them ascending, each once.
        criterion: ``loss`` (absolute), ``rise`` (above the centre) or ``kl`` (mean KL divergence from the predictions
            at theta, nats).
        metric: ``filter``, ``layer`` or ``identity``, or a metric of :func:`landscape.rays.make_metric` at theta.
        directions: number of rays.
        seed: keys the rays; equal seeds give equal rays for nets with equal n.
        max_radius: cap, in metric units; by default 1 for the relative metrics and none for ``identity``. Pass
            ``math.inf`` for no cap.
        rtol: relative tolerance of a radius: how far inside the last point proven to be inside may lie.
        step_ratio: ratio of successive points of the grid.
        first_step: first point of the grid. By default 16 pilot rays at the smallest cutoff settle it. A point of the
            grid lies at 1.08 times their median radius, and the first point at most at 0.75 of it.
        rays: directions of this metric and seed to measure along; by default uniform ones.
        resume: the partial result of an interrupted run with the same settings; its rays are kept.
        progress: show a bar of the rays.
        on_progress: called after every block of rays, with a :class:`landscape.results.Progress`.

    Returns:
        radii of shape (directions, cutoffs), with status, brackets and cost.

    Raises:
        ObjectiveError: if the centre already lies above a cutoff, or a setting is invalid.
        LandscapeError: if ``resume`` was measured with other settings.
        OutOfBudget: if a deadline around the call is over (:mod:`landscape.objective.deadline`).

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> measured = basin_radii(bowl, [4.0], metric="identity", directions=20)
    >>> bool(np.allclose(measured.radii, 2.0))
    True
    """
    march = March(max_radius, rtol, step_ratio, first_step)
    flat = rays is not None or not measured_by_entry(objective, None if resume is None else resume.config)
    search = _Search.make(objective, cutoffs, criterion, metric, seed, march, rays, flat=flat)
    with objective.running(), telling(progress, on_progress, "rays", directions) as tell:
        rows = _Rows.start(search, directions, resume)
        block = objective.plan.block_on(distributed.count())
        if search.first_step is None:
            pilot = Pilot(objective, search.metric, search.config["seed"], criterion, search.cutoffs[0], march)
            search.first_step, rows.pilot = settle_first_step(pilot)
        for indices in rows.blocks(rays_in_time(block, rows.pilot) if rows.pilot.calls else block):
            try:
                rows.take(search.run(indices))
            except OutOfBudget as cut:
                cut.passes += rows.pilot.evaluations
                raise
            done = int((rows.status != RayStatus.PENDING).all(axis=1).sum())
            tell(Progress(done, directions, rows.result))
    return rows.result()


@dataclass(frozen=True)
class _Block:
    """Some rays, searched: shape (rays,) each."""

    indices: np.ndarray
    search: FirstCrossing
    evaluations: np.ndarray
    nonfinite: np.ndarray
    seconds: float


@dataclass
class _Search:
    """The settings of a run, resolved; it searches one block of rays at a time.

    Attributes:
        first_step: first point of the grid; None until it is settled.
    """

    objective: Objective
    criterion: str
    metric: AnyMetric
    rays: Directions
    cutoffs: tuple[float, ...]
    centre: float
    march: March
    config: dict[str, Any]
    first_step: float | None

    @classmethod
    def make(
        cls,
        objective: Objective,
        cutoffs: Sequence[float],
        criterion: str,
        metric: str | AnyMetric,
        seed: int,
        march: March,
        rays: Directions | None,
        *,
        flat: bool,
    ) -> _Search:
        """Check every setting once."""
        values, centre = check_basin(objective, cutoffs, criterion)
        metric = metric_of(objective, metric, flat=flat)
        config = describe_search(objective, criterion, metric, seed, march)
        rays = rays or random_directions(objective, metric, seed)
        config |= rays.describe()
        return cls(objective, criterion, metric, rays, values, centre, march, config, march.first_step)

    def run(self, indices: np.ndarray) -> _Block:
        """Search the rays with these indices."""
        assert self.first_step is not None
        started = time.perf_counter()
        search = FirstCrossing(
            len(indices),
            np.array(self.cutoffs) - self.centre,
            first_step=self.first_step,
            max_radius=self.march.cap(self.metric),
            step_ratio=self.march.step_ratio,
            rtol=self.march.rtol,
        )
        steps = self.rays.steps([int(i) for i in indices])
        walked = walk(search, self.objective, steps, self.criterion, self.centre)
        return _Block(indices, search, walked.evaluations, walked.nonfinite, time.perf_counter() - started)


@dataclass
class _Rows:
    """The growing result: one row per ray."""

    search: _Search
    radii: np.ndarray
    status: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    calls: np.ndarray
    evaluations: np.ndarray
    nonfinite: np.ndarray
    profile_ray: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    profile_radius: np.ndarray = field(default_factory=lambda: np.zeros(0))
    profile_loss: np.ndarray = field(default_factory=lambda: np.zeros(0))
    pilot: Cost = NOTHING
    seconds: float = 0.0

    @classmethod
    def start(cls, search: _Search, directions: int, resume: Radii | None) -> _Rows:
        """Return empty rows, or the rows of the run to continue."""
        directions = check_count("directions", directions, error=ObjectiveError)
        shape = (directions, len(search.cutoffs))
        rows = cls(
            search,
            np.full(shape, np.nan),
            np.full(shape, RayStatus.PENDING, dtype=np.int8),
            np.zeros(shape),
            np.full(shape, np.inf),
            np.zeros(directions, dtype=np.int64),
            np.zeros(directions),
            np.zeros(directions, dtype=np.int64),
        )
        if resume is not None:
            rows._continue(resume)
        return rows

    def _continue(self, past: Radii) -> None:
        """Check that an earlier run measured the same thing, and copy its rays."""
        stored = {**past.config, "cutoffs": list(past.cutoffs), "directions": past.directions}
        asked = {"proposal": None, "generator": None, **self.search.config, "cutoffs": list(self.search.cutoffs)}
        if past.directions > len(self.radii):  # a run can gain rays, but not lose any
            asked["directions"] = len(self.radii)
        require_same_config(stored, asked)
        require_same_function(past, self.search.objective, self.search.rays)
        for name in _ROW_ARRAYS:
            getattr(self, name)[: past.directions] = getattr(past, name)
        for name in _PROFILE_ARRAYS:
            setattr(self, name, getattr(past, name))
        self.pilot, self.seconds = past.pilot, past.cost.seconds - past.pilot.seconds
        self.search.first_step = past.config["first_step_taken"]

    def blocks(self, size: int) -> list[np.ndarray]:
        """Return the pending rays in blocks whose bounds do not depend on the rays already done."""
        total = len(self.radii)
        bounds = [*range(0, total, size), total]
        pending = (self.status == RayStatus.PENDING).any(axis=1)
        spans = (np.arange(a, b) for a, b in pairwise(bounds))
        return [left for span in spans if len(left := span[pending[span]])]

    def take(self, block: _Block) -> None:
        """Write one finished block."""
        indices, search = block.indices, block.search
        for name in ("radii", "status", "lower", "upper", "calls"):
            getattr(self, name)[indices] = getattr(search, name)
        self.evaluations[indices], self.nonfinite[indices] = block.evaluations, block.nonfinite
        self.seconds += block.seconds
        for row in np.flatnonzero(indices < PROFILES):
            exact = search.points_exact[row]
            order = np.argsort(search.points_r[row][exact])
            radius, loss = search.points_r[row][exact][order], search.points_u[row][exact][order] + self.search.centre
            self.profile_ray = np.concatenate([self.profile_ray, np.full(len(order), indices[row])])
            self.profile_radius = np.concatenate([self.profile_radius, radius])
            self.profile_loss = np.concatenate([self.profile_loss, loss])

    def result(self) -> Radii:
        """Return the rays measured so far as a frozen result."""
        arrays = {name: getattr(self, name).copy() for name in (*_ROW_ARRAYS, *_PROFILE_ARRAYS)}
        search = self.search
        return Radii(
            **arrays,
            cutoffs=search.cutoffs,
            dimension=search.metric.scope.size,
            log_scale_sum=search.metric.log_scale_sum,
            centre=search.centre,
            config={**search.config, "first_step_taken": search.first_step},
            cost=self.pilot + Cost(float(self.evaluations.sum()), int(self.calls.sum()), self.seconds),
            pilot=self.pilot,
        )


def require_same_function(past: Radii, objective: Objective, rays: Directions) -> None:
    """Evaluate a point of a run again: it shows changes that no hash covers (of a function, a forward, a loss).

    Args:
        past: the run.
        objective: what is measured now.
        rays: gives the rays of the run again by their index.

    Raises:
        LandscapeError: if the criterion is another one there.
    """
    if len(past.profile_ray):
        ray = int(past.profile_ray[-1])
        point = StoredPoint(ray, rays.steps([ray]), past.profile_radius[-1], past.profile_loss[-1])
        check_same_function(objective, past.config["criterion"], point, "the stored run measured")
