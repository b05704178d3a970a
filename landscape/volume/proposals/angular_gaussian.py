"""Directions drawn from an angular central Gaussian, whose density is known exactly (Tyler 1987)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.objective.digest import digest
from landscape.rays import Metric
from landscape.rays.directions import check_seed, gaussians


class AngularGaussian:
    """Σ^-1 = U Λ U' + (1 - U U') D (1 - U U'): k directions of known curvature, and a diagonal for all others.

    A draw is U Λ^(-1/2) a + x - D^-1 U (U' D^-1 U)^-1 U' x with x from N(0, D^-1) and a from N(0, 1). The part with x
    is x under the condition U' x = 0. log |Σ| = - log det Λ - log det D - log det(U' D^-1 U), exactly.

    Args:
        values: Λ, positive, shape (k,).
        vectors: U, orthonormal columns, shape (n, k); k may be 0.
        rest: D, positive, shape (n,).

    >>> gaussian = AngularGaussian(np.array([4.0]), np.array([[1.0], [0.0]]), np.ones(2))
    >>> float(gaussian.log_tilt(np.array([1.0, 0.0])).round(6)), float(np.log(4 / 2).round(6))
    (0.693147, 0.693147)
    """

    def __init__(self, values: np.ndarray, vectors: np.ndarray, rest: np.ndarray) -> None:
        self.values, self.vectors, self.rest = (np.asarray(a, dtype=np.float64) for a in (values, vectors, rest))
        weighted = self.vectors / self.rest[:, None]
        inner = self.vectors.T @ weighted
        self._lift = np.linalg.solve(inner, weighted.T).T if len(self.values) else weighted
        self.log_determinant = -float(np.log(self.values).sum() + np.log(self.rest).sum() + np.linalg.slogdet(inner)[1])

    @property
    def size(self) -> int:
        """n."""
        return len(self.rest)

    def draw(self, seed: int, index: int) -> np.ndarray:
        """Return the normal vector with this index, shape (n,), float64."""
        normals = gaussians(seed, [index], self.size + len(self.values))[0].astype(np.float64)
        x = normals[: self.size] / np.sqrt(self.rest)
        x -= self._lift @ (self.vectors.T @ x)
        return x + self.vectors @ (normals[self.size :] / np.sqrt(self.values))

    def log_tilt(self, z: np.ndarray) -> np.floating:
        """Return log of the uniform density over this one at z / |z|: 1/2 log |Σ| + n/2 log(phi' Σ^-1 phi)."""
        along = self.vectors.T @ z
        across = z - self.vectors @ along
        form = (self.values * along**2).sum() + (self.rest * across**2).sum()
        return 0.5 * (self.log_determinant + self.size * np.log(form / (z**2).sum()))

    def digest(self) -> str:
        """Return a hash of all that it depends on."""
        return digest(self.values, self.vectors, self.rest)


class ProposedDirections:
    """Directions from an angular central Gaussian, keyed by (seed, index), as steps in parameter space.

    Args:
        gaussian: in metric coordinates.
        metric: the scale of a step.
        seed: keys the draws.
        like: a tensor with the device and dtype of theta.
        about: what the Gaussian was made from, for the record.
    """

    def __init__(
        self, gaussian: AngularGaussian, metric: Metric, seed: int, like: Tensor, about: dict[str, Any] | None = None
    ) -> None:
        self.gaussian, self.metric, self.seed, self._like = gaussian, metric, check_seed(seed), like
        self._about = about or {}

    def steps(self, indices: Sequence[int]) -> Tensor:
        """Return the steps for r = 1 with these indices, shape (k, D), on the device and in the dtype of theta."""
        scope = self.metric.scope
        out = self._like.new_zeros(len(indices), scope.layout.size)
        for row, index in enumerate(indices):
            z = self.gaussian.draw(self.seed, index)
            values = torch.from_numpy(z / np.linalg.norm(z)).to(out)
            scope.scatter(values if self.metric.scale is None else values.mul_(self.metric.scale), out[row])
        return out

    def log_tilts(self, indices: Sequence[int]) -> np.ndarray:
        """Return log of the uniform density over that of these directions, shape (k,)."""
        return np.array([self.gaussian.log_tilt(self.gaussian.draw(self.seed, index)) for index in indices])

    def describe(self) -> dict[str, Any]:
        """Return what the Gaussian was made from, and its hash."""
        return {"proposal": {**self._about, "digest": self.gaussian.digest()}}
