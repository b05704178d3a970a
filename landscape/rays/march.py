"""The grid of radii that rays are searched on, how it is settled, and the search itself."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from landscape import distributed
from landscape.errors import LandscapeError, ObjectiveError, OutOfBudget, check_number
from landscape.objective import Objective
from landscape.objective.deadline import seconds_left
from landscape.objective.moved_weights import StepList
from landscape.objective.noise import rms
from landscape.rays.crossing import FirstCrossing
from landscape.rays.directions import check_seed
from landscape.rays.entry_directions import AnyMetric, random_directions, weights_of
from landscape.results import Cost

PILOT = 16  #: uniform rays that settle the grid
_CALLS = 12  # evaluations that a ray takes, at most as a rule
_LEAST_RATIO = 1.001  # of neighbouring radii: 2,300 points a decade, and more would never end
_PILOT_STEP = 1 / 16  # first step of the pilot rays, over the cap
_PILOT_RATIO = 2.0  # step ratio of the pilot rays
_BEYOND_MEDIAN = 1.08  # a point of the grid lies at this share of the median radius of the pilot rays
_FIRST_SHARE = 0.75  # and the first at no more than this share: most rays take a point inside and one outside


@dataclass(frozen=True)
class March:
    """How far a ray is searched, in which steps, and how exactly: see :func:`landscape.basin_radii`."""

    max_radius: float | None
    rtol: float
    step_ratio: float
    first_step: float | None

    def __post_init__(self) -> None:
        for name in ("max_radius", "rtol", "step_ratio", "first_step"):
            if getattr(self, name) is not None or name in ("rtol", "step_ratio"):
                check_number(name, getattr(self, name), ObjectiveError)
        for name, valid, hint in (
            ("max_radius", self.max_radius is None or self.max_radius > 0, "a positive radius, or leave it out"),
            ("rtol", 1e-9 <= self.rtol <= 0.1, "a relative width from 1e-9 to 0.1"),
            ("step_ratio", _LEAST_RATIO <= self.step_ratio <= 16, f"a ratio from {_LEAST_RATIO:g} to 16"),
            ("first_step", self.first_step is None or self.first_step > 0, "a positive length, or leave it out"),
        ):
            if not valid:
                raise ObjectiveError(f"{name} = {getattr(self, name)} is invalid. Pass {hint}.")

    def cap(self, metric: AnyMetric) -> float:
        """Return the cap on the radius, which may be infinite."""
        return cap_of(self.max_radius, metric)


def cap_of(max_radius: float | None, metric: AnyMetric) -> float:
    """Return the cap that ``max_radius`` stands for: without one it is 1 for relative metrics, else infinite."""
    if max_radius is None:
        return 1.0 if metric.relative else math.inf
    return float(max_radius)


def describe_search(objective: Objective, criterion: str, metric: AnyMetric, seed: int, march: March) -> dict[str, Any]:
    """Return the settings that determine what a search along rays finds, for the configuration of its result."""
    cap = march.cap(metric)
    return {
        "criterion": criterion,
        "metric": metric.name,
        "seed": check_seed(seed),
        "max_radius": None if math.isinf(cap) else cap,
        "rtol": march.rtol,
        "step_ratio": march.step_ratio,
        "first_step": march.first_step,
        "march": "fixed grid",  # runs of earlier versions took other steps and cannot be continued
        "dimension": metric.scope.size,
        "parameters": objective.layout.size,
        "dead_filters": len(metric.dead),
        **objective.describe(),
    }


@dataclass(frozen=True)
class StoredPoint:
    """One evaluation of a stored run: the ray, its step for r = 1, shape (1, D), the radius and the criterion there."""

    ray: int
    step: Tensor | StepList
    radius: float
    value: float


def check_same_function(objective: Objective, criterion: str, point: StoredPoint, what: str) -> None:
    """Evaluate a stored point again: it shows changes that no hash covers (of a function, a forward, a loss).

    Raises:
        LandscapeError: if the criterion is another there; ``what`` begins the message.
    """
    now = objective.along(point.step, np.array([point.radius]), criterion=criterion).values[0]
    if not np.isclose(now, point.value, rtol=1e-3, atol=1e-6):
        raise LandscapeError(
            f"{what} another function: at r = {point.radius:.4g} on ray {point.ray} it found {point.value:.6g}, and "
            f"now the criterion is {now:.6g} there.\n"
            "Measure with the same model, data, loss and forward, or start over with `resume=None`."
        )


@dataclass(frozen=True)
class Walked:
    """What the search along some rays took, shape (rays,) each."""

    evaluations: np.ndarray  #: full passes over the data
    nonfinite: np.ndarray  #: points where the criterion was NaN or infinite


def walk(
    search: FirstCrossing, objective: Objective, steps: Tensor | StepList, criterion: str, centre: float
) -> Walked:
    """Carry out a search along these steps. Call it inside ``objective.running()``.

    Args:
        search: a new search along as many rays.
        objective: the loss around the trained point.
        steps: one step for r = 1 per ray, shape (rays, D).
        criterion, centre: what the rises of the search are of, and its value at theta.
    """
    evaluations, nonfinite = np.zeros(len(steps)), np.zeros(len(steps), dtype=np.int64)
    # values just outside are interpolated, so they must be exact; passes far outside may stop early
    ceiling = np.full(len(steps), centre + 2 * search.rises[-1])
    while len(active := search.active()):
        radii = search.propose(active)
        try:
            loss = objective.along(steps, radii, rows=active, ceiling=ceiling[active], criterion=criterion)
        except OutOfBudget as cut:
            cut.passes += float(evaluations.sum())
            raise
        search.tell(active, radii, loss.values - centre, loss.complete)
        evaluations[active] += loss.read
        nonfinite[active] += ~np.isfinite(loss.values)
    return Walked(evaluations, nonfinite)


@dataclass(frozen=True)
class Pilot:
    """What the grid is settled for.

    Attributes:
        objective, metric, seed, criterion, march: as for :func:`landscape.basin_radii`.
        cutoff: the smallest.
    """

    objective: Objective
    metric: AnyMetric
    seed: int
    criterion: str
    cutoff: float
    march: March

    def first_step(self) -> float:
        """Return the first step of the pilot rays: a share of the cap, or of the norm of theta without a cap."""
        size = self.march.cap(self.metric)
        if math.isinf(size):
            scale = _norm_in_scope(self.objective)
            size = 1.0 if self.metric.relative or scale == 0 else scale
        return _PILOT_STEP * size


def _norm_in_scope(objective: Objective) -> float:
    """Return the Euclidean norm of the entries in scope."""
    if not objective.large:
        return float(objective.scope.gather(objective.theta).double().norm())
    weights = weights_of(objective)
    squares = (rms(weights[entry.name]) ** 2 * entry.size for entry in objective.scope.entries)
    return math.sqrt(math.fsum(squares))


def settle_first_step(pilot: Pilot) -> tuple[float, Cost]:
    """Return r_0, the first point of the grid r_0 q^k, and what it cost. Call it inside ``objective.running()``.

    Uniform pilot rays are searched from a small first step. Then a point of the grid is put just beyond their median
    radius. So r_0 depends on metric, seed and cutoff, and not on the rays to measure, their number or blocks. If half
    of the time until a deadline is over, fewer pilot rays must do.
    """
    least_left = seconds_left() / 2
    started = time.perf_counter()
    objective, march = pilot.objective, pilot.march
    rays = random_directions(objective, pilot.metric, pilot.seed)
    centre = objective.centre_of(pilot.criterion)
    radii: list[np.ndarray] = []
    evaluations, calls = 0.0, 0
    block = objective.plan.block_on(distributed.count())
    left = np.arange(PILOT)
    while len(left) and not (radii and seconds_left() < least_left):
        count = rays_in_time(block, Cost(evaluations, calls, time.perf_counter() - started))
        indices, left = left[:count], left[count:]
        search = FirstCrossing(
            len(indices),
            np.array([pilot.cutoff - centre]),
            first_step=pilot.first_step(),
            max_radius=march.cap(pilot.metric),
            step_ratio=_PILOT_RATIO,
            rtol=march.rtol,
        )
        try:
            walked = walk(search, objective, rays.steps([int(i) for i in indices]), pilot.criterion, centre)
        except OutOfBudget as cut:
            cut.passes += evaluations
            raise
        radii.append(search.radii[:, 0])
        evaluations, calls = evaluations + float(walked.evaluations.sum()), calls + int(search.calls.sum())
    first_step = _below_median(np.concatenate(radii), march.step_ratio) or pilot.first_step()
    return float(f"{first_step:.3g}"), Cost(evaluations, calls, time.perf_counter() - started)


def rays_in_time(block: int, cost: Cost) -> int:
    """Return how many rays to search together: a block, or fewer if a deadline could cut a block of rays.

    Args:
        block: how many the objective would take.
        cost: of rays so far. Under a deadline the first ray is searched alone.
    """
    left = seconds_left()
    if math.isinf(left):
        return block
    seconds = distributed.from_first(lambda: cost.seconds)
    in_time = cost.calls * left / 2 / max(seconds, 1e-9) / _CALLS
    return max(min(block, int(in_time)), 1)


def _below_median(radii: np.ndarray, step_ratio: float) -> float:
    """Return the r_0 for which a point of the grid lies just beyond the median radius; 0 if no radius is positive."""
    positive = radii[radii > 0]
    if not len(positive):
        return 0.0
    steps = max(1, math.ceil(math.log(_BEYOND_MEDIAN / _FIRST_SHARE) / math.log(step_ratio)))
    return _BEYOND_MEDIAN * float(np.median(positive)) / step_ratio**steps
