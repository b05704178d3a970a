"""The Hessian and the Gauss-Newton matrix of an objective at the trained point."""

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
from landscape.curvature.autograd.graphs import GaussNewtonGraph, Graph, Graphs, HessianGraph, differentiating
from landscape.curvature.checks.derivatives import check_derivatives, why_apart
from landscape.curvature.checks.few_samples import few_samples
from landscape.curvature.memory import ProductMemory, Room
from landscape.curvature.operator import Operator, column_products, parts_of
from landscape.errors import CurvatureError
from landscape.objective import Objective, Scope
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.holding import Values
from landscape.rays import make_metric

DERIVATIVES = ("autograd", "difference")  #: where products with the Hessian come from
_KEEP_BELOW = 8  # vectors per block: with more, the products cost far more than the graph that a later call would save


class _Curvature(Operator):
    """A second derivative of the objective, restricted to a scope, in the coordinates of a metric.

    Batches count by their number of terms, so a ragged last one does not bias the sum.
    """

    kind: type[Graph]
    name = ""

    def __init__(
        self,
        objective: Objective,
        *,
        scope: str | None = None,
        metric: str = "identity",
        memory: int | None = None,
        check: bool = True,
    ) -> None:
        if not isinstance(objective, Objective):
            raise CurvatureError(
                f"curvature is measured on an Objective, not {type(objective).__name__}. "
                "Pass landscape.Objective(model, data, loss)."
            )
        chosen = objective.scope if scope is None else Scope.select(scope, objective.layout)
        self.objective = objective
        self.metric = make_metric(metric, objective.theta, chosen)
        self.scope = self.metric.scope
        theta = objective.theta
        holding = objective.layout.holding
        parts = parts_of(self.scope)
        super().__init__(self.scope.size, theta.dtype, theta.device, parts, rows=self.scope.held, holding=holding)
        self._terms = float(sum(objective.program.counts))
        self._graphs = Graphs(objective.program, theta, self.kind, self.scope.ranges, memory)
        self._width = objective.plan.lanes if objective.program.together else 1
        self._check, self._prepared = check and not objective.program.sharded, False
        self.check_notes: tuple[str, ...] = ()  # what the check of derivatives could not tell, once it has run
        self._own_memory = memory
        self._room: Room | None = None
        self._autograd = True
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
        notes: list[str] = []
        layout, ranges = objective.layout, self.scope.ranges
        if objective.program.sharded:
            notes.append("autograd was not compared with differences: no rank holds all of a sharded model")
        self._keep_limit()
        if self._check or self._width > 1:
            few = few_samples(objective.program, objective.theta)
        if self._check:
            products = self._autograd and self.kind is HessianGraph
            self.check_notes = check_derivatives(few, layout, ranges, products=products)
            notes += self.check_notes
        if self._width > 1 and (reason := why_apart(few, layout, ranges, self.kind)):
            notes.append(f"products with the second derivative run one vector at a time ({reason})")
            self._width = 1
        objective.notes += [note for note in notes if note not in objective.notes]
        self._prepared = True

    def memory(self) -> ProductMemory:
        """Return what a product takes in memory, beyond the model."""
        return ProductMemory.of(self.objective, self.scope.ranges, self.kind)

    @property
    def kept_bytes(self) -> int:
        """Bytes that graphs may take between products, to make the next one faster."""
        return self._graphs.budget

    @property
    def room(self) -> int | None:
        self.prepare()
        return None if self._room is None else self._room.vectors

    def _keep_limit(self) -> None:
        """Share the objective's memory budget, if it has one, between products, vectors and kept graphs.

        Raises:
            CurvatureError: if it is too small for a product.
        """
        limit = self.objective.plan.limit
        if limit is None:
            return
        memory = self.memory()
        self._width = memory.require(limit, self._width)
        self._room = Room.beside(memory, limit, self._width)
        self._graphs.budget = self._room.graphs if self._own_memory is None else self._own_memory

    def forget(self) -> None:
        """Free the memory that is kept to make the next product faster."""
        self._graphs.forget()

    def summands(self) -> Sequence[Operator]:
        """Return one operator per batch; their sum is this one."""
        return [_Batch(self, batch) for batch in range(self.objective.batches)]

    def _apply(self, vectors: Tensor) -> Tensor:
        batches = range(self.objective.batches)
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
            return self._forms_by_products(vectors, batches)
        steps = self._steps(vectors)
        out = steps.new_zeros(len(steps), dtype=torch.float64)
        with self._differentiating():
            for graph in self._each(len(steps), batches):
                for rows in self._blocks(len(steps)):
                    out[rows] += self._of(graph.form, steps[rows])
        return out / self._terms

    def _forms_by_products(self, vectors: Tensor, batches: Sequence[int]) -> Tensor:
        return self.total(column_products(vectors, self._products_of(vectors, batches)))

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
        with self.objective.running(), differentiating(without_rules=self.kind.without_rules), twice_differentiable():
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


