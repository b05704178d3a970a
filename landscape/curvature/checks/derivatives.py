"""Whether autograd differentiates the loss that is measured: its derivatives against differences.

Autograd and the forward pass part ways without a word: reentrant checkpoints and blocks under ``no_grad`` lose
gradients, ``detach`` and straight-through rounding change them, and a rule for a second derivative may be wrong. So
before a curvature is returned, on a few samples, in float64 if the model runs in it, at theta and at a point near it:

- gradient: its product with a random direction v against (L(+h) - L(-h)) / 2h
- product H v: against (g(+h) - g(-h)) / 2h, tensor by tensor

A derivative passes as soon as it agrees with the difference of one step size. It fails if differences of two step
sizes, ahead and behind, agree with each other and not with autograd, for two directions. If neither holds, as on the
kink of a ReLU net, nothing is claimed.

Cost of a check that passes: 24 forward passes over the few samples, or what they are worth in backward passes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.curvature.autograd.graphs import Graph, differentiating
from landscape.curvature.checks.few_samples import FewSamples
from landscape.curvature.checks.suspects import likely_causes
from landscape.errors import CurvatureError, type_and_line
from landscape.objective import Layout

_NEAR = 0.01  # distance from theta to the second point, relative to each tensor
_TOLERANCE = 1e-3  # relative difference between autograd and differences that passes
_RESOLVED = 0.2  # the differences must agree with each other this much better than with autograd to prove it wrong
_ROUNDINGS = 64  # a sum over a net is off by up to about this many roundings
_LEAST_SCALE = 1e-2  # a tensor of zeros moves by this share of the mean size of all entries
_DIRECTIONS = 3  # tried at a point before nothing is claimed
_CONFIRMED = 2  # directions along which a derivative must fail
_SHOWN = 4  # tensors named in an error
#: steps relative to the size of each tensor, for the gradient and for the product, by how finely the loss is computed
_GRADIENT_STEPS = {"float64": (1e-5, 1e-6, 1e-7), "float32": (3e-2, 1e-2)}
_PRODUCT_STEPS = {"float64": (1e-7, 1e-8, 1e-9), "float32": ()}
_COARSE = 1e-6  # relative rounding above which a loss is too coarse for any of these steps


@dataclass(frozen=True)
class Disagreement:
    """Where autograd and differences disagree: positions of the tensors, and the two values for the worst of them."""

    where: list[int]
    autograd: float
    difference: float


class Moving:
    """The tensors in scope and how to step along them.

    Args:
        few: the samples.
        layout: of theta.
        ranges: (start, stop) of the entries in scope.

    Attributes:
        ranges: as given.
        moves: for each tensor, whether it is in scope.
        names: of the tensors in scope.
    """

    def __init__(self, few: FewSamples, layout: Layout, ranges: Sequence[tuple[int, int]]) -> None:
        theta, self._shapes, self.ranges = few.theta, few.shapes, ranges
        if len(self._shapes) < len(layout.entries):  # a function takes the whole vector
            layout = Layout.from_shapes({"theta": tuple(theta.shape)})
        entries = layout.entries
        self.moves = [any(a < entry.stop and entry.start < b for a, b in ranges) for entry in entries]
        self.names = [entry.name for entry, moving in zip(entries, self.moves, strict=True) if moving]
        self._theta, self._sizes = theta, [entry.size for entry in entries]
        mean = float(theta.square().mean().sqrt()) or 1.0
        sizes = [float(piece.norm()) / max(len(piece), 1) ** 0.5 for piece in theta.split(self._sizes)]
        least = _LEAST_SCALE * mean
        self._scales = [max(size, least) if moving else 0.0 for size, moving in zip(sizes, self.moves, strict=True)]

    def direction(self, number: int) -> Tensor:
        """Return a random direction, shape (D,): each tensor in scope moves by about its own size."""
        generator = torch.Generator().manual_seed(number)
        out = torch.zeros_like(self._theta)
        for piece, scale in zip(out.split(self._sizes), self._scales, strict=True):
            if scale:
                piece.copy_(torch.randn(len(piece), generator=generator, dtype=torch.float32)).mul_(scale)
        return out

    def split(self, vector: Tensor) -> list[Tensor]:
        """Return the pieces of a vector, shape (D,), that belong to the tensors in scope, in their shapes."""
        pieces = zip(vector.split(self._sizes), self._shapes, self.moves, strict=True)
        return [piece.view(shape) for piece, shape, moving in pieces if moving]


def check_derivatives(
    few: FewSamples, layout: Layout, ranges: Sequence[tuple[int, int]], *, products: bool = True
) -> tuple[str, ...]:
    """Compare autograd's gradient and its products with differences, on a few samples at theta and near it.

    Args:
        few: the samples.
        layout: of theta.
        ranges: (start, stop) of the entries to differentiate by; a tensor that they touch is taken whole.
        products: also check products with the second derivative.

    Returns:
        Notes: what could not be checked.

    Raises:
        CurvatureError: if autograd's gradient or product is not the derivative; it says which, and the likely cause.
    """
    if few.eps > _COARSE:
        return ("autograd was not compared with differences: the model computes in a dtype too coarse for them",)
    precision = "float64" if few.eps <= torch.finfo(torch.float64).eps else "float32"
    moving = Moving(few, layout, ranges)
    with few.running(), differentiating():
        for place, offset in (("at the trained point", 0.0), ("near the trained point", _NEAR)):
            point = few.theta if not offset else few.theta + offset * moving.direction(0)
            wrong = _check_gradient(few, point, moving, _GRADIENT_STEPS[precision])
            if wrong is not None:
                raise _gradient_error(few, moving, place, wrong)
            if products and _PRODUCT_STEPS[precision]:
                wrong = _check_product(few, point, moving, _PRODUCT_STEPS[precision])
                if wrong is not None:
                    raise _product_error(few, moving, place, wrong)
    return ()


def why_apart(few: FewSamples, layout: Layout, ranges: Sequence[tuple[int, int]], kind: type[Graph]) -> str:
    """Say why two vectors cannot be multiplied together, or return "" if they can, with the same products."""
    moving = Moving(few, layout, ranges)
    with few.running(), differentiating():
        graph = few.graph(few.theta, ranges, kind)
        pair = [moving.split(moving.direction(number)) for number in (1, 2)]
        singles = [graph.product(vectors, together=False) for vectors in pair]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about operations without a batching rule: slower, but right
                joint = graph.product([torch.stack(both) for both in zip(*pair, strict=True)], together=True)
        except Exception as error:
            return type_and_line(error)
    same = [
        (a is None) == (both is None) and (both is None or torch.allclose(both, torch.stack([a, b]), 1e-3, 1e-6))
        for both, a, b in zip(joint, *singles, strict=True)
    ]
    return "" if all(same) else "together they give other numbers"


def _check_gradient(few: FewSamples, point: Tensor, moving: Moving, steps: Sequence[float]) -> Disagreement | None:
    """Compare gradient · v with differences of the loss."""
    gradient = few.gradient(point, moving.moves)

    def compare_along(v: Tensor) -> tuple[bool, Disagreement | None]:
        terms = [slope * step for slope, step in zip(gradient, moving.split(v), strict=True)]
        slope = sum((term.sum() for term in terms), start=point.new_zeros(()))
        size = sum((term.square().sum() for term in terms), start=point.new_zeros(())).sqrt()
        return _compare(lambda t: [few.loss(point + t * v)], [slope.double()], [float(size)], steps, few.eps)

    return _decide(compare_along, moving)


def _check_product(few: FewSamples, point: Tensor, moving: Moving, steps: Sequence[float]) -> Disagreement | None:
    """Compare H v with differences of the gradient."""

    def compare_along(v: Tensor) -> tuple[bool, Disagreement | None]:
        vectors = moving.split(v)
        product = few.graph(point, moving.ranges).product(vectors, together=False)
        claimed = [torch.zeros_like(v) if p is None else p for p, v in zip(product, vectors, strict=True)]
        return _compare(
            lambda t: few.gradient(point + t * v, moving.moves), claimed, [0.0] * len(claimed), steps, few.eps
        )

    return _decide(compare_along, moving)


def _decide(compare_along: Callable[[Tensor], tuple[bool, Disagreement | None]], moving: Moving) -> Disagreement | None:
    """Try directions until one agrees or enough of them prove a disagreement."""
    proofs = 0
    for number in range(1, _DIRECTIONS + 1):
        agrees, wrong = compare_along(moving.direction(number))
        if agrees:
            return None
        proofs += wrong is not None
        if wrong is not None and proofs == _CONFIRMED:
            return wrong
    return None


def _compare(
    function: Callable[[float], list[Tensor]],
    claimed: list[Tensor],
    sizes: list[float],
    steps: Sequence[float],
    eps: float,
) -> tuple[bool, Disagreement | None]:
    """Compare a derivative with differences of the function that it is the derivative of.

    Args:
        function: step -> tensors at this step along the direction.
        claimed: their derivatives as autograd gives them.
        sizes: the size of each that counts as its scale, if larger than its value.
        steps: step sizes, descending.
        eps: relative rounding of the function.

    Returns:
        (whether they agree, the disagreement if differences prove it). Neither holds if differences do not converge.
    """
    centre = function(0.0)
    whole = float(torch.stack([item.double().norm() for item in centre]).norm())
    earlier: list[Tensor] | None = None
    agreed = [False] * len(claimed)
    for h in steps:
        ahead, behind = function(h), function(-h)
        quotients = [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]
        everything = max(float(torch.stack([x.double().norm() for x in q]).norm()) for q in (quotients, claimed))
        wrong: list[int] = []
        for i, (quotient, value) in enumerate(zip(quotients, claimed, strict=True)):
            off = float((quotient - value).norm())
            size = max(float(quotient.norm()), float(value.norm()), sizes[i], _TOLERANCE * everything)
            floor = _ROUNDINGS * eps * (float(centre[i].norm()) + _TOLERANCE * whole) / h
            agreed[i] |= off <= _TOLERANCE * size + floor
            if earlier is not None and not agreed[i]:
                one_sided = float((ahead[i] - 2 * centre[i] + behind[i]).norm()) / h
                spread = max(one_sided, float((quotient - earlier[i]).norm()))
                wrong += [i] * (spread <= _RESOLVED * off)
        if all(agreed):
            return True, None
        if wrong:
            worst = max(wrong, key=lambda i: float((quotients[i] - claimed[i]).norm()))
            return False, Disagreement(wrong, _shown(claimed[worst]), _shown(quotients[worst]))
        earlier = quotients
    return False, None


def _shown(item: Tensor) -> float:
    return float(item) if item.numel() == 1 else float(item.norm())


def _gradient_error(few: FewSamples, moving: Moving, place: str, wrong: Disagreement) -> CurvatureError:
    return CurvatureError(
        f"autograd's gradient is not the derivative of the measured loss: {place}, along a random direction, it gives "
        f"{wrong.autograd:.4g} and differences of the loss give {wrong.difference:.4g} (two step sizes agree).\n"
        f"{likely_causes(few, moving.moves)}\n{_SKIP}"
    )


def _product_error(few: FewSamples, moving: Moving, place: str, wrong: Disagreement) -> CurvatureError:
    names = [moving.names[i] for i in wrong.where]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return CurvatureError(
        f"autograd's product H v is not the derivative of its gradient: {place}, along a random direction, its norm "
        f"for {', '.join(names[:_SHOWN])}{more} is {wrong.autograd:.4g}, and differences of the gradient give "
        f"{wrong.difference:.4g} (two step sizes agree).\n"
        f"{likely_causes(few, moving.moves, second=True)}\n"
        "`derivative='difference'` takes products from differences of the gradient. " + _SKIP
    )


_SKIP = "`check=False` skips this check; the numbers are then those of autograd."
