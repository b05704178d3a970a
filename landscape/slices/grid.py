"""The points of a slice: where they lie, which are measured together, and the values at each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from landscape.errors import ObjectiveError, check_count, check_number
from landscape.objective import Objective
from landscape.objective.batchnorm import running_norms
from landscape.results import Cost
from landscape.slices.axes import Axes
from landscape.slices.point_values import PointEvaluator, SecondDerivative

MARGIN = 0.2  #: room around the checkpoints of a plane, as a share of their extent


def even(steps: int, span: float) -> np.ndarray:
    """Return coefficients from -span to +span of which the middle one is exactly 0."""
    _check(steps, span)
    if steps % 2 == 0:
        raise ObjectiveError(
            f"steps = {steps} is even, so the trained point would not be one of the points. Pass `steps={steps + 1}`."
        )
    half = steps // 2
    return np.arange(-half, half + 1) / half * span


def path(steps: int, span: float) -> np.ndarray:
    """Return coefficients with one exactly 0 and one exactly 1, and about span - 1 beyond each of them.

    >>> path(5, 1.0), path(9, 1.5)
    (array([0.  , 0.25, 0.5 , 0.75, 1.  ]), array([-0.5 , -0.25,  0.  ,  0.25,  0.5 ,  0.75,  1.  ,  1.25,  1.5 ]))
    """
    _check(steps, span)
    if span < 1:
        raise ObjectiveError(
            f"span = {span:g} would not reach the other checkpoint, which lies at 1. Pass `span=1`, or more to go "
            "beyond it."
        )
    beyond = min(round((steps - 1) * (span - 1) / (2 * span - 1)), (steps - 2) // 2)
    return (np.arange(steps) - beyond) / (steps - 1 - 2 * beyond)


def covering(points: np.ndarray, steps: int, span: float) -> np.ndarray:
    """Return coefficients that cover ``points`` and a margin; one of them is exactly 0."""
    _check(steps, span)
    low, high = float(points.min()), float(points.max())
    half = span * (0.5 + MARGIN) * (high - low)
    step = 2 * half / (steps - 1)
    before = round((half - (low + high) / 2) / step)
    if not 0 <= before < steps:
        raise ObjectiveError(f"span = {span:g} leaves the trained point out of the picture. Pass `span=1`.")
    return (np.arange(steps) - before) * step


def _check(steps: int, span: float) -> None:
    if check_count("steps", steps, error=ObjectiveError) < 3:
        raise ObjectiveError(f"steps = {steps} shows no shape. Pass at least 3, such as `steps=51`.")
    if not (math.isfinite(check_number("span", span, ObjectiveError)) and span > 0):
        raise ObjectiveError(f"span = {span:g} makes no slice: it is how far to go on either side. Pass `span=1`.")


@dataclass
class Grid:
    """The points of a slice and the values at each; ``width`` points make a row."""

    axes: Axes
    points: np.ndarray  #: coefficients, shape (points, axes)
    width: int
    config: dict[str, Any]
    centre: float
    notes: tuple[str, ...]
    loss: np.ndarray  #: shape (points,), like accuracy and curvature
    accuracy: np.ndarray
    curvature: np.ndarray
    done: np.ndarray  #: which rows are measured, shape (rows,)
    passes: int  #: over the data per point
    seconds: float = 0.0

    @classmethod
    def start(
        cls,
        objective: Objective,
        axes: Axes,
        points: np.ndarray,
        width: int,
        asked: dict[str, Any],
    ) -> Grid:
        """Return the grid without values."""
        config = {
            "directions": axes.name,
            **axes.settings,
            **asked,
            "dimension": axes.dimension,
            "parameters": objective.layout.size,
            **objective.describe(),
        }
        recalibrated = bool(asked["recalibrate_bn"])
        loss, accuracy, curvature = (np.full(len(points), np.nan) for _ in range(3))
        return cls(
            axes,
            points,
            width,
            config,
            objective.centre,
            _notes(objective, axes, recalibrated=recalibrated),
            loss,
            accuracy,
            curvature,
            done=np.zeros(len(points) // width, dtype=bool),
            passes=1 + recalibrated + bool(asked.get("curvature")),
        )

    def measure(
        self, objective: Objective, *, curvature: dict[str, Any] | None = None, recalibrate_bn: bool = False
    ) -> Iterator[None]:
        """Measure the pending rows block by block, and yield after each block.

        ``curvature`` holds the options of the second derivative, if it is wanted.

        The blocks, and the points evaluated together within them, do not depend on the rows that are already done. So
        an interrupted run continues to the same bits.
        """
        if self.done.all():
            return
        with objective.running():
            values = PointEvaluator(objective, recalibrate_bn=recalibrate_bn)
            second = None if curvature is None else SecondDerivative(objective, self.axes.flat(0), **curvature)
            known = self.notes
            for rows in _blocks(len(self.done), self.width, values.lanes):
                if self.done[rows].all():
                    continue
                started = time.perf_counter()
                block = slice(rows.start * self.width, rows.stop * self.width)
                for piece in _even_pieces(block, values.lanes):
                    self._measure_points(piece, objective, values, second, known=not recalibrate_bn)
                self.done[rows] = True
                self.notes = known if second is None else tuple(dict.fromkeys((*known, *second.notes)))
                self.seconds += time.perf_counter() - started
                yield

    def _measure_points(
        self,
        piece: slice,
        objective: Objective,
        values: PointEvaluator,
        second: SecondDerivative | None,
        *,
        known: bool,
    ) -> None:
        """Measure some points together; ``known``: at the trained point, take the values of the objective itself."""
        centre = ~self.points[piece].any(axis=1)
        if not (known and centre.all()):
            points = self.axes.points_at(lambda: objective.theta, self.points[piece])
            self.loss[piece], self.accuracy[piece] = values.measure(points)
        if known:
            # evaluated together with other points, the trained point could differ in the last digit
            self.loss[piece][centre], self.accuracy[piece][centre] = objective.centre, values.accuracy
        if second is not None:
            self.curvature[piece] = second.at(torch.from_numpy(self.points[piece, 0]).to(objective.theta))

    def common(self) -> dict[str, Any]:
        """Return the fields that a line and a plane share."""
        points = int(self.done.sum()) * self.width
        return {
            "dimension": self.axes.dimension,
            "centre": self.centre,
            "notes": self.notes,
            "config": self.config,
            "cost": Cost(float(points * self.passes), points, self.seconds),
        }


def _blocks(rows: int, width: int, lanes: int) -> list[slice]:
    """Return the rows in blocks of about ``lanes`` points, at least one row each."""
    return list(_even_pieces(slice(0, rows), max(1, lanes // width)))


def _even_pieces(whole: slice, most: int) -> Iterator[slice]:
    """Cut a range into the fewest pieces of at most ``most``, with sizes as equal as possible.

    >>> list(_even_pieces(slice(0, 5), 4))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    size = whole.stop - whole.start
    pieces = -(-size // most)
    bounds = [whole.start + -(-size * i // pieces) for i in range(pieces + 1)]
    return map(slice, bounds, bounds[1:])


def _notes(objective: Objective, axes: Axes, *, recalibrated: bool) -> tuple[str, ...]:
    """Return what a reader of the slice should know."""
    if len(axes.points) and not recalibrated and running_norms(objective.program):
        return (
            *axes.notes,
            "BatchNorm uses the running statistics of the trained point everywhere, so at the other checkpoints the "
            "loss is not their own; recalibration estimates them at each point",
        )
    return axes.notes