class _Batch(Operator):
    """The part of a curvature from one batch, weighted by its share of the terms."""

    def __init__(self, whole: _Curvature, batch: int) -> None:
        super().__init__(whole.size, whole.dtype, whole.device, whole.parts, rows=whole.rows, holding=whole.holding)
        self._whole, self._batches = whole, [batch]
        counts = whole.objective.program.counts
        self.share = counts[batch] / float(sum(counts))

    def describe(self) -> dict[str, Any]:
        return self._whole.describe()

    def pick(self, values: Values) -> np.ndarray:
        return self._whole.pick(values)

    def _apply(self, vectors: Tensor) -> Tensor:
        return self._whole._products_of(vectors, self._batches)

    def _forms(self, vectors: Tensor) -> Tensor:
        return self._whole._forms_of(vectors, self._batches)

    def _count(self, products: float, started: float) -> None:
        super()._count(products, started)
        self._whole._count(products * self.share, started)


class Hessian(_Curvature):
    """H = second derivative of the loss at the trained point, as an operator.

    A product is the derivative of the gradient along a vector (Pearlmutter 1994), batch by batch. A quadratic form
    (:meth:`forms`) costs about half of a product if vectors run one at a time.

    Args:
        objective: the loss around the trained point.
        scope: which parameters: ``weights``, ``all`` or a regular expression on names; by default the objective's.
        metric: ``identity`` for H itself; ``filter``, ``layer`` or ``adaptive`` for S H S with the metric's scale S.
            That is the second derivative along steps relative to the weights' own size, comparable between networks.
        memory: bytes that may be kept between products to make them faster; by default a quarter of what is free.
        check: before the first product, compare gradient and product with differences on a few samples
            (:mod:`landscape.curvature.checks.derivatives`).
        derivative: ``autograd``, or ``difference``: products from differences of gradients, for operations that torch
            can differentiate only once. A product then costs four gradients.

    Attributes:
        difference_error: of products by differences, estimated from two step sizes: the largest so far, relative to
            the product.

    Raises:
        CurvatureError: for a loss that cannot be differentiated twice, for one whose derivative is not what autograd
            gives, and for vectors of another shape.
        ObjectiveError: for a scope that matches nothing.

    >>> bowl = Objective.from_function(lambda x: (x * x).sum(-1) / 2, torch.zeros(2, dtype=torch.float64))
    >>> Hessian(bowl) @ torch.tensor([1.0, 2.0], dtype=torch.float64)
    tensor([1., 2.], dtype=torch.float64)
    """

    kind = HessianGraph
    name = "hessian"

    def __init__(
        self,
        objective: Objective,
        *,
        scope: str | None = None,
        metric: str = "identity",
        memory: int | None = None,
        check: bool = True,
        derivative: str = "autograd",
    ) -> None:
        super().__init__(objective, scope=scope, metric=metric, memory=memory, check=check)
        if derivative not in DERIVATIVES:
            raise CurvatureError(f"derivative={derivative!r} is not known. Pass one of {', '.join(DERIVATIVES)}.")
        self._autograd = derivative == "autograd"
        self._differences = None if self._autograd else GradientDifferences(objective, self.scope.ranges)
        self.difference_error = 0.0
        if self._differences is not None:
            self._width = 1

    @property
    def notes(self) -> tuple[str, ...]:
        if self._autograd:
            return ()
        error = f"two step sizes differ by up to {self.difference_error:.1g} of a product"
        return (f"products come from differences of gradients: {error}",)

    def describe(self) -> dict[str, Any]:
        return super().describe() if self._autograd else {**super().describe(), "derivative": "difference"}

    def _add_products(self, steps: Tensor, batches: Sequence[int], out: Tensor) -> None:
        if self._differences is None:
            return super()._add_products(steps, batches, out)
        for target, step in zip(out, steps, strict=True):
            product, error = self._differences.product(step, batches)
            target += product
            self.difference_error = max(self.difference_error, error)
        return None

    def _forms_of(self, vectors: Tensor, batches: Sequence[int]) -> Tensor:
        if not self._autograd or self.holding.ranks > 1:
            return self._forms_by_products(vectors, batches)
        steps = self._steps(vectors)
        out = steps.new_zeros(len(steps), dtype=torch.float64)
        with self._differentiating():
            for batch in batches:
                tape = self._graphs.tape(batch) if self._width == 1 else None
                if tape is None:  # small nets run many vectors together, which a tape cannot
                    return super()._forms_of(vectors, batches)
                out += torch.stack([tape.form(self._graphs.split(step)) for step in steps])
        return out / self._terms


class GaussNewton(_Curvature):
    """G = sum over samples of J^T H_L J / number of terms, as an operator: the Hessian without the model's curvature.

    J is the Jacobian of the predictions by the parameters, H_L the Hessian of the loss by the predictions (Schraudolph
    2002). G is positive semi-definite if the loss is convex in the predictions. For cross-entropy it is the Fisher
    information. A quadratic form costs half of a product.

    Args:
        objective, scope, metric, memory, check: as for :class:`Hessian`.

    Raises:
        CurvatureError: as for :class:`Hessian`, and for an objective without predictions: a plain function of the
            parameters, or a loss that the model computes itself.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> G = GaussNewton(Objective(model, (torch.tensor([[1.0], [3.0]]), torch.zeros(2)), "mse"))
    >>> G @ torch.ones(1)  # 2 · mean of x²
    tensor([10.])
    """

    kind = GaussNewtonGraph
    name = "ggn"

    def _check_kind(self, objective: Objective) -> None:
        if not isinstance(objective.program, ModelProgram) or objective.loss_name == "model":
            raise CurvatureError(
                "the Gauss-Newton matrix needs a model's predictions and a loss of (predictions, target); this "
                "objective gives the loss alone. Use `Hessian`, or a loss such as cross_entropy."
            )
