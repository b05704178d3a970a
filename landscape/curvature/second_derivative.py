"""A second derivative of an objective at the trained point, as an operator: what all kinds of it share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.curvature.autograd.differences import GradientDifferences
from landscape.curvature.autograd.grad import twice_differentiable
from landscape.curvature.autograd.graphs import Graph, Graphs, HessianGraph, differentiating
from landscape.curvature.checks.derivatives import check_derivatives, why_apart
from landscape.curvature.checks.few_samples import few_samples
from landscape.curvature.checks.suspects import refuse_fake_quantisation
from landscape.curvature.checks.symmetry import require_symmetric
from landscape.curvature.large import LargeProducts
from landscape.curvature.large_memory import LargeMemory
from landscape.curvature.memory import ProductMemory, Room
from landscape.curvature.operator import Operator, column_products, parts_of
from landscape.errors import CurvatureError
from landscape.objective import Objective, Scope
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.holding import Values
from landscape.rays.metric import Metric, make_metric

_KEEP_BELOW = 8  # vectors per block: with more, the products cost far more than the graph that a later call would save


class SecondDerivative(Operator):
    """A second derivative of the objective, restricted to a scope, in the coordinates of a metric.

    Batches count by their number of terms, so a ragged last one does not bias the sum.
    """

    kind: type[Graph]
    name = ""
    check_notes: tuple[str, ...] = ()  #: what the check of derivatives could not tell, once it has run
    _differences: GradientDifferences | None = None  # where products come from, if not from autograd

    def __init__(
        self,
        objective: Objective,
        *,
        scope: str | None = None,
        metric: str = "identity",
        memory: int | None = None,
        check: bool = True,
        lean: bool = True,
    ) -> None:
        if not isinstance(objective, Objective):
            raise CurvatureError(
                f"curvature is measured on an Objective, not {type(objective).__name__}. "
                "Pass landscape.Objective(model, data, loss)."
            )
        chosen = objective.scope if scope is None else Scope.select(scope, objective.layout)
        self.objective = objective
        self.lean = lean and objective.large and metric == "identity" and not _overwritten(objective)
        self.metric = Metric.identity(chosen) if self.lean else make_metric(metric, objective.theta, chosen)
        self.scope = self.metric.scope
        holding, parts = objective.layout.holding, parts_of(self.scope)
        super().__init__(
            self.scope.size, objective.dtype, objective.device, parts, rows=self.scope.held, holding=holding
        )  # fmt: skip
        self._terms = float(sum(objective.program.counts))
        self._large = LargeProducts(objective, self.scope, self.kind) if self.lean else None
        if self._large is None:
            self._graphs = Graphs(objective.program, objective.theta, self.kind, self.scope.ranges, memory)
        self._width = objective.plan.lanes if objective.program.together else 1
        sharded = objective.program.sharded
        self._check, self._check_symmetry, self._prepared = check and not sharded, check and sharded, False
        self._own_memory = memory
        self._room: Room | None = None
        self._check_kind(objective)

    def _check_kind(self, objective: Objective) -> None:
        """Refuse an objective that has no such matrix."""

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: operator of {self.objective.loss_name} on {self.objective.samples:,} samples, "
            f"n = {self.size:,} of {self.objective.layout.size:,} parameters in scope {self.scope.name!r}, "
            f"{self.metric.name} metric>"
        )

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return A @ v: (n,) -> (n,) or (n, k) -> (n, k).

        Vectors of the full length D, (D,) or (D, k), count by their entries in scope; the product is zero outside it.
        """
        full = self.objective.layout.held
        if isinstance(vectors, Tensor) and vectors.dim() in (1, 2) and len(vectors) == full != self.rows:
            block = vectors if vectors.dim() == 2 else vectors[:, None]
            product = super().__matmul__(self.scope.gather(block.mT).mT).mT
            out = self.scope.scatter(product, product.new_zeros(product.shape[0], full)).mT
            return out if vectors.dim() == 2 else out[:, 0]
        return super().__matmul__(vectors)

    def describe(self) -> dict[str, Any]:
        """Return what determines this matrix."""
        return {
            **self.objective.describe(),
            "operator": self.name,
            "scope": self.scope.name,
            "metric": self.metric.name,
            "dimension": self.size,
            "parameters": self.objective.layout.size,
        }

    def prepare(self) -> None:
        """Check once, on a few samples, that autograd differentiates the measured loss; products do so by themselves.

        It also finds out whether several vectors can run together. What a user should know goes to
        ``objective.notes``.

        Raises:
            CurvatureError: if gradients or products are not what differences say (:mod:`landscape.curvature.checks`).
        """
        if self._prepared:
            return
        objective = self.objective
        if self._large is not None:
            self._prepare_large(self._large)
            return
        notes: list[str] = []
        layout, ranges = objective.layout, self.scope.ranges
        if objective.program.sharded:
            notes.append("autograd was not compared with differences: no rank holds all of a sharded model")
            if self._check_symmetry and self._differences is None:
                with objective.running(), self._told():
                    require_symmetric(self._graphs, layout.held, layout.holding, objective.theta)
        self._keep_limit()
        if self._check or self._width > 1:
            few = few_samples(objective.program, objective.theta)
        if self._check:
            if isinstance(objective.program, ModelProgram):
                refuse_fake_quantisation(objective.program.model)
            products = self._differences is None and self.kind is HessianGraph
            self.check_notes = check_derivatives(few, layout, ranges, products=products)
            notes += self.check_notes
        if self._width > 1 and (reason := why_apart(few, layout, ranges, self.kind)):
            notes.append(f"products with the second derivative run one vector at a time ({reason})")
            self._width = 1
        objective.notes += [note for note in notes if note not in objective.notes]
        self._prepared = True

    def _prepare_large(self, large: LargeProducts) -> None:
        with self.objective.running(), self._told():
            large.prepare()
            notes = large.check() if self._check else ()
        self.check_notes = notes
        self.objective.notes += [note for note in notes if note not in self.objective.notes]
        self._prepared = True

    def memory(self) -> ProductMemory | LargeMemory:
        """Return what a product takes in memory, beyond the model."""
        if self._large is not None:
            with self.objective.running(), self._told():
                self._large.prepare()
            return self._large.memory
        return ProductMemory.of(self.objective, self.scope.ranges, self.kind)

    @property
    def kept_bytes(self) -> int:
        """Bytes that graphs may take between products, to make the next one faster."""
        return self._graphs.budget if self._large is None else self._large.kept_bytes

    @property
    def room(self) -> int | None:
        self.prepare()
        if self._large is not None:
            return self._large.room
        return None if self._room is None else self._room.vectors

    def _keep_limit(self) -> None:
        """Share the objective's memory budget, if it has one, between products, vectors and kept graphs.

        Raises:
            CurvatureError: if it is too small for a product.
        """
        limit = self.objective.plan.limit
        if limit is None:
            return
        memory = ProductMemory.of(self.objective, self.scope.ranges, self.kind)
        self._width = memory.require(limit, self._width)
        self._room = Room.beside(memory, limit, self._width)
        self._graphs.budget = self._room.graphs if self._own_memory is None else self._own_memory

    def forget(self) -> None:
        """Free the memory that is kept to make the next product faster."""
        (self._graphs if self._large is None else self._large).forget()

    def summands(self) -> Sequence[Operator]:
        """Return one operator per batch; their sum is this one."""
        return [_Batch(self, batch) for batch in range(self.objective.batches)]

    def _apply(self, vectors: Tensor) -> Tensor:
        batches = range(self.objective.batches)
        if self._large is not None:
            return self._products_of(vectors, batches)
        return torch.cat([self._products_of(block, batches) for block in self._within_room(vectors)], dim=1)

    def _within_room(self, vectors: Tensor) -> Sequence[Tensor]:
        """Return the columns in blocks that fit a memory budget."""
        if self.room is None:
            return (vectors,)
        bytes_each = 4 * self.objective.layout.size * vectors.element_size() // self.holding.ranks
        return vectors.split(max(1, self.room // bytes_each), dim=1)

    def _forms(self, vectors: Tensor) -> Tensor:
        return self._forms_of(vectors, range(self.objective.batches))

    def _products_of(self, vectors: Tensor, batches: Sequence[int]) -> Tensor:
        """Return the part of the product from these batches, (n, k) -> (n, k); the ranks share them.

        Only if points run one at a time, and then the sum of the ranks' parts rounds otherwise for each number of them.
        """
        if self._large is not None:
            columns = [torch.zeros_like(vector) for vector in vectors.T]
            for vector, column in zip(vectors.T, columns, strict=True):
                self._add_large(vector.contiguous(), column, batches)
            return columns[0][:, None] if len(columns) == 1 else torch.stack(columns, dim=1)
        steps = self._steps(vectors)

        def of_share(mine: slice) -> Tensor:
            out = torch.zeros_like(steps)
            with self._differentiating():
                self._add_products(steps, batches[mine], out)
            return out

        if self.objective.plan.lanes == 1 and len(batches) > 1 and self.holding.ranks == 1:
            out = distributed.added(of_share)
        else:
            out = of_share(slice(None))
        product = self.scope.gather(out).div_(self._terms)
        return (product if self.metric.scale is None else product.mul_(self.metric.scale)).T

    def _add(self, vector: Tensor, out: Tensor) -> None:
        if self._large is None:
            super()._add(vector, out)
        else:
            self._add_large(vector, out, range(self.objective.batches))

    def _add_large(self, vector: Tensor, out: Tensor, batches: Sequence[int]) -> None:
        """Add the part of the product from these batches to ``out``; the ranks share them."""

        large = self._large
        assert large is not None

        def of_share(mine: slice, target: Tensor) -> Tensor:
            with self._differentiating():
                large.add_product(vector, target, batches[mine], self._terms)
            return target

        if len(batches) > 1 and distributed.count() > 1:
            out += distributed.added(lambda mine: of_share(mine, torch.zeros_like(out)))
        else:
            of_share(slice(None), out)

    def _add_products(self, steps: Tensor, batches: Sequence[int], out: Tensor) -> None:
        """Add the products of these batches' totals with steps, (k, D), to ``out``, (k, D)."""
        for graph in self._each(len(steps), batches):
            for rows in self._blocks(len(steps)):
                for target, value in zip(self._split(out[rows]), self._of(graph.product, steps[rows]), strict=True):
                    if value is not None:
                        target += value

    def _forms_of(self, vectors: Tensor, batches: Sequence[int]) -> Tensor:
        """Return the part of the quadratic forms from these batches, (n, k) -> (k,)."""
        if self.holding.ranks > 1:
            return self._forms_on_ranks(vectors, batches)
        if self._large is not None:
            with self._differentiating():
                forms = [self._large.form(vector.contiguous(), batches) for vector in vectors.T]
            return torch.stack(forms) / self._terms
        steps = self._steps(vectors)
        out = steps.new_zeros(len(steps), dtype=torch.float64)
        with self._differentiating():
            for graph in self._each(len(steps), batches):
                for rows in self._blocks(len(steps)):
                    out[rows] += self._of(graph.form, steps[rows])
        return out / self._terms

    def _forms_on_ranks(self, vectors: Tensor, batches: Sequence[int]) -> Tensor:
        """Return the forms of vectors of which this rank holds a part; one step and one product exist at a time."""
        out = vectors.new_zeros(vectors.shape[1], dtype=torch.float64)
        with self._differentiating():
            for graph in self._each(len(out), batches):
                for column in range(len(out)):
                    pieces = self._split(self._steps(vectors[:, column : column + 1]))
                    for piece, product in zip(pieces, graph.product(pieces, together=False), strict=True):
                        if product is not None:
                            out[column] += column_products(piece.reshape(-1, 1), product.reshape(-1, 1))[0]
        return self.total(out) / self._terms

    def pick(self, values: Values) -> np.ndarray:
        return self.scope.pick(values)

    def _steps(self, vectors: Tensor) -> Tensor:
        """Return the vectors as steps in parameter space, (n, k) -> (k, D)."""
        values = vectors.T if self.metric.scale is None else vectors.T * self.metric.scale
        return self.scope.scatter(values, values.new_zeros(len(values), self.objective.layout.held))

    @contextmanager
    def _differentiating(self) -> Iterator[None]:
        """Prepare and run the model; an error of torch inside becomes one that says what to do."""
        self.prepare()
        with self.objective.running(), self._told():
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        with differentiating(without_rules=self.kind.without_rules), twice_differentiable():
            yield

    def _each(self, count: int, batches: Sequence[int]) -> Iterator[Graph]:
        """Yield the graphs of these batches, for a block of ``count`` vectors."""
        return self._graphs.each(batches, keep=count < _KEEP_BELOW)

    def _blocks(self, count: int) -> Iterator[slice]:
        """Yield the rows to run together."""
        return (slice(start, min(start + self._width, count)) for start in range(0, count, self._width))

    def _split(self, rows: Tensor) -> list[Tensor]:
        """Return the tensors that a graph takes: those of the single row, or those of all rows, stacked."""
        return self._graphs.split(rows if self._width > 1 else rows[0])

    def _of(self, call: Callable[[list[Tensor], bool], Any], rows: Tensor) -> Any:
        return call(self._split(rows), self._width > 1)


def _overwritten(objective: Objective) -> bool:
    """Whether a point of the objective's model is written over its weights."""
    return isinstance(objective.program, ModelProgram) and objective.program.in_place


class _Batch(Operator):
    """The part of a curvature from one batch, weighted by its share of the terms."""

    def __init__(self, whole: SecondDerivative, batch: int) -> None:
        super().__init__(whole.size, whole.dtype, whole.device, whole.parts, rows=whole.rows, holding=whole.holding)
        self._whole, self._batches = whole, [batch]
        self.lean = whole.lean
        counts = whole.objective.program.counts
        self.share = counts[batch] / float(sum(counts))

    def describe(self) -> dict[str, Any]:
        return self._whole.describe()

    def pick(self, values: Values) -> np.ndarray:
        return self._whole.pick(values)

    def _apply(self, vectors: Tensor) -> Tensor:
        return self._whole._products_of(vectors, self._batches)

    def _add(self, vector: Tensor, out: Tensor) -> None:
        if self._whole.lean:
            self._whole._add_large(vector, out, self._batches)
        else:
            super()._add(vector, out)

    def _forms(self, vectors: Tensor) -> Tensor:
        return self._whole._forms_of(vectors, self._batches)

    def _count(self, products: float, started: float) -> None:
        super()._count(products, started)
        self._whole._count(products * self.share, started)
