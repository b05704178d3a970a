"""The gradient of the loss at the trained point, taken once for all measures."""

from __future__ import annotations

from torch import Tensor

from landscape.measures.draws import Draws
from landscape.objective.evaluate import GRADIENT_COST, run_backward


def full_gradient(draws: Draws) -> Tensor:
    """Return the gradient of the loss by the weights in scope, shape (n,)."""

    def compute() -> Tensor:
        objective = draws.objective
        with objective.running():
            gradient = run_backward(objective.program, objective.theta[None])[1][0]
        draws.charge(GRADIENT_COST)
        return objective.scope.gather(gradient)

    return draws.once("gradient", compute)
