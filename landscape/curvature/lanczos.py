"""An orthonormal basis grown by products, and how much of a spectrum it may have missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.operator import Operator
from landscape.curvature.probes import finite, normal_rows
from landscape.errors import CurvatureError
from landscape.results.table import percent

_PIECE = 2**13  # entries of each basis vector that are in float64 at a time: they fit the cache
_ASYMMETRIC = 0.1  # of the norm: an asymmetry above it is no rounding
_NO_SHARE = 1e100  # a sum of squared polynomials above it bounds the share by 0 to any precision, and may overflow next
_ATTEMPTS = 3  # draws of a random vector, in case one lies in the span of the basis
CHANCE = 0.01  #: probability that a search overlooks an eigenvalue
ROUNDING = 32.0  #: anything below this many units in the last place of the norm is rounding


class Search:
    """What a chain from a random vector says about the eigenvectors that the basis did not span when it started.

    Attributes:
        diagonal, off_diagonal: the recurrence coefficients of A on the complement of that span. The last entry of
            ``off_diagonal`` couples the chain to a vector that was not multiplied yet.
    """

    def __init__(self) -> None:
        self.diagonal: list[float] = []
        self.off_diagonal: list[float] = []

    @property
    def ended(self) -> bool:
        """Whether the last product added nothing to the chain."""
        return bool(self.off_diagonal) and self.off_diagonal[-1] == 0.0

    def largest_ritz_value(self, sign: float = 1.0) -> float:
        """Return the largest Ritz value of the chain; with sign -1, that of the chain for -A."""
        if not self.diagonal:
            return -np.inf
        off = np.array(self.off_diagonal[:-1])
        matrix = sign * np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1)
        return float(np.linalg.eigvalsh(matrix)[-1])

    def largest_share(self, x: float, sign: float = 1.0) -> float:
        """Return the largest share of the random vector that an eigenvector with an eigenvalue of x or more can hold.

        This is the Christoffel number at x, 1 / sum of p_j(x)^2 with p_j the orthonormal polynomials of the chain. No
        spectral measure with these moments has a larger atom there (Akhiezer 1965). It is 1 if x is below a Ritz value:
        the chain has found something there. With sign -1 the same for -A.
        """
        if self.largest_ritz_value(sign) > x:
            return 1.0
        before, now, total = 0.0, 1.0, 1.0
        for j, (diagonal, off_diagonal) in enumerate(zip(self.diagonal, self.off_diagonal, strict=True)):
            if off_diagonal == 0.0 or total > _NO_SHARE:
                return 0.0
            recurrence = (x - sign * diagonal) * now - (self.off_diagonal[j - 1] * before if j else 0.0)
            before, now = now, recurrence / off_diagonal
            total += now * now
        return 1.0 / total


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenpairs from the basis.

    Attributes:
        values: Ritz values, shape (j,), ascending.
        weights: their vectors in the basis, shape (j, j), orthonormal columns.
        residuals: |A v - value · v| of each, shape (j,).
        rounding: the part of each residual that no further product removes, shape (j,).
    """

    values: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray
    rounding: np.ndarray

    @property
    def scale(self) -> float:
        """The largest absolute value: a lower bound of the norm of A."""
        return float(np.abs(self.values).max())


