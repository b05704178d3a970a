"""Products with the Hessian from differences of gradients, for operations that torch can differentiate only once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.curvature.autograd.gradient import gradient_of, moving_leaves
from landscape.objective import Layout, Objective
from landscape.objective.holding import Holding

PLACE = "around the trained point"


def difference_reach(theta: Tensor, layout: Layout) -> float:
    """Return how far from theta gradients are taken for a difference: ∛eps |theta|."""
    eps = max(torch.finfo(entry.dtype).eps for entry in layout.entries)
    return float(eps ** (1 / 3)) * (_norm(theta, layout.holding) or 1.0)


def _norm(vector: Tensor, holding: Holding) -> float:
    """Return the Euclidean length of a vector, of which ranks may hold parts."""
    if holding.ranks == 1:
        return float(vector.double().norm())
    return float(holding.total(vector.double().square().sum()).sqrt())


class GradientDifferences:
    """H v = (g(theta + t v) - g(theta - t v)) / 2t, with t |v| = ∛eps |theta|.

    The step balances the rounding of the gradients, eps / t, and the third derivative, t². Twice the step gives a
    second value. The distance of the two estimates the error. It is three times the error from the third derivative,
    and shows that from rounding and from kinks.

    Args:
        objective: the loss around the trained point.
        ranges: (start, stop) of the entries to differentiate by.
    """

    def __init__(self, objective: Objective, ranges: Sequence[tuple[int, int]]) -> None:
        self._program, self._theta = objective.program, objective.theta
        with objective.running():
            self._sizes, self._moves = moving_leaves(self._program, self._theta, ranges)
        self._reach = difference_reach(self._theta, objective.layout)
        self._holding = objective.layout.holding

    def product(self, vector: Tensor, batches: Sequence[int]) -> tuple[Tensor, float]:
        """Return the product with the sum of these batches' totals, shape (D,), and its relative error."""
        length = _norm(vector, self._holding)
        if not length:
            return torch.zeros_like(vector), 0.0
        near, far = (self._quotient(vector, step, batches) for step in (self._reach / length, 2 * self._reach / length))
        size, distance = _norm(near, self._holding), _norm(near - far, self._holding)
        return near, distance / size if size else 0.0

    def _quotient(self, vector: Tensor, step: float, batches: Sequence[int]) -> Tensor:
        ahead, behind = (self._gradient(self._theta + sign * step * vector, batches) for sign in (1, -1))
        return (ahead - behind).div_(2 * step)

    def _gradient(self, point: Tensor, batches: Sequence[int]) -> Tensor:
        """Return the gradient of the batches' totals, shape (D,); 0 for tensors out of scope."""
        out = torch.zeros_like(point)
        for batch in batches:
            slopes = iter(gradient_of(self._program, point, batch, self._moves, PLACE))
            for piece, moves in zip(out.split(self._sizes), self._moves, strict=True):
                if moves:
                    piece += next(slopes).reshape(-1)
        return out
