"""What particles read of a body: rises of the criterion, gradients and radii along their rays."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.evaluate import GRADIENT_COST, run_backward
from landscape.rays import Metric, RandomDirections, finer_radii
from landscape.results import Radii
from landscape.volume.annealing.particles import Particles
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.survival import finer_than

_LONGEST = 64  # uniform rays from which a second start is drawn
HIGHEST = 1e9  #: larger rises, over that of the cutoff, and values that are NaN or infinite count as this


def check_room(rays: Radii) -> None:
    """Refuse a cutoff at which every ray ends at theta."""
    for cutoff, radii in zip(rays.cutoffs, rays.radii.T, strict=True):
        if not radii.any():
            raise ObjectiveError(
                f"all {rays.directions} rays end at theta itself at the cutoff {cutoff:g}: the criterion jumps there, "
                "and particles find no room to walk in.\n"
                "Pass a larger cutoff, or check that the loss is continuous at theta."
            )


def along_longest(metric: Metric, theta: Tensor, seed: int, masses: np.ndarray, count: int) -> Tensor:
    """Return the directions of the longest uniform rays, each as often as it takes, shape (count, n).

    Args:
        metric, theta, seed: what the rays were drawn with.
        masses: log mass of each ray.
        count: how many directions.
    """
    longest = np.argsort(-masses, kind="stable")[: min(_LONGEST, count)]
    chosen = [int(longest[index % len(longest)]) for index in range(count)]
    phi = metric.scope.gather(RandomDirections(metric, seed, theta).steps(chosen)).double()
    return sphere(phi if metric.scale is None else phi / metric.scale.double())


def rises_at(body: StarBody, phi: Tensor, radii: np.ndarray) -> np.ndarray:
    """Return the rise of the criterion over that of the cutoff at one radius of each ray, shape (k,)."""
    seen = body.objective.along(body.metric.steps(phi, body.objective.theta), radii, criterion=body.criterion)
    body.spent.add(seen.read)
    return _relative(body, seen.values)


def gradients_at(body: StarBody, phi: Tensor, radii: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Return that rise at radius · phi, shape (k,), and its gradient by x = radius · phi, shape (k, n), float64."""
    theta, coordinates = body.objective.theta, body.coordinates
    places = phi * torch.as_tensor(radii, device=phi.device)[:, None]
    width = phi.shape[1]

    def both(part: Tensor) -> Tensor:
        values, by_parameters = run_backward(body.program, theta + body.metric.steps(part, theta))
        column = torch.as_tensor(values, device=part.device)[:, None]
        return torch.cat([coordinates.gradient(by_parameters), column], dim=1)

    found = body.over_ranks(both, places, body.objective.plan.lanes)
    body.spent.add(np.full(len(phi), GRADIENT_COST))
    values = found[:, width].cpu().numpy()
    values = values - (body.objective.centre if body.criterion == "rise" else 0.0)
    rises = _relative(body, values)
    gradient = torch.nan_to_num(found[:, :width], 0.0, 0.0, 0.0) / (body.cutoff - body.centre)
    usable = torch.as_tensor(rises < HIGHEST, device=phi.device)[:, None]
    return rises, torch.where(usable, gradient, 0.0)


def with_rises(body: StarBody, particles: Particles, radii: np.ndarray, first: int) -> Particles:
    """Return the particles with their rises at some radii; what is known of them stays.

    Args:
        body, particles: whose rays.
        radii: shape (m,).
        first: column of ``values`` that holds the first of them.
    """
    if not np.isnan(particles.values[:, first : first + len(radii)]).any():
        return particles
    values, phi = particles.values.copy(), particles.phi
    rows, columns = np.nonzero(np.isnan(values[:, first : first + len(radii)]))
    for some in pieces(body, len(phi), len(rows)):
        chosen = phi[torch.as_tensor(rows[some], device=phi.device)]
        values[rows[some], first + columns[some]] = rises_at(body, chosen, radii[columns[some]])
    return replace(particles, values=values)


def pieces(body: StarBody, rays: int, count: int) -> list[slice]:
    """Return how to read so many points of rays, a few at a time: as many as rays, or as run together."""
    size = max(rays, body.objective.plan.lanes)
    return [slice(first, first + size) for first in range(0, count, size)]


def with_radii(body: StarBody, particles: Particles) -> Particles:
    """Return the particles with the radius of each; those that have one keep it."""
    if particles.searched:
        return particles
    points = body.points_at(particles.phi)
    log_mass = body.dimension * points.effective_log_radius
    return replace(particles, log_radius=points.log_radius, log_mass=log_mass, censored=points.censored)


def surviving_share(body: StarBody, ends: Particles) -> float:
    """Return the share of V that is left if the rays of the particles are searched on a finer grid."""
    known = np.isfinite(ends.log_radius)
    if not known.any():
        return math.nan
    chosen = ends.take(np.flatnonzero(known))
    steps = body.coordinates.steps(chosen.phi)
    finer = finer_radii(
        body.objective,
        steps,
        np.exp(chosen.log_radius),
        cutoff=body.cutoff,
        first_step=body.first_step,
        criterion=body.criterion,
        step_ratios=[finer_than(body.step_ratio)],
        rtol=body.rtol,
    )
    body.spent.count(finer.cost.evaluations, finer.cost.calls)
    measured = body.measure
    coefficients = measured.coefficients(steps)
    with np.errstate(divide="ignore"):
        masses = body.dimension * measured.effective_log_radius(coefficients, finer.radii[0])
    return float(np.mean(np.exp(np.minimum(masses - chosen.log_mass, 0.0))))


def _relative(body: StarBody, values: np.ndarray) -> np.ndarray:
    """Return the rises of these values of the criterion over that of the cutoff, at most ``HIGHEST``."""
    rises = (values - body.centre) / (body.cutoff - body.centre)
    return np.minimum(np.nan_to_num(rises, nan=HIGHEST, posinf=HIGHEST, neginf=HIGHEST), HIGHEST)
