"""The basin of one cutoff as a star-shaped body: its radius along unit directions of R^n, in metric coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.crossing import FirstCrossing, Habits
from landscape.errors import ObjectiveError
from landscape.metric import Metric
from landscape.objective import Objective
from landscape.program import evaluating
from landscape.results import RayStatus

_GRADIENT_COST = 3.0  # a forward and a backward pass, in evaluations


@dataclass
class Points:
    """Directions and how far the body reaches along each.

    Attributes:
        phi: unit directions, shape (k, n), float64.
        log_radius: log r(phi), shape (k,).
        censored: whether r is the cap, shape (k,), bool.
        unfinished: whether the search for r was given up, so that r is only known to be reached, shape (k,), bool.
    """

    phi: Tensor
    log_radius: np.ndarray
    censored: np.ndarray
    unfinished: np.ndarray

    def __len__(self) -> int:
        return len(self.log_radius)

    def copy(self) -> Points:
        """Return a copy that shares nothing."""
        return Points(self.phi.clone(), self.log_radius.copy(), self.censored.copy(), self.unfinished.copy())

    def put(self, rows: np.ndarray, other: Points) -> None:
        """Replace some rows by those of ``other``."""
        self.phi[torch.as_tensor(rows, device=self.phi.device)] = other.phi
        self.log_radius[rows] = other.log_radius
        self.censored[rows] = other.censored
        self.unfinished[rows] = other.unfinished

    def take(self, rows: np.ndarray) -> Points:
        """Return some rows."""
        phi = self.phi[torch.as_tensor(rows, device=self.phi.device)]
        return Points(phi, self.log_radius[rows], self.censored[rows], self.unfinished[rows])


class StarBody:
    """The points reached from theta along a ray before the criterion first gets to the cutoff, up to the cap.

    Call its methods inside ``objective.running()``. They count what they cost in ``evaluations`` (full passes over the
    data, a gradient as three) and ``calls``.

    Args:
        objective: the loss around the trained point.
        metric: the scale of a step.
        criterion, cutoff, centre: what bounds the basin, and the criterion at theta.
        max_radius, rtol, growth, first_step: as for :func:`landscape.basin_radii`.
    """

    def __init__(
        self,
        objective: Objective,
        metric: Metric,
        *,
        criterion: str,
        cutoff: float,
        centre: float,
        max_radius: float,
        rtol: float,
        growth: float,
        first_step: float,
    ) -> None:
        self.objective, self.metric, self.criterion = objective, metric, criterion
        self.cutoff, self.centre, self.max_radius = cutoff, centre, max_radius
        self.rtol, self.growth, self.first_step = rtol, growth, first_step
        self.evaluations, self.calls = 0.0, 0
        self._program = objective._kl_program() if criterion == "kl" else objective.program

    @property
    def dimension(self) -> int:
        """n, the number of entries that move."""
        return self.metric.scope.size

    def measure(self, phi: Tensor, guess: tuple[float, float] | None = None) -> Points:
        """Return these directions with their radii.

        Args:
            phi: unit directions, shape (k, n).
            guess: typical log radius and its spread; it makes the search shorter and leaves its result the same within
                the error of an interpolation.
        """
        lanes = len(phi)
        habits = None if guess is None else Habits(np.array([guess[0]]), np.array([guess[1]]))
        search = FirstCrossing(
            lanes,
            np.array([self.cutoff - self.centre]),
            first_step=self.first_step,
            max_radius=self.max_radius,
            growth=self.growth,
            rtol=self.rtol,
            habits=habits,
        )
        steps = self._steps(phi)
        # as for radii: values just outside are interpolated, so only far ones may stop early
        ceiling = np.full(lanes, 2 * self.cutoff - self.centre)
        while len(active := search.active()):
            radii = search.propose(active)
            seen = self.objective.along(steps, radii, rows=active, ceiling=ceiling[active], criterion=self.criterion)
            search.tell(active, radii, seen.values - self.centre, seen.complete)
            self._count(seen.read)
        status = search.status[:, 0]
        with np.errstate(divide="ignore"):
            log_radius = np.log(search.radii[:, 0])
        return Points(phi, log_radius, status == RayStatus.CENSORED, status == RayStatus.UNFINISHED)

    def holds(self, phi: Tensor, log_radius: np.ndarray) -> np.ndarray:
        """Return whether the criterion is below the cutoff at these radii; walls nearer in are not looked for."""
        ceiling = np.full(len(phi), self.cutoff)
        seen = self.objective.along(self._steps(phi), np.exp(log_radius), ceiling=ceiling, criterion=self.criterion)
        self._count(seen.read)
        return seen.complete & (seen.values < self.cutoff)

    def log_radius_gradient(self, phi: Tensor, radius: float) -> Tensor:
        """Return -P∇f / (∇f · phi) at theta + radius · S · phi, shape (k, n): tangent at phi.

        Zero where it has no value or points inwards. It is the gradient of log r where ``radius`` is r(phi), and close
        to it nearby; for f a power of a norm it is the same at every radius. It depends on phi alone, which is all that
        a reversible move asks of a force.
        """
        points = torch.addcmul(self.objective.theta, self._steps(phi), self.objective.theta.new_tensor(radius))
        slopes = torch.cat([self._gradient(part) for part in points.split(self.objective.plan.lanes)])
        slopes = self.metric.scope.gather(slopes).double()
        if self.metric.scale is not None:
            slopes *= self.metric.scale.double()
        outwards = (slopes * phi).sum(1, keepdim=True)
        found = phi - slopes / outwards
        usable = (outwards > 0) & torch.isfinite(found).all(1, keepdim=True)
        return torch.where(usable, found, 0.0)

    def has_gradient(self, phi: Tensor) -> bool:
        """Whether the criterion can be differentiated: a function that leaves torch cannot."""
        try:
            self.log_radius_gradient(phi, self.first_step)
        except ObjectiveError:
            return False
        return True

    def _gradient(self, points: Tensor) -> Tensor:
        """Return the gradient of the criterion's sum over the data at each point, shape (k, D)."""
        total = torch.zeros_like(points)
        with torch.enable_grad():
            for batch in range(len(self._program.counts)):
                leaf = points.detach().requires_grad_()
                with evaluating(self._program, batch, "around the trained point"):
                    total += torch.autograd.grad(self._program.totals(leaf, batch).sum(), leaf)[0]
        self._count(np.full(len(points), _GRADIENT_COST))
        return total

    def _steps(self, phi: Tensor) -> Tensor:
        """Return the step for r = 1 along each direction, shape (k, D)."""
        theta, scope = self.objective.theta, self.metric.scope
        values = phi.to(theta)
        if self.metric.scale is not None:
            values = values * self.metric.scale
        return scope.scatter(values, theta.new_zeros(len(phi), scope.layout.size))

    def _count(self, read: np.ndarray) -> None:
        self.evaluations += float(read.sum())
        self.calls += len(read)


def sphere(normals: Tensor) -> Tensor:
    """Return vectors scaled to length 1, shape (k, n)."""
    return normals / torch.linalg.vector_norm(normals, dim=1, keepdim=True)


def typical(log_radius: np.ndarray) -> tuple[float, float]:
    """Return the median and the spread of log radii, the spread never quite zero."""
    return float(np.median(log_radius)), max(float(np.std(log_radius)), 1e-3) if len(log_radius) > 1 else math.inf
