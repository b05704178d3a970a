"""Directions, and what is known of the body along each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

_LEAST_SPREAD = 1e-3  # of log radii, so that no search is told that all rays are equal


@dataclass
class Points:
    """Directions, and how far the body goes along each.

    Attributes:
        phi: unit directions, shape (k, n), float64.
        log_radius: log r(phi), shape (k,). NaN if not measured.
        censored: whether r is the cap, shape (k,), bool.
        unfinished: whether the search gave up, so that r is only a radius known to be inside, shape (k,), bool.
        rises: rises of the criterion along the ray over the rise of the cutoff, shape (k, points); no points if not
            measured.
        ray_measure: for another measure than volume, the effective log radius of each ray and its coefficients
            (:mod:`landscape.volume.ray_weights.measure`), shape (k, columns); no columns for volume.
        velocity: tangent at phi, of chains that keep theirs from trajectory to trajectory, shape (k, n); None for
            others.
    """

    phi: Tensor
    log_radius: np.ndarray
    censored: np.ndarray
    unfinished: np.ndarray
    rises: np.ndarray
    ray_measure: np.ndarray
    velocity: Tensor | None = field(default=None, kw_only=True)

    @classmethod
    def bare(cls, phi: Tensor, columns: int = 0) -> Points:
        """Return directions whose radii are not measured, with so many columns of ``ray_measure``."""
        count = len(phi)
        return cls(
            phi,
            log_radius=np.full(count, np.nan),
            censored=np.zeros(count, dtype=bool),
            unfinished=np.zeros(count, dtype=bool),
            rises=np.zeros((count, 0)),
            ray_measure=np.full((count, columns), np.nan),
        )

    @property
    def effective_log_radius(self) -> np.ndarray:
        """log m / n of each ray, with m its mass: log r for volume, shape (k,)."""
        return self.ray_measure[:, 0] if self.ray_measure.shape[1] else self.log_radius

    def __len__(self) -> int:
        return len(self.log_radius)

    def copy(self) -> Points:
        """Return a copy that shares nothing."""
        arrays = (self.log_radius, self.censored, self.unfinished, self.rises, self.ray_measure)
        velocity = None if self.velocity is None else self.velocity.clone()
        return Points(self.phi.clone(), *(array.copy() for array in arrays), velocity=velocity)

    def put(self, rows: np.ndarray, other: Points) -> None:
        """Replace some rows by those of ``other``."""
        chosen = torch.as_tensor(rows, device=self.phi.device)
        self.phi[chosen] = other.phi
        self.log_radius[rows] = other.log_radius
        self.censored[rows] = other.censored
        self.unfinished[rows] = other.unfinished
        self.rises[rows] = other.rises
        self.ray_measure[rows] = other.ray_measure
        if self.velocity is not None and other.velocity is not None:
            self.velocity[chosen] = other.velocity

    def take(self, rows: np.ndarray) -> Points:
        """Return some rows."""
        chosen = torch.as_tensor(rows, device=self.phi.device)
        arrays = (self.log_radius, self.censored, self.unfinished, self.rises, self.ray_measure)
        velocity = None if self.velocity is None else self.velocity[chosen]
        return Points(self.phi[chosen], *(array[rows] for array in arrays), velocity=velocity)


def sphere(normals: Tensor) -> Tensor:
    """Return vectors scaled to length 1, shape (k, n)."""
    return normals / torch.linalg.vector_norm(normals, dim=1, keepdim=True)


def typical(log_radius: np.ndarray) -> tuple[float, float]:
    """Return the median and the standard deviation of the finite log radii; infinite if fewer than two are finite."""
    known = log_radius[np.isfinite(log_radius)]
    median = float(np.median(known)) if len(known) else 0.0
    return median, max(float(np.std(known)), _LEAST_SPREAD) if len(known) > 1 else math.inf
