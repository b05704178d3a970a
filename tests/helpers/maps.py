"""Star bodies in other coordinates, and the linear maps that give them."""

from __future__ import annotations

import math

import numpy as np
import torch

import landscape as ls
from landscape.rays import make_metric
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure

STIFF = np.geomspace(1, 1e4, 12)  #: curvatures of a narrow ellipsoid


def body_of(
    objective: ls.Objective,
    cutoff: float,
    max_radius: float = math.inf,
    first_step: float = 0.2,
    preconditioner: LinearMap | None = None,
) -> StarBody:
    """The basin in the coordinates of the parameters, or in those of a preconditioner."""
    metric = make_metric("identity", objective.theta, objective.scope)
    return StarBody(
        objective,
        metric,
        make_measure(objective, metric),
        criterion="loss",
        cutoff=cutoff,
        centre=objective.centre,
        max_radius=max_radius,
        rtol=1e-5,
        step_ratio=2.0,
        first_step=first_step,
        preconditioner=preconditioner,
    )


def skew(n: int) -> LinearMap:
    """Two factors that do not commute, so that A is not symmetric."""
    rng = np.random.default_rng(0)
    linear_map = LinearMap.identity(torch.zeros(n))
    for _ in range(2):
        vectors = torch.from_numpy(np.linalg.qr(rng.normal(size=(n, 2)))[0])
        linear_map = linear_map.compose(vectors, torch.from_numpy(rng.uniform(0.3, 2.0, size=2)))
    return linear_map
