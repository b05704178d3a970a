"""The loss on a line and on a plane through the trained point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.dataset import Layout, Variable
from landscape.results.table import columns, percent
from landscape.results.units import CRITERION, TEXT

_TABLE_ROWS = 11


@dataclass(frozen=True)
class Line(Result):
    """The loss along one direction: theta + x · direction.

    A value that is NaN where ``done`` holds was measured as NaN.

    Attributes:
        x: coefficients, ascending, shape (steps,). One of them is exactly 0: the trained point.
        loss: the loss at each, shape (steps,).
        accuracy: share of right predictions, shape (steps,); NaN if the loss does not tell what is right.
        curvature: second derivative of the loss by x, shape (steps,); NaN where it was not asked for.
        done: which points are measured, shape (steps,), bool.
        points: coefficients of the checkpoints that the line joins, shape (k,); empty for a random direction.
        direction: how the direction was chosen (``random``, ``li2018``, ``hessian``, ``toward``, ``given``).
        length: Euclidean length of the step from x = 0 to x = 1.
        dimension: number of entries that move.
        centre: the loss at the trained point.
        notes: what a reader should know.
        config: everything that determines the numbers.
        cost: what the points measured cost.
    """

    kind: ClassVar[str] = "line"
    _layout: ClassVar[Layout] = {
        "x": ("x", "1"),
        "loss": ("x", CRITERION),
        "accuracy": ("x", "1"),
        "curvature": ("x", "loss per squared x"),
        "done": ("x", "1"),
        "points": ("checkpoint", "1"),
    }

    x: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    curvature: np.ndarray
    done: np.ndarray
    points: np.ndarray
    direction: str
    length: float
    dimension: int
    centre: float
    notes: tuple[str, ...]
    config: dict[str, Any]
    cost: Cost

    def table(self) -> str:
        """Return a few of the points, the trained one among them."""
        measured = {"x": self.x, "loss": self.loss, "accuracy": self.accuracy, "d2 loss / dx2": self.curvature}
        shown = {name: values for name, values in measured.items() if not np.isnan(values).all()}
        # the trained point belongs in the table, so count from it
        start, every = int(np.argmin(np.abs(self.x))), -(-len(self.x) // _TABLE_ROWS)
        rows = range(start % every, len(self.x), every)
        return columns(list(shown), [[f"{values[i]:.6g}" for values in shown.values()] for i in rows])

    def _series(self) -> dict[str, Any]:
        return {
            "x": self.x,
            "distance_euclidean": self.x * self.length,
            "loss": self.loss,
            "accuracy_share": self.accuracy,
            "curvature_loss_per_x2": self.curvature,
            "done": self.done,
        }

    def _brief(self) -> str:
        reach = f"x {self.x[0]:g} to {self.x[-1]:g}" if len(self.x) else "no points"
        return (
            f"{self.direction}, {_measured(self.done, self.loss)}, n = {self.dimension:,}, {reach}, "
            f"loss {self.centre:.6g} at the trained point"
        )

    def __str__(self) -> str:
        head = f"loss along a line ({self.direction}), {_measured(self.done, self.loss)}, n = {self.dimension:,}"
        return "\n".join([head, self.table(), *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class Plane(Result):
    """The loss on a plane: ``loss[i, j]`` at theta + x[j] · first + y[i] · second direction.

    A value that is NaN in a row that ``done`` marks was measured as NaN.

    Attributes:
        x: coefficients along the first direction, ascending, shape (columns,). One of them is exactly 0.
        y: coefficients along the second direction, likewise, shape (rows,).
        loss: the loss, shape (rows, columns).
        accuracy: share of right predictions, shape (rows, columns); NaN if the loss does not tell what is right.
        done: which rows are measured, shape (rows,), bool.
        points: where checkpoints lie on the plane, (x, y) each, shape (k, 2); empty for random directions. For ``pca``
            they are the trajectory, in order.
        off_plane: Euclidean distance of each of them from the plane, shape (k,).
        explained: share of the checkpoints' variance along each direction, shape (2,); empty but for ``pca``.
        lengths: Euclidean length of the unit step in each direction, shape (2,).
        cosine: cosine of the Euclidean angle between the two directions.
        directions: how they were chosen (``random``, ``li2018``, ``hessian``, ``toward``, ``pca``, ``given``).
        dimension: number of entries that move.
        centre: the loss at the trained point.
        notes: what a reader should know.
        config: everything that determines the numbers.
        cost: what the points measured cost.
    """

    kind: ClassVar[str] = "plane"
    _layout: ClassVar[Layout] = {
        "x": ("x", "1"),
        "y": ("y", "1"),
        "loss": ("y x", CRITERION),
        "accuracy": ("y x", "1"),
        "done": ("y", "1"),
        "points": ("checkpoint axis", "1"),
        "off_plane": ("checkpoint", "Euclidean distance"),
        "explained": ("explained_axis", "1"),
        "lengths": ("axis", "Euclidean distance"),
    }

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    done: np.ndarray
    points: np.ndarray
    off_plane: np.ndarray
    explained: np.ndarray
    lengths: np.ndarray
    cosine: float
    directions: str
    dimension: int
    centre: float
    notes: tuple[str, ...]
    config: dict[str, Any]
    cost: Cost

    def _series(self) -> dict[str, Any]:
        x, y = np.meshgrid(self.x, self.y)
        return {
            "x": x.ravel(),
            "y": y.ravel(),
            "loss": self.loss.ravel(),
            "accuracy_share": self.accuracy.ravel(),
            "done": np.repeat(self.done, len(self.x)),
        }

    def _coordinates(self) -> dict[str, Variable]:
        return {"axis": Variable(("axis",), np.array(["x", "y"]), TEXT)}

    def _brief(self) -> str:
        return (
            f"{self.directions}, {len(self.y)} x {len(self.x)}: {_measured(self.done, self.loss)}, "
            f"n = {self.dimension:,}, loss {self.centre:.6g} at the trained point"
        )

    def __str__(self) -> str:
        finite = np.where(np.isfinite(self.loss), self.loss, np.nan)
        lines = [
            f"loss on a plane ({self.directions}), {len(self.y)} x {len(self.x)}: {_measured(self.done, self.loss)}, "
            f"n = {self.dimension:,}",
            f"x {self.x[0]:g} to {self.x[-1]:g}, y {self.y[0]:g} to {self.y[-1]:g}; "
            f"loss at the centre {self.centre:.6g}",
        ]
        for name, find in (("smallest", np.nanargmin), ("largest", np.nanargmax)):
            if not np.isnan(finite).all():
                i, j = np.unravel_index(find(finite), finite.shape)
                accuracy = "" if np.isnan(self.accuracy[i, j]) else f", accuracy {self.accuracy[i, j]:.4g}"
                lines.append(f"{name} loss {finite[i, j]:.6g} at ({self.x[j]:.4g}, {self.y[i]:.4g}){accuracy}")
        if len(self.explained):
            first, second = self.explained
            lines.append(f"the plane explains {percent(first)} + {percent(second)} of the variance of the checkpoints")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _measured(done: np.ndarray, loss: np.ndarray) -> str:
    """Say how much is measured, and how many values are not finite."""
    what = "rows" if loss.ndim == 2 else "points"
    told = f"{len(done):,} {what}" if done.all() else f"{int(done.sum()):,} of {len(done):,} {what} so far"
    strange = int((~np.isfinite(loss[done])).sum())
    return f"{told}, {strange:,} values NaN or infinite" if strange else told
