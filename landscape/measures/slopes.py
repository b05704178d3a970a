"""Gradients of the loss by the weights in scope, at any point and on any batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.curvature.autograd.gradient import moving_leaves, total_and_gradient
from landscape.measures.draws import Draws
from landscape.objective import Objective
from landscape.objective.batch_loss import Program, evaluating
from landscape.objective.evaluate import GRADIENT_COST

_PLACE = "around the trained point"


class Slopes:
    """The loss of a program and its gradient. Use it only while the objective is running.

    Args:
        objective: the loss, whose scope counts.
        program: the loss on other data; by default that of the objective.
    """

    def __init__(self, objective: Objective, program: Program | None = None) -> None:
        self._program, self._scope = program or objective.program, objective.scope
        self._sizes, self._moves = moving_leaves(self._program, objective.theta, objective.scope.ranges)

    def at(self, point: Tensor, batches: Sequence[int] | None = None) -> tuple[float, Tensor]:
        """Return the mean loss on some batches, by default all, at a point, (D,), and its gradient in scope, (n,)."""
        program = self._program
        chosen = range(len(program.counts)) if batches is None else batches
        value, gradient = 0.0, torch.zeros_like(point)
        for batch in chosen:
            with evaluating(program, batch, _PLACE):
                total, slopes = total_and_gradient(program, point, batch, self._moves, _PLACE)
            value += total
            waiting = iter(slopes)
            for piece, moves in zip(gradient.split(self._sizes), self._moves, strict=True):
                if moves:
                    piece += next(waiting).reshape(-1)
        terms = float(sum(program.counts[batch] for batch in chosen))
        return value / terms, self._scope.gather(gradient).div_(terms)


def full_gradient(draws: Draws) -> Tensor:
    """Return the gradient of the loss at the trained point by the weights in scope, (n,), once for all measures."""

    def compute() -> Tensor:
        objective = draws.objective
        with objective.running():
            gradient = Slopes(objective).at(objective.theta)[1]
        draws.charge(GRADIENT_COST)
        return gradient

    return draws.once("gradient", compute)
