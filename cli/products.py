"""An operator that tells how many products it has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from landscape.curvature import GaussNewton, Hessian, Operator

_AT_ONCE = 10  # vectors between two reports: they share one graph a batch, which costs about half a product to make


class Watched(Operator):
    """The same matrix as ``op``, product for product, with a call of ``report`` after every few.

    Args:
        op: the operator that makes the products.
        report: called with the number of products made since its last call.
    """

    def __init__(self, op: Hessian | GaussNewton, report: Callable[[int], None]) -> None:
        super().__init__(op.size, op.dtype, op.device, op.parts)
        self._op, self._report = op, report
        # a multiple of what runs in one batched program, so that the split changes no bit
        width = op.objective.plan.lanes if op.objective.program.together else 1
        self._at_once = width * -(-_AT_ONCE // width)

    def describe(self) -> dict[str, Any]:
        return self._op.describe()

    def _apply(self, vectors: Tensor) -> Tensor:
        return torch.cat(list(self._each(self._op.__matmul__, vectors)), dim=1)

    def _forms(self, vectors: Tensor) -> Tensor:
        return torch.cat(list(self._each(self._op.forms, vectors)))

    def _each(self, call: Callable[[Tensor], Tensor], vectors: Tensor) -> Iterator[Tensor]:
        for piece in vectors.split(self._at_once, dim=1):
            yield call(piece)
            self._report(piece.shape[1])
