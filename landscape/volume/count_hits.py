"""Counts the uniform points in the ball of the cap that the basin contains: the rays of the ``counted`` estimator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincinv
from torch import Tensor

from landscape import distributed
from landscape.errors import LandscapeError, OutOfBudget
from landscape.objective import Objective
from landscape.objective.deadline import BUDGET
from landscape.objective.shards.whole import require_whole
from landscape.rays import Metric, make_metric
from landscape.rays.basin import check_basin
from landscape.rays.budget import Budget, too_little_time
from landscape.rays.march import (
    March,
    Pilot,
    StoredPoint,
    check_same_function,
    describe_search,
    settle_first_step,
)
from landscape.rays.uniform_points import UniformPoints
from landscape.results import NOTHING, Cost, Hits, OnProgress, Progress, require_same_config
from landscape.results.progress import telling

WANTED = 100  #: hits in the basin at which a count stops: an error of a tenth of V
RELIABLE_HITS = 50  #: fewer hits in the basin give a lower bound
MOST_RAYS = 1_000_000
_LONGER = 2.0  # times its budget a count may take, if a verdict is close
_CLOSE = 1 / 2  # share of the hits that a verdict needs from which it is close
_LOOK = 0.1  # of a budget, after which a count may be given up
_SURELY = 0.95  # probability with which fewer hits come than are wanted
_RTOL = 1e-3  # of the pilot rays, the only radii that are searched


def count_hits(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str | Metric = "filter",
    seed: int = 0,
    max_radius: float | None = None,
    step_ratio: float = 2.0,
    first_step: float | None = None,
    hits: int = WANTED,
    directions: int = MOST_RAYS,
    budget: str | float | None = BUDGET,
    adaptive: bool = False,
    resume: Hits | None = None,
    progress: bool = False,
    on_progress: OnProgress[Hits] | None = None,
) -> Hits:
    """Draw uniform points in the ball of the cap, and return those below the largest cutoff and the walls before them.

    Args:
        objective, cutoffs, criterion, metric, seed, max_radius, step_ratio, first_step: as for
            :func:`landscape.basin_radii`. The cap must be finite.
        hits: how many hits in the basin are wanted at each cutoff.
        directions: the most rays to draw.
        budget: what to spend at most, such as ``2min`` or 20000 (full passes over the data); None for no limit. A
            number of passes gives the same numbers on every machine.
        adaptive: whether to spend less or more than the budget. The count stops once a tenth is spent, if hardly 50
            hits would come for all of it. It goes on to twice the budget, if at least 25 have come by its end.
        resume: a partial result with the same settings; its rays are kept.
        progress: show a bar of the hits.
        on_progress: called after every block of rays, with a :class:`landscape.results.Progress`.

    Raises:
        LandscapeError: without a finite cap, for invalid settings, or if ``resume`` was measured with other settings.
        TooLittleTime: if a time is over before any point is drawn.
    """
    if hits < 2 or directions < 1:
        raise LandscapeError(
            f"hits = {hits} and directions = {directions} are invalid. Pass at least 2 hits and 1 ray, or leave both "
            "out."
        )
    limit = Budget() if budget is None else Budget.parse(budget)
    march = March(max_radius, _RTOL, step_ratio, first_step)
    counting = _Counting.start(objective, cutoffs, criterion, metric, seed, march, hits)
    started, passes = time.perf_counter(), 0.0
    with objective.running(), telling(progress, on_progress, "hits", hits) as tell:

        def draw_within(most: Budget, wanted: Callable[[], bool]) -> None:
            while counting.open_cutoffs and counting.rays < directions and most.used(counting.cost) < 1 and wanted():
                counting.draw(min(counting.block, directions - counting.rays))
                tell(Progress(min(hits, int(counting.inside.min())), hits, counting.result))

        try:
            with limit.deadline():
                if resume is not None:
                    counting.go_on_from(resume)
                elif first_step is None:
                    counting.settle()
                look = _Look(limit)
                draw_within(limit, lambda: not (adaptive and look.is_hopeless(counting)))
            if adaptive and limit.used(counting.cost) >= 1:
                longer = limit.times(_LONGER)
                with longer.deadline(time.perf_counter() - started):
                    draw_within(longer, lambda: counting.is_close)
        except OutOfBudget as cut:
            passes += cut.passes
    passes += counting.cost.evaluations
    if not counting.rays and math.isfinite(limit.seconds):
        raise too_little_time(passes, time.perf_counter() - started)
    return counting.result()


@dataclass
class _Counting:
    """A count under way.

    Attributes:
        points: the uniform points.
        march: how far and in which steps the rays are searched.
        first_step: first point of the grid.
        rays: how many were drawn.
        inside: hits in the basin of each cutoff, shape (cutoffs,).
        kept: ray, radius, loss and peak of the hits of each block.
    """

    objective: Objective
    criterion: str
    points: UniformPoints
    cutoffs: tuple[float, ...]
    centre: float
    march: March
    config: dict[str, Any]
    first_step: float
    rays: int
    inside: np.ndarray
    kept: list[tuple[np.ndarray, ...]]
    cost: Cost = NOTHING
    pilot: Cost = NOTHING

    @classmethod
    def start(
        cls,
        objective: Objective,
        cutoffs: Sequence[float],
        criterion: str,
        metric: str | Metric,
        seed: int,
        march: March,
        wanted: int,
    ) -> _Counting:
        """Check every setting once."""
        require_whole(objective.program, "the estimator counted")
        values, centre = check_basin(objective, cutoffs, criterion)
        if isinstance(metric, str):
            metric = make_metric(metric, objective.theta, objective.scope)
        cap = march.cap(metric)
        if math.isinf(cap):
            raise LandscapeError(
                "the estimator 'counted' draws points in the ball of the cap, and there is no cap here. Pass a finite "
                "`max_radius=...`, or another `estimator=...`."
            )
        points = UniformPoints(metric, seed, objective.theta, cap)
        config = describe_search(objective, criterion, metric, seed, march)
        del config["rtol"]  # of the pilot rays alone
        config["hits"] = wanted  # later rays are looked at only for the cutoffs that lack hits
        first_step, nothing = march.first_step or math.nan, np.zeros(len(values), dtype=np.int64)
        return cls(objective, criterion, points, values, centre, march, config, first_step, 0, nothing, [_no_hits()])

    @property
    def block(self) -> int:
        """How many rays to draw at a time: whole groups of them, if that many fit."""
        most = self.objective.plan.block_on(distributed.count())
        return max(most // self.points.group * self.points.group, min(most, self.points.group))

    @property
    def open_cutoffs(self) -> list[float]:
        """The cutoffs that lack hits, ascending."""
        return [
            cutoff for cutoff, inside in zip(self.cutoffs, self.inside, strict=True) if inside < self.config["hits"]
        ]

    @property
    def is_close(self) -> bool:
        """Whether a cutoff has not the hits that a verdict needs, but a good part of them."""
        return bool(((self.inside >= _CLOSE * RELIABLE_HITS) & (self.inside < RELIABLE_HITS)).any())

    def hits_among(self, rays: int, cutoff: float) -> int:
        """Return how many of the first rays hit the basin of a cutoff."""
        return sum(int(((ray < rays) & (np.maximum(loss, peak) < cutoff)).sum()) for ray, _, loss, peak in self.kept)

    def settle(self) -> None:
        """Settle the grid as uniform rays of this seed do."""
        pilot = Pilot(self.objective, self.points.metric, self.points.seed, self.criterion, self.cutoffs[0], self.march)
        self.first_step, self.pilot = settle_first_step(pilot)
        self.cost = self.pilot

    def go_on_from(self, past: Hits) -> None:
        """Check that an earlier count was of the same thing, and take its hits."""
        require_same_config(
            {**past.config, "cutoffs": list(past.cutoffs)}, {**self.config, "cutoffs": list(self.cutoffs)}, "count"
        )
        self._check_function(past)
        self.first_step, self.rays = past.config["first_step_taken"], past.rays
        self.cost, self.pilot = past.cost, past.pilot
        self.kept = [(past.ray, past.radius, past.loss, past.peak)]
        self.inside = np.array([past.inside(column).sum() for column in range(len(self.cutoffs))])

    def _check_function(self, past: Hits) -> None:
        if len(past.ray):
            ray = int(past.ray[-1])
            point = StoredPoint(ray, self.points.steps([ray]), past.radius[-1], past.loss[-1])
            check_same_function(self.objective, self.criterion, point, "the stored count is of")

    def draw(self, count: int) -> None:
        """Draw this many more rays, and look for walls before those of their points that are hits."""
        started, ceiling = time.perf_counter(), self.open_cutoffs[-1]
        indices = range(self.rays, self.rays + count)
        steps, radii = self.points.steps(indices), self.points.radii(indices)
        seen = self.objective.along(steps, radii, ceiling=np.full(count, ceiling), criterion=self.criterion)
        hits = np.flatnonzero(np.isfinite(seen.values) & (seen.values < ceiling))  # -inf is a wall, as it is for rays
        peaks, walls_cost = self._peaks(steps, radii, hits, ceiling)
        block = self.rays + hits, radii[hits], seen.values[hits], peaks
        self.kept.append(block)
        self.rays += count
        inside = np.maximum(block[2], peaks)
        self.inside = self.inside + [(inside < cutoff).sum() for cutoff in self.cutoffs]
        seconds = distributed.from_first(lambda: time.perf_counter() - started)
        self.cost += Cost(float(seen.read.sum()), count, seconds) + walls_cost

    def _peaks(self, steps: Tensor, radii: np.ndarray, hits: np.ndarray, ceiling: float) -> tuple[np.ndarray, Cost]:
        """Return the largest criterion at the points of the grid before each hit, up to the first at the ceiling."""
        peaks, evaluations, calls = np.full(len(hits), -np.inf), 0.0, 0
        point, looking = self.first_step, np.arange(len(hits))
        while len(looking := looking[(radii[hits[looking]] > point) & (peaks[looking] < ceiling)]):
            seen = self.objective.along(
                steps,
                np.full(len(looking), point),
                rows=hits[looking],
                ceiling=np.full(len(looking), ceiling),
                criterion=self.criterion,
            )
            heights = np.where(np.isfinite(seen.values), seen.values, np.inf)
            peaks[looking] = np.maximum(peaks[looking], heights)
            evaluations, calls = evaluations + float(seen.read.sum()), calls + len(looking)
            point *= self.march.step_ratio
        return peaks, Cost(evaluations, calls, 0.0)

    def result(self) -> Hits:
        """Return what is counted so far as a frozen result."""
        ray, radius, loss, peak = (np.concatenate(parts) for parts in zip(*self.kept, strict=True))
        metric = self.points.metric
        return Hits(
            ray=ray,
            radius=radius,
            loss=loss,
            peak=peak,
            rays=self.rays,
            cutoffs=self.cutoffs,
            dimension=metric.scope.size,
            log_scale_sum=metric.log_scale_sum,
            centre=self.centre,
            config={**self.config, "first_step_taken": self.first_step},
            cost=self.cost,
            pilot=self.pilot,
        )


@dataclass
class _Look:
    """A look at a count once a tenth of the budget is spent.

    If the budget is in passes, the look is at its first rays. So a count that goes on later is judged by the same ones.

    Attributes:
        limit: the budget.
        rays: how many the look is at; 0 before the time has come.
        share: of the budget that they have cost.
    """

    limit: Budget
    rays: int = 0
    share: float = _LOOK

    def is_hopeless(self, counting: _Counting) -> bool:
        """Return whether fewer hits than a verdict needs will come at any cutoff that lacks some."""
        if not self.rays:
            self._begin(counting)
        if not self.rays or counting.rays < self.rays:
            return False
        hits = counting.hits_among(self.rays, counting.open_cutoffs[-1])
        return bool(gammaincinv(hits + 1, _SURELY) < RELIABLE_HITS * self.share)

    def _begin(self, counting: _Counting) -> None:
        if math.isfinite(self.limit.passes):
            self.rays = math.ceil(_LOOK * self.limit.passes)
        elif (used := self.limit.used(counting.cost)) >= _LOOK:
            self.rays, self.share = counting.rays, used


def _no_hits() -> tuple[np.ndarray, ...]:
    return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0)
