"""The Hessian and the Gauss-Newton matrix of an objective at the trained point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.curvature.autograd.differences import KINKS, USELESS, GradientDifferences
from landscape.curvature.autograd.graphs import GaussNewtonGraph, HessianGraph
from landscape.curvature.second_derivative import SecondDerivative
from landscape.errors import CurvatureError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram

DERIVATIVES = ("autograd", "difference")  #: where products with the Hessian come from


class Hessian(SecondDerivative):
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
            can differentiate only once. A product then costs four gradients, and up to twelve if kinks are near.

    Attributes:
        difference_error: of products by differences: the largest so far, relative to the product. It is an estimate
            (:class:`landscape.curvature.autograd.differences.GradientDifferences`).
        form_error: of quadratic forms by differences: the largest so far.

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
        lean = derivative == "autograd"
        super().__init__(objective, scope=scope, metric=metric, memory=memory, check=check, lean=lean)
        if derivative not in DERIVATIVES:
            raise CurvatureError(f"derivative={derivative!r} is not known. Pass one of {', '.join(DERIVATIVES)}.")
        self._differences = None if lean else GradientDifferences(objective, self.scope.ranges, self._read)
        self.difference_error = 0.0
        self._form_sizes: dict[tuple[int, ...], tuple[float, float]] = {}  # batches -> largest error, largest form
        if self._differences is not None:
            self._width = 1

    @property
    def form_error(self) -> float:
        return self._worst_forms()[0]

    def _worst_forms(self) -> tuple[float, float]:
        """Return the largest error of quadratic forms, and the size of the largest form."""
        if not self._form_sizes:
            return 0.0, 0.0
        # either over all batches, or batch by batch; then their sum is what counts
        single = [sizes for batches, sizes in self._form_sizes.items() if len(batches) == 1]
        both = [(sum(error for error, _ in single), sum(size for _, size in single)), *self._form_sizes.values()]
        error, size = max(both)
        return error / self._terms, size / self._terms

    @property
    def notes(self) -> tuple[str, ...]:
        if self._differences is None:
            return ()
        arithmetic = "float64" if self._differences.double else str(self.objective.dtype).removeprefix("torch.")
        form_error, largest = self._worst_forms()
        words = []
        if self.difference_error:
            words.append(f"the error of a product is up to {self.difference_error:.1g} of its size")
        if self._form_sizes:
            words.append(f"the error of a quadratic form is up to {form_error:.1g}, and the largest is {largest:.2g}")
        said = f"products come from differences of gradients in {arithmetic}"
        said += f": {'; '.join(words)}" if words else ""
        useless = self.difference_error > USELESS or form_error > USELESS * largest
        return (said + (f". {KINKS}" if useless else ""),)

    def describe(self) -> dict[str, Any]:
        return super().describe() if self._differences is None else {**super().describe(), "derivative": "difference"}

    def _add_products(self, steps: Tensor, batches: Sequence[int], out: Tensor) -> None:
        if self._differences is None:
            return super()._add_products(steps, batches, out)
        for target, step in zip(out, steps, strict=True):
            product, error = self._differences.product(step, batches)
            target += product
            self.difference_error = max(self.difference_error, error)
        return None

    def _read(self, product: Tensor) -> Tensor:
        """Return a product of parameter space, (D,), in the coordinates of the metric, (n,)."""
        read = self.scope.gather(product)
        return read if self.metric.scale is None else read * self.metric.scale

    def _forms_of(self, vectors: Tensor, batches: Sequence[int]) -> Tensor:
        if self._differences is not None:
            return self._forms_by_differences(self._differences, vectors, batches)
        if self.lean or self.holding.ranks > 1:
            return super()._forms_of(vectors, batches)
        steps = self._steps(vectors)
        out = steps.new_zeros(len(steps), dtype=torch.float64)
        with self._differentiating():
            for batch in batches:
                tape = self._graphs.tape(batch) if self._width == 1 else None
                if tape is None:  # small nets run many vectors together, which a tape cannot
                    return super()._forms_of(vectors, batches)
                out += torch.stack([tape.form(self._graphs.split(step)) for step in steps])
        return out / self._terms

    def _forms_by_differences(
        self, differences: GradientDifferences, vectors: Tensor, batches: Sequence[int]
    ) -> Tensor:
        forms, key = [], tuple(batches)
        with self._differentiating():
            for vector in vectors.T:
                form, error = differences.form(vector, self._steps(vector[:, None])[0], batches)
                worst, largest = self._form_sizes.get(key, (0.0, 0.0))
                self._form_sizes[key] = max(worst, error), max(largest, abs(form))
                forms.append(form)
        return torch.tensor(forms, dtype=torch.float64, device=self.device) / self._terms


class GaussNewton(SecondDerivative):
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


OPERATORS: dict[str, type[Hessian] | type[GaussNewton]] = {each.name: each for each in (Hessian, GaussNewton)}


def operator_named(
    name: str, objective: Objective, *, metric: str, check: bool = True, derivative: str = "autograd"
) -> Hessian | GaussNewton:
    """Return the operator ``hessian`` or ``ggn`` of an objective.

    Args:
        name: ``hessian`` or ``ggn``.
        objective, metric, check, derivative: as for :class:`Hessian`.

    Raises:
        CurvatureError: if the name is unknown, or if the Gauss-Newton matrix shall come from differences.

    >>> square = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2))
    >>> operator_named("hessian", square, metric="identity") @ torch.ones(2)
    tensor([2., 2.])
    """
    if name not in OPERATORS:
        raise CurvatureError(f"the curvature {name!r} is not known. Pass one of {', '.join(OPERATORS)}.")
    if name == Hessian.name:
        return Hessian(objective, metric=metric, check=check, derivative=derivative)
    if derivative != "autograd":
        raise CurvatureError("the Gauss-Newton matrix comes from autograd alone. Leave `derivative=...` out.")
    return GaussNewton(objective, metric=metric, check=check)
