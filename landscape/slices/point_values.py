"""The values at each point of a slice: loss, accuracy, and the second derivative along a line."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.curvature.autograd.differences import KINKS, USELESS, GradientDifferences
from landscape.curvature.autograd.grad import twice_differentiable
from landscape.curvature.autograd.graphs import Graphs, HessianGraph, differentiating, refuse_once_differentiable
from landscape.curvature.checks.derivatives import check_derivatives
from landscape.curvature.checks.few_samples import few_samples
from landscape.curvature.memory import slope_lanes
from landscape.errors import LandscapeError, ObjectiveError, type_and_line
from landscape.objective import Objective
from landscape.objective.batch_loss import CENTRE, ModelProgram, Program, evaluating
from landscape.objective.batches import Batch
from landscape.objective.batchnorm import Recalibration
from landscape.objective.losses.accuracy import Counts, accuracy_counts
from landscape.objective.losses.loss import Loss
from landscape.objective.moved_weights import PointList
from landscape.objective.shards.whole import require_whole
from landscape.objective.shared_pass import batch_totals

ON_SLICE = "at points of the slice"
_WITHOUT_RULES = "pass `derivative='difference'`, which needs first derivatives only, or leave out `curvature=...`."
_GRAPH = 4  # memory of a point with its graph, in points without one: so fewer points run together


class PointEvaluator:
    """Evaluates an objective's loss and accuracy at many points. Use it only while the objective is running.

    Args:
        objective: the loss around the trained point.
        recalibrate_bn: estimate BatchNorm statistics at each point (see :mod:`landscape.objective.batchnorm`).

    Attributes:
        lanes: points evaluated together.
        accuracy: at the trained point, with its own BatchNorm statistics; NaN if there is none.
    """

    def __init__(self, objective: Objective, *, recalibrate_bn: bool = False) -> None:
        self._program = objective.program
        self._terms = float(sum(self._program.counts))
        self._predictions, self.accuracy = 0, math.nan
        if isinstance(self._program, ModelProgram):
            self._program = self._counting(self._program, objective)
        if recalibrate_bn:
            require_whole(objective.program, "BatchNorm recalibration")
        self._recalibration = Recalibration(self._program) if recalibrate_bn else None
        self.lanes = 1 if recalibrate_bn else objective.plan.lanes

    def measure(self, points: Tensor | PointList) -> tuple[np.ndarray, np.ndarray]:
        """Return the loss and the accuracy (NaN if there is none) at points (k, D), shape (k,) each, float64."""
        if self._recalibration is None:
            totals = self._totals(self._program, points)
        else:
            programs = (self._recalibration.at(point) for point in points)
            totals = torch.cat([self._totals(program, points[i : i + 1]) for i, program in enumerate(programs)])
        sums = totals.cpu().numpy().reshape(len(points), -1)
        loss = sums[:, 0] / self._terms
        accuracy = sums[:, 1] / self._predictions if self._predictions else np.full(len(points), np.nan)
        # an output of NaN is no prediction, although NaN is counted under some class
        return loss, np.where(np.isnan(loss), np.nan, accuracy)

    def _totals(self, program: Program, points: Tensor | PointList) -> Tensor:
        """Return the totals over all batches, (k,) or (k, 2), on the device."""
        if self.lanes == 1 and self._recalibration is None and distributed.count() > 1:
            return reduce(torch.add, batch_totals(program, points, ON_SLICE))
        totals = []
        for batch in range(len(program.counts)):
            with evaluating(program, batch, ON_SLICE):
                totals.append(program.totals(points, batch))
        return reduce(torch.add, totals)

    def _counting(self, program: ModelProgram, objective: Objective) -> ModelProgram:
        """Return a program that also counts right predictions, if there are predictions at the trained point."""
        counts: Sequence[Counts] = objective.at_theta.right or ()
        for index in range(len(counts), len(program.losses)):
            with evaluating(program, index, CENTRE):
                output = program.output(objective.trained, index)
            try:
                counts = [*counts, accuracy_counts(program.losses[index], output, program.batches[index])]
            except LandscapeError:  # an output without predictions, such as a loss only
                return program
        self._predictions = sum(each.known for each in counts)
        if not self._predictions:
            return program
        self.accuracy = sum(each.right for each in counts) / self._predictions
        pairs = zip(program.losses, counts, strict=True)
        return program.with_losses(tuple(_with_count(loss, each.counted) for loss, each in pairs))


def _with_count(loss: Loss, count: Callable[[Any], Tensor]) -> Loss:
    """Return a loss whose total is the pair (total, right predictions), shape (2,)."""

    def total(output: Any, batch: Batch) -> Tensor:
        return torch.stack([loss.total(output, batch), count(output).double()])

    return replace(loss, total=total)


class SecondDerivative:
    """The second derivative of the loss along a line, d²/dx² f(theta + x · step), by differentiating twice.

    Both derivatives use reverse mode, for which every operation has a rule. With a single input it is as fast as
    forward mode over forward mode (ResNet-20: 12 evaluations each), or faster (a small MLP: 7 against 11).

    Args:
        objective: the loss around the trained point.
        step: the direction, shape (D,).
        check: first compare gradient and second derivative with differences on a few samples, as an operator does.
        derivative: ``autograd``, or ``difference``: from differences of gradients along the step
            (:mod:`landscape.curvature.autograd.differences`), one point at a time.

    Raises:
        ObjectiveError, CurvatureError: if the loss is not differentiable once or twice, or if autograd's derivative is
            not that of the measured loss.
    """

    def __init__(self, objective: Objective, step: Tensor, *, check: bool = True, derivative: str = "autograd") -> None:
        require_whole(objective.program, "the second derivative along a slice")
        self._program = objective.program
        self._theta, self._step = objective.theta, step
        self._terms = float(sum(self._program.counts))
        self._lanes = slope_lanes(objective, max(1, objective.plan.lanes // _GRAPH))
        self._notes: tuple[str, ...] = ()
        self._differences: GradientDifferences | None = None
        self._error = self._size = 0.0  # of values by differences, the largest so far
        if derivative == "difference":
            self._differences = GradientDifferences(objective, [(0, len(step))])
            self._by_difference(self._differences, 0.0)
        else:
            single = self._second(self._theta.new_zeros(1), 0)
            if self._lanes > 1 and (reason := self._why_apart(single)):
                self._lanes = 1
                self._notes = (f"the second derivative runs one point at a time ({reason})",)
        if check:
            few = few_samples(self._program, self._theta)
            products = self._differences is None
            self._notes += check_derivatives(few, objective.layout, objective.scope.ranges, products=products)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why points run one at a time, if they do, and the error of differences at the points so far."""
        if self._differences is None:
            return self._notes
        useless = self._error > USELESS * self._size
        said = (
            "the second derivative comes from differences of first ones: its error at the points measured is up to "
            f"{self._error:.1g}, and its largest value is {self._size:.4g}"
        )
        return (*self._notes, said + (f". {KINKS}" if useless else ""))

    def at(self, x: Tensor) -> np.ndarray:
        """Return the second derivative at coefficients x, (k,) -> (k,) float64."""
        if self._differences is not None:
            return np.array([self._by_difference(self._differences, float(each)) for each in x])
        pieces = (
            torch.stack([self._second(piece, batch) for batch in range(len(self._program.counts))]).sum(0)
            for piece in x.split(self._lanes)
        )
        return torch.cat(list(pieces)).cpu().numpy() / self._terms

    def _by_difference(self, differences: GradientDifferences, x: float) -> float:
        """Return the second derivative at one coefficient, and keep the largest error."""
        point = torch.add(self._theta, self._step, alpha=x) if x else None
        form, error = differences.form(self._step, self._step, range(len(self._program.counts)), at=point)
        self._error, self._size = max(self._error, error / self._terms), max(self._size, abs(form) / self._terms)
        return form / self._terms

    def _why_apart(self, single: Tensor) -> str:
        """Say why two points cannot run together, or return "" if they can; ``single`` is the value at the centre."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about operations without a batching rule: slower, but right
                joint = self._second(self._theta.new_zeros(2), 0)
        except LandscapeError as error:
            return type_and_line(error.__cause__ or error)
        return (
            ""
            if torch.allclose(joint, single, rtol=1e-3, atol=1e-6, equal_nan=True)
            else "together they give other numbers"
        )

    def _second(self, x: Tensor, batch: int) -> Tensor:
        """Return the second derivative of one batch's total."""
        if isinstance(self._program, ModelProgram) and self._program.scripted:
            return torch.stack([self._of_script(self._theta + each * self._step, batch) for each in x])
        with torch.enable_grad(), twice_differentiable():
            x = x.clone().requires_grad_()
            with evaluating(self._program, batch, ON_SLICE):
                total = self._program.totals(torch.addcmul(self._theta, x[:, None], self._step), batch)
            if not total.requires_grad:
                raise ObjectiveError(
                    "the loss is not differentiable along the slice: it does not depend on the parameters through "
                    "operations with a derivative (an argmax, a rounding, a TorchScript model).\n"
                    "Leave `curvature=...` out."
                )
            with differentiating("the second derivative along the slice", _WITHOUT_RULES):
                # each total depends only on its own coefficient, so the gradient of their sum holds all slopes
                (slope,) = torch.autograd.grad(total.sum(), x, create_graph=True)
                if not slope.requires_grad:  # a straight line
                    return torch.zeros_like(total)
                refuse_once_differentiable([slope], _WITHOUT_RULES)
                (second,) = torch.autograd.grad(slope.sum(), x, materialize_grads=True)
        return second.double()

    def _of_script(self, point: Tensor, batch: int) -> Tensor:
        """Return the same at one point of a TorchScript module, which has no graph from coefficients to parameters."""
        graphs = Graphs(self._program, point, HessianGraph, [(0, len(point))])
        steps = graphs.split(self._step)
        with differentiating("the second derivative along the slice", _WITHOUT_RULES):
            return next(graphs.each([batch], keep=False)).form(steps, together=False)
