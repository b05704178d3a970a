"""The decision boundary of a net on points of the plane, and how near the training points lie to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.dataset import Layout


@dataclass(frozen=True)
class Boundary(Result):
    """The logit of a net with two inputs on a grid, and the margin of each training point.

    Attributes:
        x: first input, ascending, shape (columns,).
        y: second input, ascending, shape (rows,).
        logit: of class 1, shape (rows, columns); the boundary is where it is 0.
        inputs: the training points, shape (N, 2).
        targets: their classes, 0 or 1, shape (N,).
        margin: distance of each training point to the boundary, shape (N,), in units of the inputs. It is negative for
            a point on the wrong side. If the search met no boundary, it is the reach of the search.
        config: everything that determines the numbers.
        cost: the points at which the net was evaluated, over the number of training points.
    """

    kind: ClassVar[str] = "boundary"
    _layout: ClassVar[Layout] = {
        "x": ("x", "units of the inputs"),
        "y": ("y", "units of the inputs"),
        "logit": ("y x", "1"),
        "inputs": ("sample axis", "units of the inputs"),
        "targets": ("sample", "1"),
        "margin": ("sample", "units of the inputs"),
    }

    x: np.ndarray
    y: np.ndarray
    logit: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    margin: np.ndarray
    config: dict[str, Any]
    cost: Cost

    @property
    def median(self) -> float:
        """Median margin."""
        return float(np.median(self.margin))

    @property
    def low(self) -> float:
        """10th percentile of the margins."""
        return float(np.quantile(self.margin, 0.1))

    def _series(self) -> dict[str, Any]:
        return {
            "first_inputs": self.inputs[:, 0],
            "second_inputs": self.inputs[:, 1],
            "target": self.targets,
            "margin_inputs": self.margin,
        }

    def __str__(self) -> str:
        return (
            f"decision boundary on {len(self.y)} x {len(self.x)} points; margin of {len(self.margin)} training points: "
            f"median {self.median:.3g}, 10th percentile {self.low:.3g}, smallest {self.margin.min():.3g}"
        )
