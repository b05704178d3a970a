"""Random probe vectors, keyed by (seed, index), and products that are checked to be numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.operator import Operator
from landscape.errors import CurvatureError, check_count
from landscape.objective.holding import Values
from landscape.rays.directions import Drawn, check_seed
from landscape.rays.streams import Purpose, stream
from landscape.results import Cost

BLOCK_BYTES = 2**28  #: of one block of probes and of its product, each; an operator may split it further
_WORD = 64
_FILLED = 2**20  # entries of a large vector that are made at a time


def signs(seed: int, index: int, n: int, summand: int = 0) -> np.ndarray:
    """Return n independent fair signs, -1 or 1, int8, which depend on (seed, index, summand) alone.

    >>> bool(np.array_equal(signs(0, 7, 100), signs(0, 7, 200)[:100]))
    True
    """
    return sign_values(seed, index, n, summand)(0, n)


def sign_values(seed: int, index: int, n: int, summand: int = 0) -> Values:
    """Return the same signs for a reader that needs some of them: (start, stop) -> those there."""
    source = stream(Purpose.SIGN_PROBE, seed, index, part=summand).bit_generator
    bits = source.random_raw(-(-n // _WORD)).astype("<u8").view(np.uint8)

    def values(start: int, stop: int) -> np.ndarray:
        first = start // 8
        ones = np.unpackbits(bits[first : -(-stop // 8)], count=stop - 8 * first, bitorder="little")
        return 2 * ones[start - 8 * first :].astype(np.int8) - 1

    return values


def normals(seed: int, index: int, n: int) -> np.ndarray:
    """Return n independent standard normals, float32, which depend on (seed, index) alone."""
    return stream(Purpose.NORMAL_PROBE, seed, index).standard_normal(n, dtype=np.float32)


def normal_rows(seed: int, index: int, op: Operator) -> np.ndarray:
    """Return the rows of :func:`normals` that this process holds, shape (rows,)."""
    return op.pick(Drawn(stream(Purpose.NORMAL_PROBE, seed, index), op.size).values)


@dataclass(frozen=True)
class Probes:
    """The vectors z that probe a trace: tr A is the mean of weight · z . A z.

    Attributes:
        size: n.
        count: number of vectors.
        exact: whether they are the n unit vectors, which give the trace exactly, instead of random signs.
        seed: of the random signs.
    """

    size: int
    count: int
    exact: bool
    seed: int

    @classmethod
    def of(cls, op: Operator, count: int, seed: int) -> Probes:
        """Return ``count`` random probes for ``op``, or the n unit vectors if n <= count."""
        if check_operator(op).size > 1 and check_count("probes", count, 1, CurvatureError) < 2:
            raise CurvatureError(
                "one probe says nothing about its own error: a standard error needs a second one.\n"
                "Pass `probes=2` or more."
            )
        exact = op.size <= check_count("probes", count, 1, CurvatureError)
        return cls(op.size, op.size if exact else int(count), exact, check_seed(seed))

    @property
    def weight(self) -> float:
        """n for unit vectors, 1 for signs."""
        return float(self.size) if self.exact else 1.0

    def summands(self, op: Operator) -> Sequence[Operator]:
        """Return the operators to probe, each with its own vectors: the summands of ``op``.

        Unit vectors are the same for all summands, so ``op`` itself does.
        """
        return [op] if self.exact else op.summands()

    def block(self, start: int, stop: int, op: Operator, summand: int = 0) -> Tensor:
        """Return the probes with these indices as columns, shape (n, k), on the device and in the dtype of ``op``."""
        if self.exact:
            return columns_of([op.pick(partial(_unit, index)) for index in range(start, stop)], op)
        drawn = (sign_values(self.seed, index, self.size, summand) for index in range(start, stop))
        if op.lean:
            vectors = [_filled(values, op) for values in drawn]
            return vectors[0][:, None] if len(vectors) == 1 else torch.stack(vectors, dim=1)
        return columns_of([op.pick(values) for values in drawn], op)

    def gaussian_block(self, count: int, op: Operator) -> Tensor:
        """Return uniform points on the sphere of radius sqrt(n) as columns, shape (n, count)."""
        drawn = columns_of([normals(self.seed, index, self.size) for index in range(count)], op).double()
        return (drawn * (self.size**0.5 / drawn.norm(dim=0))).to(op.dtype)

    def spans(self, op: Operator) -> list[tuple[int, int]]:
        """Return the index range of each block of probes."""
        most = max(1, within_room(op, BLOCK_BYTES) // (self.size * op.dtype.itemsize))
        return [(start, min(start + most, self.count)) for start in range(0, self.count, most)]

    def error(self, samples: np.ndarray) -> np.ndarray:
        """Return the standard error of the mean over the first axis, one value per probe; 0 for unit vectors."""
        if self.exact:
            return np.zeros(samples.shape[1:])
        return np.std(samples, axis=0, ddof=1) / len(samples) ** 0.5


def _filled(values: Values, op: Operator) -> Tensor:
    """Return a vector, shape (n,), of values that are taken a few at a time."""
    out = torch.empty(op.rows, dtype=op.dtype, device=op.device)
    for start in range(0, op.rows, _FILLED):
        stop = min(start + _FILLED, op.rows)
        out[start:stop] = torch.from_numpy(values(start, stop))
    return out


def _unit(index: int, start: int, stop: int) -> np.ndarray:
    """Return some entries of a unit vector."""
    return (np.arange(start, stop) == index).astype(np.float32)


def within_room(op: Operator, most: int) -> int:
    """Return ``most`` bytes, or what a memory budget of the operator leaves for vectors if that is less."""
    return most if op.room is None else min(most, op.room)


def columns_of(rows: list[np.ndarray], op: Operator) -> Tensor:
    """Return vectors of shape (n,) as columns, shape (n, k), on the device and in the dtype of ``op``."""
    return torch.from_numpy(np.stack(rows)).to(device=op.device, dtype=op.dtype).T.contiguous()


def finite(product: Tensor, op: Operator) -> Tensor:
    """Return a product of ``op``; refuse NaN and infinity."""
    if not op.total((~torch.isfinite(product)).sum(dtype=torch.float64)):
        return product
    raise not_finite(op)


def not_finite(op: Operator) -> CurvatureError:
    """Return the error for products that hold NaN or infinity."""
    return CurvatureError(
        f"a product of the {op.describe().get('operator', type(op).__name__)} operator holds NaN or infinite entries, "
        "so its spectrum is not defined.\n"
        "The loss is not finite, or not twice differentiable, at the trained point. Likely causes are sqrt or log at "
        "0, and overflow in half precision. Check it there, use float64, or leave these parameters out of the scope."
    )


def check_operator(op: Operator) -> Operator:
    """Return ``op`` if it is an operator."""
    if isinstance(op, Operator):
        return op
    raise CurvatureError(
        f"expected an operator, not {type(op).__name__}.\n"
        "Pass landscape.Hessian(objective), landscape.GaussNewton(objective), or Dense(matrix) for a plain matrix."
    )


class Spent:
    """What a measurement cost, once :func:`spending` has ended."""

    cost = Cost(0.0, 0, 0.0)


@contextmanager
def spending(op: Operator) -> Iterator[Spent]:
    """Count the products and the time spent inside."""
    spent, before, started = Spent(), op.cost, time.perf_counter()
    yield spent
    after, seconds = op.cost, time.perf_counter() - started
    spent.cost = Cost(after.evaluations - before.evaluations, after.calls - before.calls, seconds)
