"""A symmetric matrix that is known only by its products."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import CurvatureError
from landscape.objective import Scope
from landscape.objective.holding import HERE, Holding, Values
from landscape.results import Cost

_PIECE = 2**18  # rows in float64 at a time


@dataclass(frozen=True)
class Part:
    """The rows of one parameter tensor: ``name``, its first position among the n, and one past its last."""

    name: str
    start: int
    stop: int


def parts_of(scope: Scope) -> tuple[Part, ...]:
    """Return which rows among the n belong to which parameter tensor."""
    parts, start = [], 0
    for entry in scope.entries:
        inside = sum(max(0, min(stop, entry.stop) - max(first, entry.start)) for first, stop in scope.ranges)
        parts.append(Part(entry.name, start, start + inside))
        start += inside
    return tuple(parts)


def column_products(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner products of the columns, (n, k) and (n, k) -> (k,), float64, a few rows at a time."""
    total = first.new_zeros(first.shape[1], dtype=torch.float64)
    for one, other in zip(first.split(_PIECE), second.split(_PIECE), strict=True):
        total += (one.double() * other.double()).sum(0)
    return total


class Operator(ABC):
    """A symmetric n x n matrix A, known by A @ v.

    Attributes:
        shape: (n, n).
        dtype, device: of its products.
        parts: which rows belong to which parameter tensor, in order.
        rows: how many of the n rows this process holds: all, unless ranks hold parts (:mod:`..objective.holding`).
        holding: whether they do.
        share: the cost of a product of this summand, as a share of a product of the whole sum; 1 otherwise.
        lean: whether vectors are so large that few of them should exist at a time.
    """

    share = 1.0
    lean = False

    def __init__(
        self,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
        parts: tuple[Part, ...] = (),
        *,
        rows: int | None = None,
        holding: Holding = HERE,
    ) -> None:
        self.shape = (size, size)
        self.rows = size if rows is None else rows
        self.holding = holding
        self.dtype = dtype
        self.device = device
        self.parts = parts or (Part("theta", 0, size),)
        self._products = 0.0
        self._calls = 0
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: symmetric operator, n = {self.size:,}>"

    @property
    def size(self) -> int:
        """n, the number of rows."""
        return self.shape[0]

    @property
    def cost(self) -> Cost:
        """The cost of all products so far; ``evaluations`` counts vectors, each a pass over the data."""
        return Cost(self._products, self._calls, self._seconds)

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return A @ v: (n,) -> (n,), or (n, k) -> (n, k); on ranks that hold parts, of this rank's rows."""
        block = self._checked(vectors)
        started = time.perf_counter()
        product = self._apply(block if block.dim() > 1 else block[:, None])
        self._count(product.shape[1], started)
        return product if vectors.dim() > 1 else product[:, 0]

    def add_product(self, vector: Tensor, out: Tensor) -> None:
        """Add A @ v to ``out``; both have shape (n,), on ranks that hold parts (rows,)."""
        block = self._checked(vector)
        started = time.perf_counter()
        self._add(block, out)
        self._count(1.0, started)

    def forms(self, vectors: Tensor) -> Tensor:
        """Return the quadratic forms v . A v of the columns: (n, k) -> (k,), float64."""
        block = self._checked(vectors)
        started = time.perf_counter()
        values = self._forms(block)
        self._count(len(values), started)
        return values

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over ranks of what each of them has from its rows."""
        return self.holding.total(values)

    def norm(self, vector: Tensor) -> float:
        """Return the Euclidean length of a vector, shape (rows,), float64."""
        if self.holding.ranks == 1:
            return float(vector.norm())
        return float(self.total(vector.square().sum()).sqrt())

    def pick(self, values: Values) -> np.ndarray:
        """Return this process's rows, shape (rows,), of values for all n rows: (start, stop) -> the values there."""
        return values(0, self.size)

    @property
    def room(self) -> int | None:
        """Bytes that vectors may take besides the products; None without a limit."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the products so far."""
        return ()

    def describe(self) -> dict[str, Any]:
        """Return what determines this matrix."""
        return {"operator": type(self).__name__, "dimension": self.size}

    def summands(self) -> Sequence[Operator]:
        """Return operators that add up to this one, such as one per batch; by default the operator itself.

        Their cost counts as a cost of this operator.
        """
        return [self]

    def to_scipy(self) -> Any:
        """Return the operator for ``scipy.sparse.linalg``, on numpy arrays."""
        from scipy.sparse.linalg import LinearOperator

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype

        def product(vectors: np.ndarray) -> np.ndarray:
            moved = torch.as_tensor(np.ascontiguousarray(vectors)).to(device=self.device, dtype=self.dtype)
            return (self @ moved).cpu().numpy()

        return LinearOperator(self.shape, matvec=lambda v: product(v.reshape(-1)), matmat=product, dtype=dtype)

    @abstractmethod
    def _apply(self, vectors: Tensor) -> Tensor:
        """Return A @ vectors for checked vectors: (n, k) -> (n, k)."""

    def _add(self, vector: Tensor, out: Tensor) -> None:
        out += self._apply(vector[:, None])[:, 0]

    def _forms(self, vectors: Tensor) -> Tensor:
        return self.total((vectors.double() * self._apply(vectors).double()).sum(0))

    def add_cost(self, cost: Cost) -> None:
        """Count products that another rank has made with this operator."""
        self._products += cost.evaluations
        self._calls += cost.calls
        self._seconds += cost.seconds

    def _count(self, products: float, started: float) -> None:
        self._products += products
        self._calls += 1
        self._seconds += time.perf_counter() - started

    def _checked(self, vectors: Tensor) -> Tensor:
        if not isinstance(vectors, Tensor) or vectors.dim() not in (1, 2) or vectors.shape[0] != self.rows:
            got = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise CurvatureError(
                f"this operator has n = {self.rows} rows, so it multiplies torch tensors of shape ({self.rows},) or "
                f"({self.rows}, k), not {got}. For numpy arrays use to_scipy()."
            )
        return vectors.detach().to(device=self.device, dtype=self.dtype)


class Dense(Operator):
    """A matrix given entry by entry: for tests and comparisons.

    >>> Dense(torch.diag(torch.tensor([1.0, 2.0]))) @ torch.ones(2)
    tensor([1., 2.])
    """

    def __init__(self, matrix: Tensor, parts: tuple[Part, ...] = ()) -> None:
        super().__init__(len(matrix), matrix.dtype, matrix.device, parts)
        self.matrix = matrix

    def _apply(self, vectors: Tensor) -> Tensor:
        return self.matrix @ vectors
