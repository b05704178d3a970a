"""Directions with their radii."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Points:
    """Directions, and how far the body goes along each.

    Attributes:
        phi: unit directions, shape (k, n), float64.
        log_radius: log r(phi), shape (k,).
        censored: whether r is the cap, shape (k,), bool.
        ray_measure: for another measure than volume, the effective log radius of each ray and its coefficients
            (:mod:`landscape.volume.ray_weights.measure`), shape (k, columns); no columns for volume.
    """

    phi: Tensor
    log_radius: np.ndarray
    censored: np.ndarray
    ray_measure: np.ndarray

    @property
    def effective_log_radius(self) -> np.ndarray:
        """log m / n of each ray, with m its mass: log r for volume, shape (k,)."""
        return self.ray_measure[:, 0] if self.ray_measure.shape[1] else self.log_radius

    def __len__(self) -> int:
        return len(self.log_radius)


def normals(random: np.random.Generator, like: Tensor) -> Tensor:
    """Return standard normals with shape, dtype and device of ``like``."""
    return torch.from_numpy(random.standard_normal(like.shape, dtype=np.float32)).to(like)


def sphere(normals: Tensor) -> Tensor:
    """Return vectors scaled to length 1, shape (k, n)."""
    return normals / torch.linalg.vector_norm(normals, dim=1, keepdim=True)
