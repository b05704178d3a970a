"""Basin radii: the first crossing of each cutoff along random rays."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from landscape import distributed
from landscape.errors import LandscapeError, ObjectiveError
from landscape.objective import Objective
from landscape.rays.crossing import FirstCrossing, RadiusPrior
from landscape.rays.directions import Directions, RandomDirections, check_seed
from landscape.rays.metric import Metric, make_metric
from landscape.results import Cost, OnProgress, Progress, Radii, RayStatus, require_same_config

PILOT = 16  # the first rays, searched from far in; they set the first step of the others
PROFILES = 32  # rays whose every evaluation is kept, for plots
_PILOT_STEP = 1 / 16
_STEP_SHARE = 0.75


def basin_radii(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str | Metric = "filter",
    directions: int = 1000,
    seed: int = 0,
    max_radius: float | None = None,
    rtol: float = 1e-3,
    step_ratio: float = 2.0,
    first_step: float | None = None,
    rays: Directions | None = None,
    resume: Radii | None = None,
    on_progress: OnProgress[Radii] | None = None,
) -> Radii:
    """Return the basin radius r(phi) along uniform random rays: the first r at which the criterion reaches each cutoff.

    Points on a ray are theta + r · S · phi with phi uniform on the unit sphere of R^n and S the metric's scale. The
    march outwards takes steps of at most max(first_step, (step_ratio - 1) · r). It always finds a wall outside the
    basin that is thicker than such a step, and can step over a thinner one (see :mod:`landscape.rays.crossing`). A NaN
    or infinite loss counts as outside. All cutoffs share the evaluations of a ray.

    Args:
        objective: the loss around the trained point.
        cutoffs: values of the criterion that bound the basin; the result has them ascending, each once.
        criterion: ``loss`` (absolute), ``rise`` (above the centre) or ``kl`` (mean KL divergence from the predictions
            at theta, nats).
        metric: ``filter``, ``layer`` or ``identity``, or one that :func:`landscape.rays.make_metric` made at theta.
        directions: number of rays.
        seed: keys the rays; equal seeds give equal rays for nets with equal n.
        max_radius: cap, in metric units; by default 1 for the relative metrics and none for ``identity``. Pass
            ``math.inf`` for no cap.
        rtol: relative tolerance of a radius: how far inside the last point proven to be inside may lie.
        step_ratio: largest ratio of successive radii on the march.
        first_step: length of the first step; by default 0.75 of the median radius of the first 16 rays.
        rays: directions of this metric and seed to measure along; by default uniform ones.
        resume: the partial result of an interrupted run with the same settings; its rays are kept.
        on_progress: called after every block of rays.

    Returns:
        radii of shape (directions, cutoffs), with status, brackets and cost.

    Raises:
        ObjectiveError: where the centre already lies above a cutoff, or a setting makes no sense.
        LandscapeError: where ``resume`` was measured with other settings.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> found = basin_radii(bowl, [4.0], metric="identity", directions=20)
    >>> bool(np.allclose(found.radii, 2.0))
    True
    """
    search = _Search.make(objective, cutoffs, criterion, metric, seed, max_radius, rtol, step_ratio, first_step, rays)
    with objective.running():
        rows = _Rows.start(search, directions, resume)
        for block in rows.blocks(objective.plan.block_on(distributed.count())):
            search.run(block, rows)
            if on_progress is not None:
                done = int((rows.status != RayStatus.PENDING).all(axis=1).sum())
                on_progress(Progress(done, directions, rows.result))
    return rows.result()


@dataclass
class _Search:
    """The settings of a run, resolved, and how to search one block of rays."""

    objective: Objective
    criterion: str
    metric: Metric
    rays: Directions
    cutoffs: tuple[float, ...]
    centre: float
    max_radius: float
    rtol: float
    step_ratio: float
    config: dict[str, Any]
    first_step: float | None
    prior: RadiusPrior | None = None

    @classmethod
    def make(
        cls,
        objective: Objective,
        cutoffs: Sequence[float],
        criterion: str,
        metric: str | Metric,
        seed: int,
        max_radius: float | None,
        rtol: float,
        step_ratio: float,
        first_step: float | None,
        rays: Directions | None,
    ) -> _Search:
        """Check every setting once."""
        values, centre = check_basin(objective, cutoffs, criterion)
        if isinstance(metric, str):
            metric = make_metric(metric, objective.theta, objective.scope)
        cap = (1.0 if metric.relative else math.inf) if max_radius is None else float(max_radius)
        for name, value, good in (
            ("max_radius", cap, cap > 0),
            ("rtol", rtol, 1e-9 <= rtol <= 0.1),
            ("step_ratio", step_ratio, 1 < step_ratio <= 16),
            ("first_step", first_step, first_step is None or first_step > 0),
        ):
            if not good:
                raise ObjectiveError(f"{name} = {value} makes no search. {_RANGES[name]}")
        config = {
            "criterion": criterion,
            "metric": metric.name,
            "seed": check_seed(seed),
            "max_radius": None if math.isinf(cap) else cap,
            "rtol": rtol,
            "step_ratio": step_ratio,
            "first_step": first_step,
            "dimension": metric.scope.size,
            "parameters": objective.layout.size,
            "dead_filters": len(metric.dead),
            **objective.describe(),
        }
        rays = rays or RandomDirections(metric, seed, objective.theta)
        config |= rays.describe()
        return cls(objective, criterion, metric, rays, values, centre, cap, rtol, step_ratio, config, first_step)

    def run(self, indices: np.ndarray, rows: _Rows) -> None:
        """Search one block of rays and write it into ``rows``."""
        started = time.perf_counter()
        first = self.first_step or self._pilot_step()
        search = FirstCrossing(
            len(indices),
            np.array(self.cutoffs) - self.centre,
            first_step=first,
            max_radius=self.max_radius,
            step_ratio=self.step_ratio,
            rtol=self.rtol,
            prior=self.prior,
        )
        steps = self.rays.steps([int(i) for i in indices])
        read = np.zeros(len(indices))
        nonfinite = np.zeros(len(indices), dtype=np.int64)
        # values just outside are worth knowing exactly, since they are interpolated; far ones may stop early
        ceiling = np.full(len(indices), 2 * self.cutoffs[-1] - self.centre)
        while len(active := search.active()):
            radii = search.propose(active)
            seen = self.objective.along(steps, radii, rows=active, ceiling=ceiling[active], criterion=self.criterion)
            search.tell(active, radii, seen.values - self.centre, seen.complete)
            read[active] += seen.read
            nonfinite[active] += ~np.isfinite(seen.values)
        rows.take(indices, search, read, nonfinite, self.centre, time.perf_counter() - started)
        if self.prior is None and rows.pilot_done():
            self.learn(rows)

    def learn(self, rows: _Rows) -> None:
        """Set the first step and what is expected of a ray from the first rays.

        They depend on nothing else, so every ray's search is the same whatever the blocks or interruptions.
        """
        typical = rows.radii[:PILOT, 0]
        typical = typical[typical > 0]
        if self.config["first_step"] is None:
            step = _STEP_SHARE * np.median(typical) if len(typical) else self._pilot_step()
            self.first_step = float(f"{step:.2g}")
        known = rows.radii[:PILOT][(rows.radii[:PILOT] > 0).all(axis=1)]
        steps = np.diff(np.log(known), axis=1, prepend=0.0)
        if len(steps) < PILOT // 2:
            self.prior = RadiusPrior.unknown(len(self.cutoffs))
        else:
            self.prior = RadiusPrior(np.median(steps, axis=0), np.std(steps, axis=0))

    def _pilot_step(self) -> float:
        """Return a first step far inside the basin: a share of the cap, or else of the size of theta."""
        size = self.max_radius
        if math.isinf(size):
            scale = self.objective.scope.gather(self.objective.theta).double().norm().item()
            size = 1.0 if self.metric.relative or scale == 0 else scale
        return _PILOT_STEP * size


_ROUNDING = 100.0  # units in the last place of the loss at theta that a cutoff is above it, at least
_RANGES = {
    "max_radius": "Pass a positive radius, or leave it out.",
    "rtol": "Pass a relative width from 1e-9 to 0.1.",
    "step_ratio": "Pass a ratio above 1 and at most 16.",
    "first_step": "Pass a positive length, or leave it out.",
}
_ROW_ARRAYS = ("radii", "status", "lower", "upper", "calls", "evaluations", "nonfinite")
_PROFILE_ARRAYS = ("profile_ray", "profile_radius", "profile_loss")


@dataclass
class _Rows:
    """The growing result: one row a ray."""

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
    seconds: float = 0.0

    @classmethod
    def start(cls, search: _Search, directions: int, resume: Radii | None) -> _Rows:
        """Return empty rows, or those of the run to continue."""
        if directions < 1:
            raise ObjectiveError(f"directions = {directions} leaves nothing to measure. Pass at least 1.")
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
        asked = {"proposal": None, **self.search.config, "cutoffs": list(self.search.cutoffs)}
        if past.directions > len(self.radii):  # a run can gain rays, and never loses any
            asked["directions"] = len(self.radii)
        require_same_config(stored, asked)
        self._check_function(past)
        for name in _ROW_ARRAYS:
            getattr(self, name)[: past.directions] = getattr(past, name)
        for name in _PROFILE_ARRAYS:
            setattr(self, name, getattr(past, name))
        self.seconds = past.cost.seconds
        if self.pilot_done():
            self.search.learn(self)

    def _check_function(self, past: Radii) -> None:
        """Evaluate one stored point anew: what no hash covers (a function, a forward, a loss) shows there."""
        if not len(past.profile_ray):
            return
        search, last = self.search, len(past.profile_ray) - 1
        steps = search.rays.steps([int(past.profile_ray[last])])
        radius, stored = past.profile_radius[last:], past.profile_loss[last]
        now = search.objective.along(steps, radius, criterion=search.criterion).values[0]
        if not np.isclose(now, stored, rtol=1e-3, atol=1e-6):
            raise LandscapeError(
                f"the stored run measured another function: at r = {radius[0]:.4g} on ray {past.profile_ray[last]} it "
                f"found {stored:.6g}, and now the criterion is {now:.6g} there.\n"
                "Measure with the same model, data, loss and forward, or --overwrite to start over."
            )

    def pilot_done(self) -> bool:
        """Whether the rays that teach the others are all measured."""
        return not (self.status[:PILOT] == RayStatus.PENDING).any()

    def blocks(self, size: int) -> list[np.ndarray]:
        """Return the pending rays in blocks whose bounds do not depend on what is already done."""
        total = len(self.radii)
        pilot = min(PILOT, total)
        bounds = [*range(0, pilot, size), *range(pilot, total, size), total]
        pending = (self.status == RayStatus.PENDING).any(axis=1)
        spans = (np.arange(a, b) for a, b in pairwise(bounds))
        return [left for span in spans if len(left := span[pending[span]])]

    def take(
        self,
        indices: np.ndarray,
        search: FirstCrossing,
        read: np.ndarray,
        nonfinite: np.ndarray,
        centre: float,
        seconds: float,
    ) -> None:
        """Write one finished block."""
        for name in ("radii", "status", "lower", "upper", "calls"):
            getattr(self, name)[indices] = getattr(search, name)
        self.evaluations[indices], self.nonfinite[indices] = read, nonfinite
        self.seconds += seconds
        for row in np.flatnonzero(indices < PROFILES):
            exact = search.points_exact[row]
            order = np.argsort(search.points_r[row][exact])
            radius, loss = search.points_r[row][exact][order], search.points_u[row][exact][order] + centre
            self.profile_ray = np.concatenate([self.profile_ray, np.full(len(order), indices[row])])
            self.profile_radius = np.concatenate([self.profile_radius, radius])
            self.profile_loss = np.concatenate([self.profile_loss, loss])

    def result(self) -> Radii:
        """Return what is known so far as a frozen result."""
        arrays = {name: getattr(self, name).copy() for name in (*_ROW_ARRAYS, *_PROFILE_ARRAYS)}
        search = self.search
        return Radii(
            **arrays,
            cutoffs=search.cutoffs,
            dimension=search.metric.scope.size,
            log_scale_sum=search.metric.log_scale_sum,
            centre=search.centre,
            config={**search.config, "first_step_taken": search.first_step},
            cost=Cost(float(self.evaluations.sum()), int(self.calls.sum()), self.seconds),
        )


def check_basin(objective: Objective, cutoffs: Sequence[float], criterion: str) -> tuple[tuple[float, ...], float]:
    """Return the cutoffs, ascending and each once, and the criterion at theta, if there is a basin for each."""
    if not isinstance(objective, Objective):
        raise ObjectiveError(
            f"a basin is that of an Objective, and {type(objective).__name__} arrived. "
            "Pass landscape.Objective(model, data, loss)."
        )
    values = _check_cutoffs(cutoffs)
    centre = objective.centre_of(criterion)
    _check_centre(centre, values, criterion)
    if criterion != "kl":
        _check_rise(values[0] - centre, objective.centre, objective.theta.dtype)
    return values, centre


def _check_rise(rise: float, centre: float, dtype: torch.dtype) -> None:
    """Refuse a cutoff so close to the centre that rounding of the loss would bound the basin."""
    double = dtype == torch.float64
    least = _ROUNDING * torch.finfo(dtype if double else torch.float32).eps * abs(centre)
    if rise < least:
        raise ObjectiveError(
            f"the smallest cutoff is {rise:.2g} above the loss of {centre:.6g} at the trained point, which rounding "
            f"moves too.\nPass one that is at least {least:.2g} above it{'' if double else ', or --dtype float64'}."
        )


def _check_cutoffs(cutoffs: Sequence[float]) -> tuple[float, ...]:
    values = tuple(sorted({float(c) for c in np.atleast_1d(np.asarray(cutoffs, dtype=np.float64))}))
    if not values or not all(map(math.isfinite, values)):
        raise ObjectiveError(f"the cutoffs must be finite numbers, at least one; {list(values)} arrived.")
    return values


def _check_centre(centre: float, cutoffs: tuple[float, ...], criterion: str) -> None:
    """Refuse a cutoff at or below the centre."""
    if centre < cutoffs[0]:
        return
    if criterion == "loss":
        raise ObjectiveError(
            f"the loss at the trained point is {centre:.6g}, not below the cutoff {cutoffs[0]:g}, so no basin "
            "exists at this cutoff.\nPass a larger --cutoff, or --criterion rise to measure from the centre."
        )
    raise ObjectiveError(
        f"under the criterion {criterion!r} the centre is 0, so the cutoff {cutoffs[0]:g} must be above 0."
    )
