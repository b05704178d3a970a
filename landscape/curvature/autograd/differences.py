"""Products with the Hessian from differences of gradients, for operations that torch can differentiate only once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.curvature.autograd.gradient import gradient_of, moving_leaves, total_and_gradient
from landscape.curvature.autograd.in_double import InDouble, Seen, doubled, fits_in_double, require_same_loss
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.holding import Holding

PLACE = "around the trained point"
USELESS = 0.5  #: a product whose error is a larger share of it says nothing
KINKS = (
    "Do not use it: at every step size that the arithmetic resolves, the differences hold jumps of the gradient, as at "
    "the kinks of a ReLU net, or rounding alone"
)
_SHRINK = 16.0  # each step is so much smaller than the one before
_STEPS = 6  # at most. In float64 the last is 10^-11 of theta: nets of 10^10 ReLUs have few kinks in it
_EXPLAINED = 3.0  # times its rounding: two quotients that are so close agree
_MARGIN = 2.0  # times a distance between quotients: kinks that lie in all steps alike do not show in it
_NEAR = 0.75  # power of eps: a relative step in which every operation rounds in another way, and few kinks lie
_CASTS = 3  # roundings of step and product in their own dtype, and in the coordinates of a metric
_LIMITED = 2  # vectors in float64 may take one part in so many of a memory budget


@dataclass(frozen=True)
class Quotient:
    """(g(theta + t v) - g(theta - t v)) / 2t, and by how much the rounding of gradients may move it."""

    value: Tensor
    rounding: float


def best_of(quotients: Iterable[Quotient], size: Callable[[Tensor], float]) -> tuple[float, list[Quotient]]:
    """Return the error of the best of some quotients of ever smaller steps, and the list of it and all after it.

    The error of a quotient is its largest distance to those of smaller steps, plus the rounding of the next one. The
    distance holds the third derivative, and the kinks that lie in one step and not in the other. Kinks by which all
    quotients are off alike do not show in any distance, so what is returned is twice the distance, plus the rounding.
    No smaller step is tried once two neighbours agree to their rounding, or once rounding is larger than the error of
    the best.

    Args:
        quotients: at least two.
        size: difference of two quotients -> its length.
    """
    tried: list[Quotient] = []
    apart: list[float] = []  # the largest distance of each to those after it
    for last in quotients:
        apart = [max(far, size(one.value - last.value)) for far, one in zip([*apart, 0.0], tried, strict=False)]
        tried.append(last)
        if len(tried) < 2:
            continue
        errors = [far + after.rounding for far, after in zip(apart, tried[1:], strict=True)]
        if apart[-1] <= _EXPLAINED * last.rounding or last.rounding > min(errors):
            break
    best = min(range(len(errors)), key=errors.__getitem__)
    return _MARGIN * apart[best] + tried[best + 1].rounding, tried[best:]


class GradientDifferences:
    """H v from differences of gradients, with an error that holds third derivative, rounding and kinks.

    Between two kinks of a ReLU net the gradient is smooth. At a kink it jumps. Quotients over many kinks agree with
    each other, but not with H: they hold the kinks too. So gradients are taken in float64 if the model runs in it, and
    steps shrink until no kink lies in them (:func:`best_of`). The first step is |t v| = ∛eps |theta|, with the eps of
    the arithmetic: it balances rounding and third derivative.

    The rounding of gradients is measured too, by a second difference along a step so short that nothing else shows.

    Call all methods while the objective is running.

    Args:
        objective: the loss around the trained point.
        ranges: (start, stop) of the entries to differentiate by.
        read: what is wanted of a vector, (D,) -> (n,); an error is relative to the length of that.

    Attributes:
        double: whether gradients are taken in float64; None before the first.
    """

    def __init__(
        self,
        objective: Objective,
        ranges: Sequence[tuple[int, int]],
        read: Callable[[Tensor], Tensor] = torch.Tensor.detach,
    ) -> None:
        self._program, self._theta, self._read = objective.program, objective.theta, read
        with objective.running():
            self._sizes, self._moves = moving_leaves(self._program, self._theta, ranges)
        self._holding = objective.layout.holding
        self._length = self._norm(self._theta) or 1.0
        self._eps = max(torch.finfo(entry.dtype).eps for entry in objective.layout.entries)
        limit = objective.plan.limit
        self._may_double = fits_in_double(self._program, self._theta, None if limit is None else limit // _LIMITED)
        self.double: bool | None = None
        self._noise: dict[tuple[int, ...], float] = {}

    def product(self, step: Tensor, batches: Sequence[int]) -> tuple[Tensor, float]:
        """Return the product of a step, (D,), with the sum of these batches' totals, (D,), and its relative error."""
        if not self._norm(step):
            return torch.zeros_like(step), 0.0
        error, (best, *_) = self._quotients(self._theta, step, batches)
        size = self._size(best.value)
        return best.value.to(step.dtype), (error / size if size else 0.0) + _CASTS * torch.finfo(step.dtype).eps

    def form(
        self, vector: Tensor, step: Tensor, batches: Sequence[int], *, at: Tensor | None = None
    ) -> tuple[float, float]:
        """Return vector · read(product of the step), and its absolute error.

        Args:
            vector: shape (n,).
            step: shape (D,).
            batches: their numbers.
            at: the point, shape (D,); by default theta.
        """
        length, wide = self._norm(vector), vector.double()
        if not length:
            return 0.0, 0.0
        _, (best, *later) = self._quotients(self._theta if at is None else at, step, batches)
        value, *others = (
            float(self._holding.total((wide * self._read(each.value).double()).sum())) for each in (best, *later)
        )
        rounding = best.rounding + _CASTS * torch.finfo(step.dtype).eps * self._size(best.value)
        return value, _MARGIN * max(abs(value - other) for other in others) + length * rounding

    def _quotients(self, point: Tensor, step: Tensor, batches: Sequence[int]) -> tuple[float, list[Quotient]]:
        """Return what :func:`best_of` says of the quotients at a point."""
        if self.double is None:
            self._choose_arithmetic(batches[0])
        reach = self._eps ** (1 / 3) * self._length / self._norm(step)
        with self._arithmetic():
            noise = self._noise_at(point, batches)
            point, step = self._wide(point), self._wide(step)
            steps = (reach / _SHRINK**i for i in range(_STEPS))
            return best_of((self._quotient(point, step, t, batches, noise) for t in steps), self._size)

    def _quotient(self, point: Tensor, step: Tensor, t: float, batches: Sequence[int], noise: float) -> Quotient:
        ahead, behind = (self._gradient(point + sign * t * step, batches) for sign in (1, -1))
        # no gradient is known better than to its last digit
        least = torch.finfo(ahead.dtype).eps * self._size(ahead)
        return Quotient((ahead - behind).div_(2 * t), max(noise, least) / (2 * t))

    def _noise_at(self, point: Tensor, batches: Sequence[int]) -> float:
        """Return the length of the rounding of the difference of two gradients near a point, from a second difference.

        Along a short random step the gradient is a straight line up to its rounding.
        """
        known, key = point is self._theta, tuple(batches)
        if known and key in self._noise:
            return self._noise[key]
        point = self._wide(point)
        signs = torch.randint(0, 2, point.shape, generator=torch.Generator().manual_seed(0)).to(point) - 0.5
        step = torch.finfo(point.dtype).eps ** _NEAR * signs * point
        ahead, behind = (self._gradient(point + sign * step, batches) for sign in (1, -1))
        bend = ahead.add_(behind).sub_(self._gradient(point, batches), alpha=2)
        # its variance is that of six roundings; the difference of two gradients has that of two
        noise = self._size(bend) / math.sqrt(3)
        if known:
            self._noise[key] = noise
        return noise

    def _gradient(self, point: Tensor, batches: Sequence[int]) -> Tensor:
        """Return the gradient of the batches' totals, shape (D,); 0 for tensors out of scope."""
        out = torch.zeros_like(point)
        for batch in batches:
            program, index = (_alone(self._program, batch), 0) if self.double else (self._program, batch)
            slopes = iter(gradient_of(program, point, index, self._moves, PLACE))
            for piece, moves in zip(out.split(self._sizes), self._moves, strict=True):
                if moves:
                    piece += next(slopes).reshape(-1)
        return out

    def _choose_arithmetic(self, batch: int) -> None:
        """Decide for float64 if the gradient of a batch can be taken in it, and is one of the same loss."""
        self.double = False
        if not self._may_double:
            return
        seen = Seen()
        total, _ = total_and_gradient(self._program, self._theta, batch, self._moves, PLACE)
        try:
            with InDouble(seen):
                precise = _alone(self._program, batch)
                value, slopes = total_and_gradient(precise, self._theta.double(), 0, self._moves, PLACE)
            require_same_loss(self._program, self._theta, total, value)
        except Exception:  # whatever a model raises in float64: then its own dtype is used
            return
        if not all(bool(torch.isfinite(slope).all()) for slope in slopes):
            return
        self.double = True
        with self._arithmetic():
            stairs = not self._noise_at(self._theta, [batch])  # a part that torch does not see is in the narrow dtype
        if stairs:
            self.double = False
            self._noise.clear()
        else:
            self._eps = max(seen.eps, torch.finfo(torch.float64).eps)

    def _arithmetic(self) -> AbstractContextManager[object]:
        return InDouble(Seen(looking=False)) if self.double else nullcontext()

    def _wide(self, vector: Tensor) -> Tensor:
        return vector.double() if self.double else vector

    def _size(self, product: Tensor) -> float:
        return self._norm(self._read(product))

    def _norm(self, vector: Tensor) -> float:
        return _norm(vector, self._holding)


def _norm(vector: Tensor, holding: Holding) -> float:
    """Return the Euclidean length of a vector, of which ranks may hold parts."""
    if holding.ranks == 1:
        return float(vector.double().norm())
    return math.sqrt(float(holding.total(vector.double().square().sum())))


def _alone(program: Program, batch: int) -> Program:
    """Return a program in float64 whose only batch is this one."""
    if not isinstance(program, ModelProgram):
        return doubled(program)
    one = slice(batch, batch + 1)
    return doubled(program.with_batches(program.batches[one]).with_losses(program.losses[one]))
