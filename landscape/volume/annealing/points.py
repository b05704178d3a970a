"""Directions, and how far the body reaches along each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Points:
    """Directions and how far the body reaches along each.

    Attributes:
        phi: unit directions, shape (k, n), float64.
        log_radius: log r(phi), shape (k,).
        censored: whether r is the cap, shape (k,), bool.
        unfinished: whether the search for r was given up, so that r is only known to be reached, shape (k,), bool.
        rises: the criterion's rise on some points of the ray over that of the cutoff, shape (k, points); no points
            where nobody looked.
        ray_measure: by another measure than volume, the effective log radius of each ray and the measure's coefficients
             (:mod:`landscape.volume.ray_weights.measure`), shape (k, columns); of volume none.
        velocity: tangent at phi, of chains that keep theirs from flight to flight, shape (k, n); None of others.
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
        """Return directions of which no radius is known: NaN."""
        nothing, unknown = np.zeros(len(phi), dtype=bool), np.full((len(phi), 1 + columns), np.nan)
        return cls(phi, unknown[:, 0], nothing, nothing.copy(), np.zeros((len(phi), 0)), unknown[:, 1:])

    @property
    def effective_log_radius(self) -> np.ndarray:
        """log m / n of each ray, with m the share of the measure that it stands for: of volume log r, shape (k,)."""
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
    """Return the median and the spread of log radii that are finite, the spread never quite zero."""
    some = log_radius[np.isfinite(log_radius)]
    return float(np.median(some)) if len(some) else 0.0, max(float(np.std(some)), 1e-3) if len(some) > 1 else math.inf
