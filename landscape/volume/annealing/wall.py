"""Gradients where a body ends: how its radius changes with the direction, and how steep its wall is."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.evaluate import GRADIENT_COST, run_backward
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.points import Points
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.ray_weights.measure import Gaussian


def log_radius_gradient(body: StarBody, phi: Tensor, radius: float) -> Tensor:
    """Return -P∇f / (∇f · phi) at theta + radius · S · phi, tangent at phi, shape (k, n).

    It is the gradient of log r if ``radius`` is r(phi), and close to it nearby. If f is a power of a norm it is the
    same at every radius. It depends on phi alone: a reversible move asks no more of a force. Zero if it has no value or
    f falls outwards.
    """
    coordinates, theta = body.coordinates, body.objective.theta

    def gradients(part: Tensor) -> Tensor:
        points = torch.addcmul(theta, coordinates.steps(part), theta.new_tensor(radius))
        return coordinates.gradient(run_backward(body.program, points)[1])

    by_direction = body.over_ranks(gradients, phi, body.objective.plan.lanes)
    body.spent.add(np.full(len(phi), GRADIENT_COST))
    outwards = (by_direction * phi).sum(1, keepdim=True)
    force = phi - by_direction / outwards
    usable = (outwards > 0) & torch.isfinite(force).all(1, keepdim=True)
    return torch.where(usable, force, 0.0)


def effective_log_radius_gradient(body: StarBody, phi: Tensor, radius: float) -> Tensor:
    """Return about the gradient of the effective log radius of rays that end near ``radius``, shape (k, n).

    For volume it is :func:`log_radius_gradient`. For a mass m(r, a, b) with a and b functions of phi it is

        (dm/dr r ∇log r + dm/da ∇a + dm/db ∇b) / (n m).

    The radius is the same for all rays, so that the result depends on phi alone.
    """
    by_wall = log_radius_gradient(body, phi, radius)
    if not isinstance(body.measure, Gaussian):
        return by_wall
    by_log_radius, by_step = body.measure.log_mass_gradient(body.coordinates.steps(phi), radius)
    by_density = tangent(body.coordinates.gradient_in_scope(by_step), phi)
    return (by_wall * by_wall.new_tensor(by_log_radius)[:, None] + by_density) / body.dimension


def wall_slopes(body: StarBody, points: Points, share: float) -> Tensor:
    """Return the gradient of each ray's wall over its outward part, of those rays that have one, shape (m, n).

    It is taken at a share of the radius. If the ray ends at the cap, the wall is |A y| = const. A gradient nearly along
    the wall has almost no outward part; it is then divided by that of a random vector.
    """
    coordinates, theta = body.coordinates, body.objective.theta
    places = points.phi * torch.as_tensor(share * np.exp(points.log_radius), device=theta.device)[:, None]

    def gradients(part: Tensor) -> Tensor:
        return coordinates.gradient(run_backward(body.program, theta + coordinates.steps(part))[1])

    slopes = body.over_ranks(gradients, places, body.objective.plan.lanes)
    body.spent.add(np.full(len(places), GRADIENT_COST))
    if points.censored.any():
        capped = torch.as_tensor(points.censored, device=theta.device)
        slopes[capped] = coordinates.transpose_apply(coordinates.apply(points.phi[capped]))
    outwards = (slopes * points.phi).sum(1, keepdim=True)
    of_random_vector = torch.linalg.vector_norm(slopes, dim=1, keepdim=True) / math.sqrt(body.dimension)
    slopes = slopes / torch.maximum(outwards, of_random_vector)
    return slopes[torch.isfinite(slopes).all(1)]


def has_gradient(body: StarBody, phi: Tensor) -> bool:
    """Return whether the criterion can be differentiated; torch cannot follow a function that leaves it."""
    try:
        log_radius_gradient(body, phi, body.first_step)
    except ObjectiveError:
        return False
    return True
