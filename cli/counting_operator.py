"""An operator that reports how many products it has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.curvature import GaussNewton, Hessian, Operator
from landscape.results import Cost

_AT_ONCE = 10  # vectors between two reports: they share one graph per batch, which costs about half a product


class CountingOperator(Operator):
    """The same matrix as ``op``, product for product, with a call of ``report`` after every few products.

    Args:
        op: the operator that makes the products; its cost is the cost of this one.
        report: called with the number of products since the previous call; those of a summand count by its share.
        at_once: vectors between two reports.
    """

    def __init__(self, op: Operator, report: Callable[[float], None], at_once: int) -> None:
        super().__init__(op.size, op.dtype, op.device, op.parts)
        self._op, self._report, self._at_once = op, report, at_once

    @classmethod
    def curvature(cls, op: Hessian | GaussNewton, report: Callable[[float], None]) -> CountingOperator:
        """Count the products of a curvature, with so few reports that they cost next to nothing."""
        # a multiple of what runs in one batched program, so that the split changes no bit
        width = op.objective.plan.lanes if op.objective.program.together else 1
        return cls(op, report, width * -(-_AT_ONCE // width))

    @property
    def cost(self) -> Cost:
        return self._op.cost

    @property
    def room(self) -> int | None:
        return self._op.room

    @property
    def notes(self) -> tuple[str, ...]:
        return self._op.notes

    def describe(self) -> dict[str, Any]:
        return self._op.describe()

    def summands(self) -> Sequence[Operator]:
        return [CountingOperator(part, self._report, self._at_once) for part in self._op.summands()]

    def _apply(self, vectors: Tensor) -> Tensor:
        return torch.cat(list(self._each(self._op.__matmul__, vectors)), dim=1)

    def _forms(self, vectors: Tensor) -> Tensor:
        return torch.cat(list(self._each(self._op.forms, vectors)))

    def _each(self, call: Callable[[Tensor], Tensor], vectors: Tensor) -> Iterator[Tensor]:
        for piece in vectors.split(self._at_once, dim=1):
            yield call(piece)
            self._report(piece.shape[1] * self._op.share)
