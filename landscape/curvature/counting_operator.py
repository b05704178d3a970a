"""An operator that tells how many products it has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import GaussNewton, Hessian
from landscape.curvature.operator import Operator
from landscape.objective.holding import Values
from landscape.results import Cost, OnProgress, Progress
from landscape.results.progress import nothing_new, telling

_WHOLE_BLOCK = 2**40  # vectors: more than any block holds
_AT_ONCE = 10  # vectors between two reports: they share one graph per batch, which costs about half a product


class CountingOperator(Operator):
    """The same matrix as ``op``, product for product, with a call of ``report`` after every few products.

    Args:
        op: the operator that makes the products; its cost is the cost of this one.
        report: called with the number of products since the previous call; those of a summand count by its share.
        at_once: vectors between two reports.
    """

    def __init__(self, op: Operator, report: Callable[[float], None], at_once: int) -> None:
        super().__init__(op.size, op.dtype, op.device, op.parts, rows=op.rows, holding=op.holding)
        self._op, self._report, self._at_once = op, report, at_once

    @classmethod
    def of(cls, op: Operator, report: Callable[[float], None]) -> CountingOperator:
        """Count the products of an operator, with so few reports that they cost next to nothing."""
        # a multiple of what runs in one batched program, so that the split changes no bit
        together = isinstance(op, Hessian | GaussNewton) and op.objective.program.together
        width = op.objective.plan.lanes if together and isinstance(op, Hessian | GaussNewton) else 1
        # a rank that reports nothing must make the products of a sharded model in the same blocks
        return cls(op, report, width * -(-_AT_ONCE // width) if op.holding.ranks == 1 else _WHOLE_BLOCK)

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

    def add_cost(self, cost: Cost) -> None:
        self._op.add_cost(cost)

    def pick(self, values: Values) -> np.ndarray:
        return self._op.pick(values)

    @property
    def lean(self) -> bool:  # type: ignore[override]
        return self._op.lean

    def summands(self) -> Sequence[Operator]:
        return [CountingOperator(part, self._report, self._at_once) for part in self._op.summands()]

    def _apply(self, vectors: Tensor) -> Tensor:
        return torch.cat(list(self._each(self._op.__matmul__, vectors)), dim=1)

    def _add(self, vector: Tensor, out: Tensor) -> None:
        self._op.add_product(vector, out)
        self._report(self._op.share)

    def _forms(self, vectors: Tensor) -> Tensor:
        return torch.cat(list(self._each(self._op.forms, vectors)))

    def _each(self, call: Callable[[Tensor], Tensor], vectors: Tensor) -> Iterator[Tensor]:
        for piece in vectors.split(self._at_once, dim=1):
            yield call(piece)
            self._report(piece.shape[1] * self._op.share)


@contextmanager
def counting(op: Operator, most: int, progress: bool, on_progress: OnProgress[Any] | None) -> Iterator[Operator]:
    """Yield the operator; if somebody wants to know, one that tells its products while they are made.

    Args:
        op: the operator.
        most: how many products it will make at most.
        progress: whether to show a bar.
        on_progress: called every few products; there is no partial result, so ``news`` is false.
    """
    if not progress and on_progress is None:
        yield op
        return
    made = 0.0
    with telling(progress, on_progress, "products", most) as tell:

        def report(products: float) -> None:
            nonlocal made
            made += products
            tell(Progress(round(made), most, nothing_new, news=False))

        yield CountingOperator.of(op, report)
