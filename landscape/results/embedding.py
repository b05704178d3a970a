"""Many checkpoints of one network on one plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.dataset import Layout
from landscape.results.table import percent


@dataclass(frozen=True)
class Embedding(Result):
    """Where checkpoints lie on the plane of their first two principal components.

    Attributes:
        points: coordinates in Euclidean length, the origin at the trained point, shape (k, 2).
        off_plane: Euclidean distance of each checkpoint from the plane through the trained point, shape (k,).
        explained: share of the checkpoints' variance along each axis, shape (2,).
        config: everything that determines the numbers.
        cost: nothing is evaluated, so only the time.
    """

    kind: ClassVar[str] = "embedding"
    _layout: ClassVar[Layout] = {
        "points": ("checkpoint component", "Euclidean distance"),
        "off_plane": ("checkpoint", "Euclidean distance"),
        "explained": ("component", "1"),
    }

    points: np.ndarray
    off_plane: np.ndarray
    explained: np.ndarray
    config: dict[str, Any]
    cost: Cost

    @property
    def distance(self) -> np.ndarray:
        """Euclidean distance of each checkpoint from the trained point, shape (k,)."""
        return np.sqrt(np.square(self.points).sum(1) + np.square(self.off_plane))

    def _series(self) -> dict[str, Any]:
        return {
            "first_euclidean": self.points[:, 0],
            "second_euclidean": self.points[:, 1],
            "off_plane_euclidean": self.off_plane,
        }

    def __str__(self) -> str:
        first, second = self.explained
        return (
            f"{len(self.points)} checkpoints on the plane of their first two principal components, which explain "
            f"{percent(first)} + {percent(second)} of their variance"
        )
