"""The basin of one cutoff as a star-shaped body: its radius along unit directions of R^n, in metric coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.objective.evaluate import GRADIENT_COST, run_backward
from landscape.rays import Metric
from landscape.rays.crossing import FirstCrossing, RadiusPrior
from landscape.results import Radii, RayStatus
from landscape.volume.annealing.points import Points
from landscape.volume.ray_weights.measure import Gaussian, Lebesgue, Measure, MeasureOnRays

if TYPE_CHECKING:
    from landscape.volume.annealing.linear_map import LinearMap

HIGHEST = 1e9  # rises above that, over that of the cutoff, are cut


class StarBody:
    """The points reached from theta along a ray before the criterion first gets to the cutoff, up to the cap.

    Call its methods inside ``objective.running()``. They count what they cost in ``evaluations`` (full passes over the
    data, a gradient as three) and ``calls``.

    Args:
        objective: the loss around the trained point.
        metric: the scale of a step.
        criterion, cutoff, centre: what bounds the basin, and the criterion at theta.
        max_radius, rtol, step_ratio, first_step: as for :func:`landscape.basin_radii`.
        fixed_step: whether ``first_step`` was given, in metric coordinates, or found, for radii of the body.
        measure: what the body is measured by; volume by default.

    Attributes:
        preconditioner: A, where the directions are those of y with x = A y and the radii rho; None where x is y.
        best_preconditioner: the A in which it was found roundest, taken or not; None if none is rounder.
    """

    preconditioner: LinearMap | None = None
    best_preconditioner: LinearMap | None = None

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
        step_ratio: float,
        first_step: float,
        fixed_step: bool = False,
        measure: Measure | None = None,
    ) -> None:
        self.objective, self.metric, self.criterion = objective, metric, criterion
        self.cutoff, self.centre, self.max_radius = cutoff, centre, max_radius
        self.rtol, self.step_ratio, self.first_step, self.fixed_step = rtol, step_ratio, first_step, fixed_step
        self.measure = measure or Lebesgue(metric.scope.size, metric.log_scale_sum)
        self.evaluations, self.calls = 0.0, 0
        self._program = objective.program_of(criterion)

    @classmethod
    def of(
        cls, objective: Objective, metric: Metric, reference_rays: Radii, cutoff: float, measure: Measure
    ) -> StarBody:
        """Return the body of one cutoff, searched as the rays of the first look were."""
        return cls(
            objective,
            metric,
            criterion=reference_rays.config["criterion"],
            cutoff=cutoff,
            centre=reference_rays.centre,
            max_radius=reference_rays.max_radius,
            rtol=reference_rays.config["rtol"],
            step_ratio=reference_rays.config["step_ratio"],
            first_step=reference_rays.config["first_step_taken"],
            fixed_step=reference_rays.config["first_step"] is not None,
            measure=measure,
        )

    @property
    def dimension(self) -> int:
        """n, the number of entries that move."""
        return self.metric.scope.size

    @property
    def log_determinant(self) -> float:
        """log |det A|, by which V is larger than the volume in y."""
        return self.preconditioner.log_determinant if self.preconditioner else 0.0

    def log_lengths(self, phi: Tensor) -> np.ndarray:
        """Return log |A y|, by which log r is larger than log rho, shape (k,)."""
        if self.preconditioner is None:
            return np.zeros(len(phi))
        return torch.linalg.vector_norm(self.preconditioner.apply(phi), dim=1).log().cpu().numpy()

    def cap_along(self, phi: Tensor) -> np.ndarray:
        """Return the cap on each radius, shape (k,)."""
        return self.max_radius * np.exp(-self.log_lengths(phi))

    def points_at(self, phi: Tensor, guess: tuple[float, float] | None = None) -> Points:
        """Return these directions with their radii.

        Args:
            phi: unit directions, shape (k, n).
            guess: typical log radius and its spread; it makes the search shorter and leaves its result the same within
                the error of an interpolation.
        """
        rays = len(phi)
        prior = None if guess is None else RadiusPrior(np.array([guess[0]]), np.array([guess[1]]))
        search = FirstCrossing(
            rays,
            np.array([self.cutoff - self.centre]),
            first_step=self.first_step * np.exp(-self.log_lengths(phi)) if self.fixed_step else self.first_step,
            max_radius=self.cap_along(phi),
            step_ratio=self.step_ratio,
            rtol=self.rtol,
            prior=prior,
        )
        steps = self._steps(phi)
        # as for radii: values just outside are interpolated, so only far ones may stop early
        ceiling = np.full(rays, 2 * self.cutoff - self.centre)
        while len(active := search.active()):
            radii = search.propose(active)
            seen = self.objective.along(steps, radii, rows=active, ceiling=ceiling[active], criterion=self.criterion)
            search.tell(active, radii, seen.values - self.centre, seen.complete)
            self._count(seen.read)
        status = search.status[:, 0]
        with np.errstate(divide="ignore"):
            log_radius = np.log(search.radii[:, 0])
        unfinished, nothing = status == RayStatus.UNFINISHED, np.zeros((rays, 0))
        along = MeasureOnRays(self.measure, self.measure.coefficients(steps)).table(search.radii)[:, 0]
        return Points(phi, log_radius, status == RayStatus.CENSORED, unfinished, nothing, along)

    @property
    def columns(self) -> int:
        """How many columns :attr:`Points.ray_measure` has."""
        return 1 + self.measure.terms if self.measure.terms else 0

    def is_inside(self, phi: Tensor, effective_log_radius: np.ndarray) -> np.ndarray:
        """Return whether the criterion is below the cutoff where the rays get to these effective log radii.

        Walls nearer in are not looked for. Where not even the cap is enough, nothing is evaluated.
        """
        steps, rows, log_radius = self._steps(phi), None, effective_log_radius
        inside = np.ones(len(phi), dtype=bool)
        if self.measure.terms:
            log_radius = self.measure.log_radius(
                self.measure.coefficients(steps), effective_log_radius, self.cap_along(phi)
            )
            inside = log_radius < np.inf
            rows = np.flatnonzero(inside)
            log_radius = log_radius[rows]
        ceiling = np.full(len(log_radius), self.cutoff)
        if len(log_radius):
            radii = np.exp(log_radius)
            seen = self.objective.along(steps, radii, rows=rows, ceiling=ceiling, criterion=self.criterion)
            self._count(seen.read)
            inside[inside] = seen.complete & (seen.values < self.cutoff)
        return inside

    def log_radius_gradient(self, phi: Tensor, radius: float) -> Tensor:
        """Return -P∇f / (∇f · phi) at theta + radius · S · phi, shape (k, n): tangent at phi.

        Zero where it has no value or points inwards. It is the gradient of log r where ``radius`` is r(phi), and close
        to it nearby; for f a power of a norm it is the same at every radius. It depends on phi alone, which is all that
        a reversible move asks of a force.
        """
        theta = self.objective.theta

        def slopes_of(part: Tensor) -> Tensor:
            points = torch.addcmul(theta, self._steps(part), theta.new_tensor(radius))
            return self._in_scope(run_backward(self._program, points)[1])

        slopes = self._spread(slopes_of, phi, self.objective.plan.lanes)
        self._count(np.full(len(phi), GRADIENT_COST))
        outwards = (slopes * phi).sum(1, keepdim=True)
        found = phi - slopes / outwards
        usable = (outwards > 0) & torch.isfinite(found).all(1, keepdim=True)
        return torch.where(usable, found, 0.0)

    def effective_log_radius_gradient(self, phi: Tensor, radius: float) -> Tensor:
        """Return about the gradient of the effective log radius of rays that end near this radius, shape (k, n).

        With m(r, a, b) and a, b functions of phi it is (dm/dr r ∇log r + dm/da ∇a + dm/db ∇b) / (n m); for volume
        :meth:`log_radius_gradient`. As there the radius is the same for all, so that it depends on phi alone.
        """
        wall = self.log_radius_gradient(phi, radius)
        if not isinstance(self.measure, Gaussian):
            return wall
        slope, pull = self.measure.pulls(self._steps(phi), radius)
        pull = self._scaled_in(pull)
        pull -= (pull * phi).sum(1, keepdim=True) * phi
        return (wall * wall.new_tensor(slope)[:, None] + pull) / self.dimension

    def slopes(self, points: Points, share: float) -> Tensor:
        """Return the gradient of each ray's wall over its part outwards, of those that have one, shape (m, n).

        Taken at a share of the radius; on a ray that ends at the cap the wall is |A y| = const. A gradient nearly along
        the wall, whose part outwards is less than that of a random vector, is divided by this.
        """
        theta = self.objective.theta
        places = points.phi * torch.as_tensor(share * np.exp(points.log_radius), device=theta.device)[:, None]

        def slopes_of(part: Tensor) -> Tensor:
            return self._in_scope(run_backward(self._program, theta + self._steps(part))[1])

        found = self._spread(slopes_of, places, self.objective.plan.lanes)
        self._count(np.full(len(places), GRADIENT_COST))
        if points.censored.any():
            capped = torch.as_tensor(points.censored, device=theta.device)
            y = points.phi[capped]
            found[capped] = (
                self.preconditioner.transpose_apply(self.preconditioner.apply(y)) if self.preconditioner else y
            )
        outwards = (found * points.phi).sum(1, keepdim=True)
        least = torch.linalg.vector_norm(found, dim=1, keepdim=True) / math.sqrt(self.dimension)
        found = found / torch.maximum(outwards, least)
        return found[torch.isfinite(found).all(1)]

    def outer_radii(self, phi: Tensor, outer_radius: float) -> np.ndarray:
        """Return the smaller of an outer radius and the cap on each radius, shape (k,)."""
        return self._outer_radii(self._unrounded(phi), outer_radius)

    def rises(self, phi: Tensor, radii: np.ndarray, outer_radius: float | None = None) -> np.ndarray:
        """Return the criterion's rise over that of the cutoff at these radii of each ray, shape (k, points).

        With an ``outer_radius`` the radii are in units of :meth:`outer_radii`. What has no value, or one above
        ``HIGHEST``, counts as ``HIGHEST``.
        """
        count, rows = len(phi), np.repeat(np.arange(len(phi)), len(radii))
        x = self._unrounded(phi)
        places = self._outer_radii(x, outer_radius)[:, None] * radii
        seen = self.objective.along(
            self.metric.steps(x, self.objective.theta), places.ravel(), rows=rows, criterion=self.criterion
        )
        self._count(seen.read)
        return self._scaled(seen.values).reshape(count, len(radii))

    def rises_gradient(
        self,
        phi: Tensor,
        radii: np.ndarray,
        pull: Callable[[np.ndarray], np.ndarray],
        outer_radius: float | None = None,
    ) -> Tensor:
        """Return the tangent gradient of a function of the rises along each ray, shape (k, n).

        With an ``outer_radius``, that of the function and of n log of :meth:`outer_radii`.

        Args:
            phi: unit directions, shape (k, n).
            radii, outer_radius: where the rises are taken, as for :meth:`rises`, shape (points,).
            pull: takes rises to the derivative by each of them, shape (k, points) both.
        """
        chunk = max(1, self.objective.plan.lanes // len(radii))
        found = self._spread(lambda part: self._rises_gradient(part, radii, pull, outer_radius), phi, chunk)
        self._count(np.full(len(phi) * len(radii), GRADIENT_COST))
        return found

    def _spread(self, compute: Callable[[Tensor], Tensor], phi: Tensor, chunk: int) -> Tensor:
        """Return what is computed from so many directions at a time, on all ranks together, shape (k, n)."""
        place = phi.device if distributed.count() == 1 else torch.device("cpu")  # from where it is sent
        pieces = distributed.each(
            phi.split(chunk), lambda part: compute(part).to(place), lambda: distributed.sample(phi)
        )
        return torch.cat(pieces).to(phi.device)

    def _rises_gradient(
        self, phi: Tensor, radii: np.ndarray, pull: Callable[[np.ndarray], np.ndarray], outer_radius: float | None
    ) -> Tensor:
        x = self._unrounded(phi)
        places = self._outer_radii(x, outer_radius)[:, None] * radii
        along = (
            self.objective.theta.new_tensor(places)[:, :, None] * self.metric.steps(x, self.objective.theta)[:, None, :]
        )
        values, slopes = run_backward(self._program, self.objective.theta + along.flatten(0, 1))
        values -= self.objective.centre if self.criterion == "rise" else 0.0
        rises = self._scaled(values).reshape(len(phi), len(radii))
        share = pull(rises) * places / (self.cutoff - self.centre) * (rises < HIGHEST)
        slopes = torch.nan_to_num(self.metric.scope.gather(slopes), 0, 0, 0).double().view(len(phi), len(radii), -1)
        found = self._scaled_in((torch.from_numpy(share).to(slopes)[:, :, None] * slopes).sum(1))
        capped = torch.linalg.vector_norm(x, dim=1, keepdim=True) * (outer_radius or 0.0) > self.max_radius
        if self.preconditioner is not None and capped.any():
            # such a ray gets shorter as |A y| grows, and its points move inwards
            shorter = -self.preconditioner.transpose_apply(x) / x.square().sum(1, keepdim=True)
            found = found + capped * (self.dimension + (found * phi).sum(1, keepdim=True)) * shorter
        return found - (found * phi).sum(1, keepdim=True) * phi

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        rises = (values - self.centre) / (self.cutoff - self.centre)
        return np.minimum(np.nan_to_num(rises, nan=HIGHEST, posinf=HIGHEST, neginf=HIGHEST), HIGHEST)

    def has_gradient(self, phi: Tensor) -> bool:
        """Whether the criterion can be differentiated: a function that leaves torch cannot."""
        try:
            self.log_radius_gradient(phi, self.first_step)
        except ObjectiveError:
            return False
        return True

    def _in_scope(self, slopes: Tensor) -> Tensor:
        """Return gradients by theta as gradients by r · phi, shape (k, n), float64."""
        return self._scaled_in(self.metric.scope.gather(slopes).double())

    def _scaled_in(self, found: Tensor) -> Tensor:
        """Return gradients by the entries of a step as gradients by phi, shape (k, n), float64."""
        found = found if self.metric.scale is None else found * self.metric.scale.double()
        return self.preconditioner.transpose_apply(found) if self.preconditioner else found

    def _steps(self, phi: Tensor) -> Tensor:
        """Return the step for r = 1 along each direction, shape (k, D)."""
        return self.metric.steps(self._unrounded(phi), self.objective.theta)

    def _unrounded(self, phi: Tensor) -> Tensor:
        """Return A y, shape (k, n)."""
        return self.preconditioner.apply(phi) if self.preconditioner else phi

    def _outer_radii(self, x: Tensor, outer_radius: float | None) -> np.ndarray:
        """Return what :meth:`outer_radii` does for A y, 1 without an outer radius, shape (k,)."""
        if outer_radius is None:
            return np.ones(len(x))
        return np.minimum(self.max_radius / torch.linalg.vector_norm(x, dim=1).cpu().numpy(), outer_radius)

    def _count(self, read: np.ndarray) -> None:
        self.evaluations, self.calls = self.evaluations + float(read.sum()), self.calls + len(read)
