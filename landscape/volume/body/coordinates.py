"""The coordinates in which rays are drawn: those of the metric, or rounder ones, y with x = A y."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.rays import Metric
from landscape.volume.body.linear_map import LinearMap


@dataclass(frozen=True)
class Coordinates:
    """Directions y on the unit sphere of R^n, and the steps S A y in parameter space that they stand for.

    Attributes:
        metric: S, the scale of a step.
        theta: the trained parameters, shape (D,), for the dtype and device of steps.
        preconditioner: A; None if x is y.
    """

    metric: Metric
    theta: Tensor
    preconditioner: LinearMap | None = None

    @property
    def dimension(self) -> int:
        """n, the number of entries that move."""
        return self.metric.scope.size

    @property
    def log_determinant(self) -> float:
        """log |det A|: how much larger log V is than the log-volume in y."""
        return self.preconditioner.log_determinant if self.preconditioner else 0.0

    def apply(self, y: Tensor) -> Tensor:
        """Return A y, shape (k, n)."""
        return self.preconditioner.apply(y) if self.preconditioner else y

    def transpose_apply(self, gradients: Tensor) -> Tensor:
        """Return A' g: gradients with respect to x as gradients with respect to y, shape (k, n)."""
        return self.preconditioner.transpose_apply(gradients) if self.preconditioner else gradients

    def steps(self, y: Tensor) -> Tensor:
        """Return the steps S A y, shape (k, D)."""
        return self.metric.steps(self.apply(y), self.theta)

    def log_lengths(self, y: Tensor) -> np.ndarray:
        """Return log |A y|: how much larger log r is than log rho, shape (k,)."""
        if self.preconditioner is None:
            return np.zeros(len(y))
        return torch.linalg.vector_norm(self.preconditioner.apply(y), dim=1).log().cpu().numpy()

    def gradient(self, by_parameters: Tensor) -> Tensor:
        """Return gradients with respect to theta as gradients with respect to y, shape (k, n), float64."""
        return self.gradient_in_scope(self.metric.scope.gather(by_parameters).double())

    def gradient_in_scope(self, by_entries: Tensor) -> Tensor:
        """Return gradients with respect to the entries in scope as gradients with respect to y, shape (k, n)."""
        scale = self.metric.scale
        return self.transpose_apply(by_entries if scale is None else by_entries * scale.double())


def tangent(vectors: Tensor, phi: Tensor) -> Tensor:
    """Return vectors without their parts along the unit vectors phi, shape (k, n)."""
    return vectors - (vectors * phi).sum(1, keepdim=True) * phi
