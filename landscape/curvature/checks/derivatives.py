"""Whether autograd differentiates the loss that is measured: its derivatives against differences.

Autograd and the forward pass part ways without a word: blocks under ``no_grad`` lose gradients, ``detach`` and
straight-through rounding change them, and a rule for a second derivative may be wrong. So before a curvature is
returned, on a few samples, in float64 if the model runs in it, at theta and at a point near it:

- gradient: its product with a random direction v against (L(+h) - L(-h)) / 2h
- product H v: against (g(+h) - g(-h)) / 2h, tensor by tensor

A derivative passes as soon as it agrees with the quotient of one step size. It fails if the quotients of several step
sizes agree with each other and not with autograd, along two directions (:mod:`.differences`). If neither holds, as at
the kink of a ReLU net, nothing is claimed. Where a net is so sure of every sample that its loss is rounding, points
further away are tried.

Cost of a check that passes: what 40 forward passes of the few samples cost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.curvature.autograd.graphs import Graph, differentiating
from landscape.curvature.checks.differences import TOLERANCE, Comparison, Outcome, compare
from landscape.curvature.checks.few_samples import FewSamples
from landscape.curvature.checks.suspects import SKIP, likely_causes
from landscape.errors import CurvatureError, type_and_line
from landscape.objective import Layout

_OFFSETS = (0.0, 0.01, 0.1, 0.5)  # distances from theta to the points, relative to each tensor
_FAR = (1.0, 4.0)  # there a net is sure of nothing
_ROUNDINGS = 64  # a sum over a net is off by up to about this many roundings of its terms
_CANCELLED = 30.0  # how much larger the terms of a gradient may be than the gradient
_SATURATED = 1e-3  # a gradient smaller than this share of those further away may be rounding
_LEAST_SCALE = 1e-2  # a tensor of zeros moves by this share of the mean size of all entries
_DIRECTIONS = 3  # tried at a point before nothing is claimed
_CONFIRMED = 2  # directions along which a derivative must fail
SATURATED = (
    "the net is so sure of its samples that gradients at the trained point are rounding, and so are second derivatives"
)
_SHOWN = 4  # tensors named in an error
#: relative rounding up to which a loss counts as computed in float64, and in float32
_DOUBLE, _SINGLE = 1e-15, 1e-6
#: steps relative to the size of each tensor. A jump of a rounded weight shows at the smallest, if at all
_GRADIENT_STEPS = (1e-4, 1e-6, 1e-8, 1e-9, 1e-10)
_GRADIENT_STEPS_SINGLE = (3e-2, 1e-2)
_PRODUCT_STEPS = (1e-7, 1e-8, 1e-9)  # small: a net of 10^6 ReLUs has a kink in every step of 10^-6
_PRODUCT_STEPS_AT_THETA = (1e-4, 1e-6, 1e-8)  # must all agree: near a perfect fit small steps see rounding only


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
    if few.eps > _SINGLE:
        return ("autograd was not compared with differences: the model computes in a dtype too coarse for them",)
    products = products and few.eps <= _DOUBLE
    moving = Moving(few, layout, ranges)
    away = moving.direction(0)
    notes: tuple[str, ...] = ()
    with few.running(), differentiating():
        for offset in _OFFSETS:
            point = few.theta + offset * away if offset else few.theta
            gradient = few.gradient(point, moving.moves)
            found = _check_gradient(few, point, moving, gradient)
            if found.outcome is Outcome.WRONG:
                raise _gradient_error(few, moving, offset, found)
            heard = found.outcome is Outcome.AGREES
            if products:
                found = _check_product(few, point, moving, gradient, wide=not offset)
                wrong = found.outcome is Outcome.WRONG
                saturated = wrong and _saturated(few, moving, offset, gradient, found)
                if wrong and not saturated and (heard or not offset):
                    raise _product_error(few, moving, offset, found)
                if saturated and not offset:
                    notes = (SATURATED,)
                heard = heard and not wrong
            if offset and heard:
                break
    return notes


def why_apart(few: FewSamples, layout: Layout, ranges: Sequence[tuple[int, int]], kind: type[Graph]) -> str:
    """Say why two vectors cannot be multiplied together, or return "" if they can, with the same products."""
    moving = Moving(few, layout, ranges)
    with few.running(), differentiating(without_rules=kind.without_rules):
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


def _check_gradient(few: FewSamples, point: Tensor, moving: Moving, gradient: list[Tensor]) -> Comparison:
    """Compare gradient · v with differences of the loss."""
    steps = _GRADIENT_STEPS if few.eps <= _DOUBLE else _GRADIENT_STEPS_SINGLE
    rounding = _ROUNDINGS * few.eps * few.magnitude
    centre = few.loss(point)

    def along(v: Tensor) -> Comparison:
        terms = [slope * step for slope, step in zip(gradient, moving.split(v), strict=True)]
        slope = torch.stack([term.sum(dtype=torch.float64) for term in terms]).sum()
        scale = float(torch.stack([term.double().norm() for term in terms]).norm())
        return compare(
            lambda t: [few.loss(point + t * v)],
            [slope],
            centre=[centre],
            scales=[scale],
            rounding=[rounding],
            steps=steps,
            plateau=2,
        )

    return _decide(along, moving)


def _check_product(few: FewSamples, point: Tensor, moving: Moving, gradient: list[Tensor], *, wide: bool) -> Comparison:
    """Compare H v with differences of the gradient; ``wide``: prove a disagreement by large steps too."""
    sizes = [float(slope.norm()) for slope in gradient]
    whole = TOLERANCE * max(sizes)
    rounding = [_ROUNDINGS * few.eps * _CANCELLED * (size + whole) for size in sizes]

    def along(v: Tensor) -> Comparison:
        vectors = moving.split(v)
        product = few.graph(point, moving.ranges).product(vectors, together=False)
        products = [torch.zeros_like(v) if p is None else p for p, v in zip(product, vectors, strict=True)]
        return compare(
            lambda t: few.gradient(point + t * v, moving.moves),
            products,
            centre=gradient,
            scales=[0.0] * len(products),
            rounding=rounding,
            steps=_PRODUCT_STEPS_AT_THETA if wide else _PRODUCT_STEPS,
            plateau=3 if wide else 2,
        )

    return _decide(along, moving)


def _decide(along: Callable[[Tensor], Comparison], moving: Moving) -> Comparison:
    """Try directions until one says that derivatives agree, or enough of them that they do not."""
    proofs: list[Comparison] = []
    for number in range(1, _DIRECTIONS + 1):
        found = along(moving.direction(number))
        if found.outcome in (Outcome.AGREES, Outcome.SILENT):
            return found
        proofs += [found] * (found.outcome is Outcome.WRONG)
        if len(proofs) == _CONFIRMED:
            return found
    return Comparison(Outcome.UNRESOLVED)


def _saturated(few: FewSamples, moving: Moving, offset: float, gradient: list[Tensor], found: Comparison) -> bool:
    """Return whether the gradient is so much smaller than further away that it may be the rounding of its terms.

    At the trained point the gradient may also be 0 because the loss is lowest there. So there its change must be small
    too: no more than the rounding of the terms divided by the smallest step.
    """
    size, share = max(float(slope.norm()) for slope in gradient), _SATURATED
    if not offset:
        size = max(size, found.derivative, found.difference)
        share = _ROUNDINGS * few.eps / min(_PRODUCT_STEPS_AT_THETA)
    away = moving.direction(0)  # along it a net may become surer still, and then not against it
    distances = [sign * other for other in (*_OFFSETS, *_FAR) if other > offset for sign in (1, -1)]
    further = (few.theta + distance * away for distance in distances)
    return any(size < share * float(g.norm()) for point in further for g in few.gradient(point, moving.moves))


def _gradient_error(few: FewSamples, moving: Moving, offset: float, found: Comparison) -> CurvatureError:
    return CurvatureError(
        f"autograd's gradient is not the derivative of the measured loss. {_place(offset)}, along a random direction, "
        f"it gives {found.derivative:.4g}, and differences of the loss give {found.difference:.4g} (two step sizes "
        f"agree).\n{likely_causes(few, moving.moves)}\n{SKIP}"
    )


def _product_error(few: FewSamples, moving: Moving, offset: float, found: Comparison) -> CurvatureError:
    names = [moving.names[i] for i in found.where]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return CurvatureError(
        f"autograd's product H v is not the derivative of its gradient. {_place(offset)}, along a random direction, "
        f"its norm for {', '.join(names[:_SHOWN])}{more} is {found.derivative:.4g}, and differences of the gradient "
        f"give {found.difference:.4g} (two step sizes agree).\n"
        f"{likely_causes(few, moving.moves, second=True)}\n"
        "`derivative='difference'` takes products from differences of the gradient. " + SKIP
    )


def _place(offset: float) -> str:
    return "Near the trained point" if offset else "At the trained point"
