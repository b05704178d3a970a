"""Gradients where a body ends: how steep its wall is."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.evaluate import GRADIENT_COST, run_backward
from landscape.volume.body.points import Points
from landscape.volume.body.star_body import StarBody


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
    theta, coordinates = body.objective.theta, body.coordinates
    try:
        run_backward(body.program, torch.addcmul(theta, coordinates.steps(phi), theta.new_tensor(body.first_step)))
    except ObjectiveError:
        return False
    body.spent.add(np.full(len(phi), GRADIENT_COST))
    return True
