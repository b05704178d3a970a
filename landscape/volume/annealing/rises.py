"""Rises of the criterion at fixed places along rays, over the rise of the cutoff, and gradients through them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from landscape.objective.evaluate import GRADIENT_COST, run_backward
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.star_body import StarBody

HIGHEST = 1e9  # larger rises, over that of the cutoff, and values that are NaN or infinite count as this


def outer_radii(body: StarBody, phi: Tensor, outer_radius: float) -> np.ndarray:
    """Return the smaller of an outer radius and the cap on each radius, shape (k,)."""
    return _outer_radii(body, body.coordinates.apply(phi), outer_radius)


def rises_at(body: StarBody, phi: Tensor, radii: np.ndarray, outer_radius: float | None = None) -> np.ndarray:
    """Return the rise of the criterion over that of the cutoff at these radii of each ray, shape (k, points).

    Args:
        body: whose rays.
        phi: unit directions, shape (k, n).
        radii: where to look, shape (points,); in units of :func:`outer_radii` if there is an ``outer_radius``.
        outer_radius: see ``radii``.
    """
    x = body.coordinates.apply(phi)
    places = _outer_radii(body, x, outer_radius)[:, None] * radii
    seen = body.objective.along(
        body.metric.steps(x, body.objective.theta),
        places.ravel(),
        rows=np.repeat(np.arange(len(phi)), len(radii)),
        criterion=body.criterion,
    )
    body.spent.add(seen.read)
    return _relative(body, seen.values).reshape(len(phi), len(radii))


def rises_gradient(
    body: StarBody,
    phi: Tensor,
    radii: np.ndarray,
    derivative: Callable[[np.ndarray], np.ndarray],
    outer_radius: float | None = None,
) -> Tensor:
    """Return the tangent gradient of a function g of the rises along each ray, shape (k, n).

    With an ``outer_radius`` it is the gradient of g + n log of :func:`outer_radii`.

    Args:
        body: whose rays.
        phi: unit directions, shape (k, n).
        radii, outer_radius: where the rises are taken, as for :func:`rises_at`.
        derivative: takes rises to the derivative of g by each of them, shape (k, points) both.
    """
    chunk = max(1, body.objective.plan.lanes // len(radii))
    gradient = body.over_ranks(lambda part: _gradient(body, part, radii, derivative, outer_radius), phi, chunk)
    body.spent.add(np.full(len(phi) * len(radii), GRADIENT_COST))
    return gradient


def _gradient(
    body: StarBody,
    phi: Tensor,
    radii: np.ndarray,
    derivative: Callable[[np.ndarray], np.ndarray],
    outer_radius: float | None,
) -> Tensor:
    """Return what :func:`rises_gradient` does, for directions that are computed together."""
    theta, coordinates = body.objective.theta, body.coordinates
    x = coordinates.apply(phi)
    places = _outer_radii(body, x, outer_radius)[:, None] * radii
    steps = theta.new_tensor(places)[:, :, None] * body.metric.steps(x, theta)[:, None, :]
    values, by_parameters = run_backward(body.program, theta + steps.flatten(0, 1))
    values -= body.objective.centre if body.criterion == "rise" else 0.0
    rises = _relative(body, values).reshape(len(phi), len(radii))
    by_value = derivative(rises) * places / (body.cutoff - body.centre) * (rises < HIGHEST)
    by_entries = torch.nan_to_num(body.metric.scope.gather(by_parameters), 0, 0, 0).double()
    by_entries = by_entries.view(len(phi), len(radii), -1)
    weighted = (torch.from_numpy(by_value).to(by_entries)[:, :, None] * by_entries).sum(1)
    gradient = coordinates.gradient_in_scope(weighted)
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    capped = lengths * (outer_radius or 0.0) > body.max_radius
    if body.preconditioner is not None and capped.any():
        # such a ray gets shorter as |A y| grows, and its points move inwards
        shorter = -coordinates.transpose_apply(x) / x.square().sum(1, keepdim=True)
        gradient = gradient + capped * (body.dimension + (gradient * phi).sum(1, keepdim=True)) * shorter
    return tangent(gradient, phi)


def _outer_radii(body: StarBody, x: Tensor, outer_radius: float | None) -> np.ndarray:
    """Return :func:`outer_radii` for x = A y, or 1 if there is no outer radius, shape (k,)."""
    if outer_radius is None:
        return np.ones(len(x))
    return np.minimum(body.max_radius / torch.linalg.vector_norm(x, dim=1).cpu().numpy(), outer_radius)


def _relative(body: StarBody, values: np.ndarray) -> np.ndarray:
    """Return the rises of these values of the criterion over that of the cutoff, at most ``HIGHEST``."""
    rises = (values - body.centre) / (body.cutoff - body.centre)
    return np.minimum(np.nan_to_num(rises, nan=HIGHEST, posinf=HIGHEST, neginf=HIGHEST), HIGHEST)
