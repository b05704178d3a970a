"""Rays phi = A y / |A y| with y uniform on the sphere and A learnt from the slopes at the wall.

Their density over the uniform one is that of the angular central Gaussian with Σ = A A',

    |det A|^-1 (phi' Σ^-1 phi)^(-n/2) = |A y|^n / |det A|,

and log |det A| is known exactly (:mod:`landscape.volume.proposals.precondition`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import CurvatureError
from landscape.objective import Objective
from landscape.rays import Metric, basin_radii
from landscape.rays.directions import check_seed
from landscape.rays.march import PILOT
from landscape.rays.streams import Purpose, stream
from landscape.results import Cost
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.body.points import sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.proposals.precondition import learn
from landscape.volume.proposals.streams import normals
from landscape.volume.proposals.wall import has_gradient
from landscape.volume.ray_weights.measure import Measure

_MOST_TOGETHER, _MOST_ENTRIES = 64, 2**24  # limits on rays that A is applied to at once, and on their entries


class SlopeDirections:
    """Directions A y / |A y|, keyed by (seed, index), as steps in parameter space.

    Args:
        preconditioner: A, in metric coordinates.
        metric: the scale of a step.
        seed: keys the draws. They differ from those that A was learnt from.
        like: a tensor with the device and dtype of theta.
        about: what A was learnt from, for the record.

    >>> from landscape.rays import make_metric
    >>> axis = torch.tensor([1.0, 0.0], dtype=torch.float64)
    >>> half = LinearMap.identity(axis).compose(axis[:, None], torch.tensor([0.5], dtype=torch.float64))
    >>> plane = Objective.from_function(lambda x: x.sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> rays = SlopeDirections(half, make_metric("identity", plane.theta, plane.scope), 0, plane.theta)
    >>> phi, tilt = rays.steps([3])[0].numpy(), rays.log_tilts([3])[0]
    >>> bool(np.isclose(tilt, np.log(0.5 * (4 * phi[0] ** 2 + phi[1] ** 2))))  # |Σ|^(1/2) phi' Σ^-1 phi
    True
    """

    def __init__(
        self, preconditioner: LinearMap, metric: Metric, seed: int, like: Tensor, about: dict[str, Any] | None = None
    ) -> None:
        self.preconditioner, self.metric, self.seed, self._like = preconditioner, metric, check_seed(seed), like
        self._about = about or {}
        self._together = max(1, min(_MOST_TOGETHER, _MOST_ENTRIES // metric.scope.size))

    def steps(self, indices: Sequence[int]) -> Tensor:
        """Return the steps for r = 1 with these indices, shape (k, D), on the device and in the dtype of theta."""
        return self.metric.steps(sphere(self._transformed(indices)), self._like)

    def log_tilts(self, indices: Sequence[int]) -> np.ndarray:
        """Return log of the uniform density over that of these directions, log |det A| - n log |A y|, shape (k,)."""
        parts = (indices[at : at + self._together] for at in range(0, len(indices), self._together))
        lengths = torch.cat([torch.linalg.vector_norm(self._transformed(part), dim=1) for part in parts])
        return self.preconditioner.log_determinant - self.metric.scope.size * lengths.log().cpu().numpy()

    def describe(self) -> dict[str, Any]:
        """Return what A was learnt from, and its hash."""
        return {"proposal": {**self._about, "digest": self.preconditioner.digest()}}

    def _transformed(self, indices: Sequence[int]) -> Tensor:
        """Return A y, shape (k, n), in groups of fixed bounds, so that no bit depends on which others are asked for."""
        wanted, size = np.asarray(indices), self._together
        transformed = self._like.new_empty(len(wanted), self.metric.scope.size, dtype=torch.float64)
        for group in np.unique(wanted // size):
            members = range(int(group) * size, (int(group) + 1) * size)
            like = transformed.new_empty(size, transformed.shape[1])
            streams = [stream(Purpose.PRECONDITIONED_RAY, self.seed, ray) for ray in members]
            group_values = self.preconditioner.apply(sphere(normals(streams, like)))
            rows = np.flatnonzero(wanted // size == group)
            transformed[torch.as_tensor(rows)] = group_values[torch.as_tensor(wanted[rows] - members.start)]
        return transformed


def learn_from_slopes(
    objective: Objective, metric: Metric, cutoff: float, centre: float, measure: Measure, **options: Any
) -> tuple[LinearMap, Cost]:
    """Return the A that makes the basin of this cutoff roundest, and the cost of learning it.

    A = 1 if the basin is round already.

    Args:
        objective, metric, cutoff, centre: what bounds the basin.
        measure: what it is measured by.
        options: criterion, seed, max_radius, rtol, step_ratio and first_step, as for :func:`landscape.basin_radii`.

    Raises:
        CurvatureError: if the criterion has no gradient.
    """
    started = time.perf_counter()
    reference_rays = basin_radii(objective, [cutoff], metric=metric, directions=PILOT, **options)
    body = StarBody.of(objective, metric, reference_rays, cutoff, measure)
    with objective.running():
        if not has_gradient(
            body, sphere(torch.ones(1, body.dimension, dtype=torch.float64).to(objective.theta.device))
        ):
            raise CurvatureError(
                "the proposal 'slopes' needs gradients, and this function has none that torch can follow.\nPass an "
                "array of n curvatures as proposal, or `estimator='uniform'`."
            )
        preconditioner = learn(body, options["seed"], 0).body.preconditioner
    spent = Cost(
        reference_rays.cost.evaluations + body.spent.evaluations,
        reference_rays.cost.calls + body.spent.calls,
        time.perf_counter() - started,
    )
    return preconditioner or LinearMap.identity(objective.theta.new_empty(body.dimension)), spent