class Krylov:
    """An orthonormal basis V, some of whose vectors were multiplied by A: A V[multiplied] = V H, with H known.

    This is Lanczos with full reorthogonalisation. A column of H holds the coefficients that were taken out of a
    product, in float64. So the residual of a Ritz pair is known without another product. It includes the rounding of
    the products, which shows as asymmetry of H. The relation A V[multiplied] = V H also holds after these steps:

    1. A new vector may be random instead of the remainder of the last product (:meth:`start`).
    2. The basis may be compressed to a few Ritz vectors (:meth:`compress`; thick restart, Wu and Simon 2000).

    Args:
        op: the operator A.
        limit: number of vectors the basis may hold.
        sign: 1 for A, -1 for -A.
        seed: of the random vectors.

    Attributes:
        basis: the vectors V, shape (limit, n); the first ``count`` rows are used.
        multiplied: rows that were multiplied, in order.
        waiting: rows that were not multiplied yet, the newest last.
        search: what the newest chain says about missed eigenvectors; None for the first chain.
    """

    def __init__(self, op: Operator, limit: int, sign: float, seed: int) -> None:
        self.op, self.limit, self.sign, self.seed = op, limit, sign, seed
        self.basis = torch.empty(limit, op.rows, dtype=op.dtype, device=op.device)  # untouched rows take no memory
        self.count = 0
        self.multiplied: list[int] = []
        self.waiting: list[int] = []
        self.search: Search | None = None
        self._chains = 0
        self._h = np.zeros((limit, limit))
        self._lost = np.zeros(limit)  # norm of the part of each product that lies outside the basis

    @property
    def room(self) -> int:
        """How many more vectors the basis can take."""
        return self.limit - self.count

    def start(self) -> None:
        """Begin a chain with a random vector orthogonal to the basis."""
        eps = torch.finfo(self.op.dtype).eps
        for attempt in range(_ATTEMPTS):
            drawn = normal_rows(self.seed, _ATTEMPTS * self._chains + attempt, self.op)
            vector = torch.from_numpy(drawn).to(device=self.op.device, dtype=torch.float64)
            length = self.op.norm(vector)
            self._orthogonalise(vector)
            rest = self.op.norm(vector)
            if rest > ROUNDING * eps * length:
                break
        self.search = Search() if self._chains else None
        self._append(vector, rest)
        self._chains += 1

    def multiply(self, at: int = -1) -> None:
        """Multiply a waiting vector, by default the newest, and append what the product adds to the basis.

        A search needs the moments of its own chain, so multiplying a vector of another chain ends it.

        Args:
            at: position in ``waiting``.
        """
        if self.waiting[at] != self.waiting[-1]:
            self.search = None
        j = self.waiting.pop(at)
        product = self.sign * finite(self.op @ self.basis[j], self.op).double()
        length = self.op.norm(product)
        self._h[: self.count, j] = self._orthogonalise(product)
        rest = self.op.norm(product)
        self.multiplied.append(j)
        if rest <= ROUNDING * torch.finfo(self.op.dtype).eps * length or self.count == self.op.size:
            self._lost[j], rest = rest, 0.0
        else:
            self._h[self.count, j] = rest
            self._append(product, rest)
        if self.search is not None and not self.search.ended:
            self.search.diagonal.append(float(self._h[j, j]))
            self.search.off_diagonal.append(rest)

    def _why_asymmetric(self) -> str:
        if self.op.notes:
            return f"{'; '.join(self.op.notes)}. Pass `dtype=torch.float64`, if possible with smooth activations."
        return "Two products of the same vector probably differ: is the loss deterministic (no dropout, no sampling)?"

    def ritz(self) -> Ritz:
        """Return all Ritz pairs on the span of the multiplied vectors."""
        kept, others = self.multiplied, self.waiting
        square = self._h[np.ix_(kept, kept)]
        asymmetry, size = np.linalg.norm(square - square.T), np.linalg.norm(square)
        if asymmetry > _ASYMMETRIC * size:
            raise CurvatureError(
                "the operator is not symmetric: u . A v and v . A u differ by "
                f"{percent(float(asymmetry / size), 0)} of its size, so it has no real eigenvalues to find.\n"
                f"{self._why_asymmetric()}"
            )
        values, weights = np.linalg.eigh((square + square.T) / 2)
        inside = np.linalg.norm(square @ weights - weights * values, axis=0)
        rounding = np.hypot(inside, self._lost[kept] @ np.abs(weights))
        outside = np.linalg.norm(self._h[np.ix_(others, kept)] @ weights, axis=0)
        return Ritz(values, weights, np.hypot(rounding, outside), rounding)

    def most_coupled(self, weights: np.ndarray) -> int:
        """Return the position in ``waiting`` of the vector that holds most of the residuals of these Ritz vectors.

        Args:
            weights: the Ritz vectors in the basis, shape (j, k).
        """
        outside = self._h[np.ix_(self.waiting, self.multiplied)] @ weights
        return int(np.argmax(np.abs(outside).max(1)))

    def vectors(self, weights: np.ndarray) -> Tensor:
        """Return combinations of the multiplied vectors, shape (k, n), in the dtype of the operator."""
        out = torch.empty(weights.shape[1], self.op.rows, dtype=self.op.dtype, device=self.op.device)
        self._combine(weights, out)
        return out

    def compress(self, ritz: Ritz, chosen: np.ndarray) -> None:
        """Replace the multiplied vectors by these Ritz vectors, and keep those not multiplied yet (thick restart).

        This ends a search, since the basis no longer spans what it spanned when the search started.
        """
        weights, k = ritz.weights[:, chosen], len(chosen)
        square, others = (
            self._h[np.ix_(self.multiplied, self.multiplied)],
            self._h[np.ix_(self.waiting, self.multiplied)],
        )
        inside, coupled = weights.T @ square @ weights, others @ weights
        lost = np.linalg.norm(square @ weights - weights @ inside, axis=0)
        lost = np.hypot(lost, self._lost[self.multiplied] @ np.abs(weights))
        waiting = self.basis[self.waiting]
        self._combine(weights, self.basis)
        self.count = k + len(self.waiting)
        self.basis[k : self.count] = waiting
        self._h[:], self._lost[:] = 0.0, 0.0
        self._h[:k, :k], self._h[k : self.count, :k], self._lost[:k] = inside, coupled, lost
        self.multiplied, self.waiting = list(range(k)), list(range(k, self.count))
        self.search = None

    def _combine(self, weights: np.ndarray, out: Tensor) -> None:
        """Write combinations of the multiplied vectors to the first rows of ``out``, which may be the basis."""
        mixing = torch.from_numpy(weights.T.copy()).to(self.op.device)
        rows = torch.tensor(self.multiplied, device=self.op.device)
        for at in range(0, self.op.rows, _PIECE):
            piece = self.basis[rows, at : at + _PIECE].double()
            out[: len(mixing), at : at + _PIECE] = mixing @ piece

    def _append(self, vector: Tensor, length: float) -> None:
        self.basis[self.count] = vector / length
        self.waiting.append(self.count)
        self.count += 1

    def _orthogonalise(self, vector: Tensor) -> np.ndarray:
        """Subtract from ``vector``, float64, in place, its part along the basis, and return the coefficients.

        Twice is enough (Giraud et al. 2005): the first time in float64, piece by piece; the second time in the dtype of
        the basis, for what rounding left.
        """
        total = vector.new_zeros(self.count)
        for dtype in (torch.float64, self.op.dtype):
            along = vector.new_zeros(self.count)
            for at in range(0, self.op.rows, _PIECE):
                piece = self.basis[: self.count, at : at + _PIECE].to(dtype)
                along += piece @ vector[at : at + _PIECE].to(dtype)
            along = self.op.total(along)
            for at in range(0, self.op.rows, _PIECE):
                piece = self.basis[: self.count, at : at + _PIECE].to(dtype)
                vector[at : at + _PIECE] -= along.to(dtype) @ piece
            total += along
        return total.cpu().numpy()


def least_share(n: int, chance: float) -> float:
    """Return the share (u . z)^2 / |z|^2 below which a random z in n dimensions falls with this probability.

    u is any unit vector. n times the share is nearly chi-squared, which lies below a small eps with probability
    sqrt(2 · eps / pi).

    >>> round(least_share(1000, 0.01) * 1e7, 3)
    1.571
    """
    return chance**2 * float(np.pi) / 2 / n
