"""The basin of one cutoff as a star-shaped body: its radius along unit directions, and what lies inside.

Estimators read what lies inside it: :mod:`landscape.volume.annealing.readings` for particles, and
:mod:`landscape.volume.proposals.wall` where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.objective import Objective
from landscape.objective.batch_loss import Program
from landscape.objective.shards.whole import require_whole
from landscape.rays import Metric
from landscape.rays.crossing import FirstCrossing
from landscape.rays.march import walk
from landscape.results import Radii, RayStatus
from landscape.volume.body.coordinates import Coordinates
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.body.points import Points
from landscape.volume.ray_weights.measure import Measure, MeasureOnRays


@dataclass
class Spent:
    """What the work on a body has cost so far.

    Attributes:
        evaluations: full passes over the data; a gradient counts as three.
        calls: evaluations started.
    """

    evaluations: float = 0.0
    calls: int = 0

    def add(self, read: np.ndarray) -> None:
        """Count evaluations that each read such a share of the data, shape (k,)."""
        self.count(float(read.sum()), len(read))

    def count(self, evaluations: float, calls: float) -> None:
        """Count what something else has added up."""
        self.evaluations, self.calls = self.evaluations + evaluations, self.calls + int(calls)

    @property
    def row(self) -> tuple[float, float]:
        """Both, as a row of a table ends."""
        return self.evaluations, float(self.calls)

    def clear(self) -> None:
        """Begin again at nothing."""
        self.evaluations, self.calls = 0.0, 0


@dataclass(frozen=True)
class StarBody:
    """The points on each ray from theta before the criterion first reaches the cutoff, up to the cap.

    Call its methods inside ``objective.running()``.

    Attributes:
        objective: the loss around the trained point.
        metric: the scale of a step.
        measure: what the body is measured by.
        criterion, cutoff, centre: what bounds the basin, and the criterion at theta.
        max_radius, rtol, step_ratio, first_step: as for :func:`landscape.basin_radii`.
        fixed_step: whether the caller gave ``first_step``, which is then in metric coordinates. Otherwise it was found,
            and is in those of the body.
        preconditioner: A, if the directions are those of y with x = A y and the radii rho; None if x is y.
        spent: what the work has cost; a copy of the body in other coordinates shares it.
    """

    objective: Objective
    metric: Metric
    measure: Measure
    criterion: str
    cutoff: float
    centre: float
    max_radius: float
    rtol: float
    step_ratio: float
    first_step: float
    fixed_step: bool = False
    preconditioner: LinearMap | None = None
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def of(
        cls, objective: Objective, metric: Metric, reference_rays: Radii, cutoff: float, measure: Measure
    ) -> StarBody:
        """Return the body of one cutoff, searched with the settings of the reference rays."""
        require_whole(objective.program, "the estimator annealed")
        config = reference_rays.config
        return cls(
            objective,
            metric,
            measure,
            criterion=config["criterion"],
            cutoff=cutoff,
            centre=reference_rays.centre,
            max_radius=reference_rays.max_radius,
            rtol=config["rtol"],
            step_ratio=config["step_ratio"],
            first_step=config["first_step_taken"],
            fixed_step=config["first_step"] is not None,
        )

    @property
    def dimension(self) -> int:
        """n, the number of entries that move."""
        return self.metric.scope.size

    @property
    def grid(self) -> np.ndarray:
        """The radii at which rays are tested under a cap, ascending; the last one is the cap."""
        count = math.floor(math.log(self.max_radius / self.first_step) / math.log(self.step_ratio)) + 1
        radii = self.first_step * self.step_ratio ** np.arange(max(count, 0))
        return np.append(radii[radii < self.max_radius * (1 - 1e-9)], self.max_radius)

    @property
    def coordinates(self) -> Coordinates:
        """The coordinates of its directions."""
        return Coordinates(self.metric, self.objective.theta, self.preconditioner)

    @property
    def program(self) -> Program:
        """How the criterion is computed."""
        return self.objective.program_of(self.criterion)

    def points_at(self, phi: Tensor) -> Points:
        """Return these directions, unit vectors of shape (k, n), with their radii."""
        log_lengths = self.coordinates.log_lengths(phi)
        search = FirstCrossing(
            len(phi),
            np.array([self.cutoff - self.centre]),
            first_step=self.first_step * np.exp(-log_lengths) if self.fixed_step else self.first_step,
            max_radius=self.max_radius * np.exp(-log_lengths),
            step_ratio=self.step_ratio,
            rtol=self.rtol,
        )
        steps = self.coordinates.steps(phi)
        walked = walk(search, self.objective, steps, self.criterion, self.centre)
        self.spent.count(float(walked.evaluations.sum()), int(search.calls.sum()))
        status = search.status[:, 0]
        with np.errstate(divide="ignore"):
            log_radius = np.log(search.radii[:, 0])
        on_rays = MeasureOnRays(self.measure, self.measure.coefficients(steps))
        return Points(
            phi,
            log_radius,
            censored=status == RayStatus.CENSORED,
            ray_measure=on_rays.table(search.radii)[:, 0],
        )

    def over_ranks(self, compute: Callable[[Tensor], Tensor], phi: Tensor, chunk: int) -> Tensor:
        """Return what ``compute`` makes of ``chunk`` directions at a time, by all ranks together, shape (k, n)."""
        # results are sent from the CPU
        place = phi.device if distributed.count() == 1 else torch.device("cpu")
        chunks = distributed.each(
            phi.split(chunk), lambda part: compute(part).to(place), lambda: distributed.sample(phi)
        )
        return torch.cat(chunks).to(phi.device)
