"""An orthonormal basis grown by products, and how much of a spectrum it may have missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.operator import Operator
from landscape.curvature.probes import finite, normals
from landscape.errors import CurvatureError

_PIECE = 2**13  # entries of each basis vector that are in float64 at a time: they fit the cache
_ASYMMETRIC = 0.1
ROUNDING = 32.0  #: what is smaller than this many units in the last place of the norm is rounding


class Search:
    """What a chain from a random vector says of the eigenvectors that the basis did not span when it started.

    Attributes:
        diagonal, beside: the recurrence coefficients of A on the complement of that span.
    """

    def __init__(self) -> None:
        self.diagonal: list[float] = []
        self.beside: list[float] = []

    @property
    def ended(self) -> bool:
        """Whether the last product added nothing to the chain."""
        return bool(self.beside) and self.beside[-1] == 0.0

    def furthest(self, sign: float = 1.0) -> float:
        """Return the largest Ritz value of the chain; with sign -1, of that for -A."""
        if not self.diagonal:
            return -np.inf
        off = np.array(self.beside[:-1])
        matrix = sign * np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1)
        return float(np.linalg.eigvalsh(matrix)[-1])

    def share(self, x: float, sign: float = 1.0) -> float:
        """Return the largest share of the random vector that an eigenvector with an eigenvalue of x or more can hold.

        1 / sum of p_j(x)^2, p_j the orthonormal polynomials of the chain (the Christoffel number at x): no spectral
        measure with these moments has a larger atom there (Akhiezer 1965). 1 where x is below a Ritz value: the chain
        has found something there. With sign -1 the same for -A.
        """
        if self.furthest(sign) > x:
            return 1.0
        before, now, total = 0.0, 1.0, 1.0
        for j, (diagonal, beside) in enumerate(zip(self.diagonal, self.beside, strict=True)):
            if beside == 0.0 or total > 1e100:
                return 0.0
            before, now = now, ((x - sign * diagonal) * now - (self.beside[j - 1] * before if j else 0.0)) / beside
            total += now * now
        return 1.0 / total


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenpairs from the basis.

    Attributes:
        values: Ritz values, shape (j,), ascending.
        weights: their vectors in the basis, shape (j, j), orthonormal columns.
        residuals: |A v - value · v| of each, shape (j,).
        rounding: the part of it that no further product removes, shape (j,).
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
    """An orthonormal basis V of R^n, some of whose vectors are multiplied: A V[multiplied] = V H, with H at hand.

    Lanczos with full reorthogonalisation, seen as that relation: a column of H is all that was taken out of a
    product, in float64. So the residual of a Ritz pair is known without another product and holds the rounding of the
    products, which shows as asymmetry of H. A vector may be random instead of the last remainder, and the basis may
    be compressed to a few Ritz vectors (thick restart, Wu and Simon 2000); the relation stays.

    Args:
        op: the operator A.
        limit: number of vectors the basis may hold.
        sign: 1 for A, -1 for -A.
        seed: of the random vectors.
    """

    def __init__(self, op: Operator, limit: int, sign: float, seed: int) -> None:
        self.op, self.limit, self.sign, self.seed = op, limit, sign, seed
        self.basis = torch.empty(limit, op.size, dtype=op.dtype, device=op.device)  # untouched rows take no memory
        self.count = 0
        self.multiplied: list[int] = []
        self.waiting: list[int] = []
        self.search: Search | None = None  # of the newest chain; the first one searches nothing
        self._chains = 0
        self._h = np.zeros((limit, limit))
        self._lost = np.zeros(limit)  # of each column of H, what lies outside the basis

    @property
    def room(self) -> int:
        """How many more vectors the basis can take."""
        return self.limit - self.count

    def start(self) -> None:
        """Begin a chain with a random vector orthogonal to the basis."""
        eps = torch.finfo(self.op.dtype).eps
        for attempt in range(3):
            drawn = normals(self.seed, 3 * self._chains + attempt, self.op.size)
            vector = torch.from_numpy(drawn).to(device=self.op.device, dtype=torch.float64)
            length = float(vector.norm())
            self._take_out(vector)
            if float(vector.norm()) > ROUNDING * eps * length:
                break
        self.search = Search() if self._chains else None
        self._append(vector, float(vector.norm()))
        self._chains += 1

    def multiply(self, at: int = -1) -> None:
        """Multiply the vector that came last, or another that waits, and append what the product adds to the basis.

        The moments of a search are those of its own chain, so that another vector ends it.
        """
        if self.waiting[at] != self.waiting[-1]:
            self.search = None
        j = self.waiting.pop(at)
        product = self.sign * finite(self.op @ self.basis[j], self.op).double()
        length = float(product.norm())
        self._h[: self.count, j] = self._take_out(product)
        rest = float(product.norm())
        self.multiplied.append(j)
        if rest <= ROUNDING * torch.finfo(self.op.dtype).eps * length or self.count == self.op.size:
            self._lost[j], rest = rest, 0.0
        else:
            self._h[self.count, j] = rest
            self._append(product, rest)
        if self.search is not None and not self.search.ended:
            self.search.diagonal.append(float(self._h[j, j]))
            self.search.beside.append(rest)

    def ritz(self) -> Ritz:
        """Return all Ritz pairs on the span of the multiplied vectors."""
        kept, others = self.multiplied, self.waiting
        square = self._h[np.ix_(kept, kept)]
        asymmetry, size = np.linalg.norm(square - square.T), np.linalg.norm(square)
        if asymmetry > _ASYMMETRIC * size:
            raise CurvatureError(
                f"the operator is not symmetric: u . A v and v . A u differ by {asymmetry / size:.0%} of its size, "
                "so it has no real eigenvalues to find.\n"
                "Two products of the same vector probably differ: is the loss deterministic (no dropout, no sampling)?"
            )
        values, weights = np.linalg.eigh((square + square.T) / 2)
        inside = np.linalg.norm(square @ weights - weights * values, axis=0)
        rounding = np.hypot(inside, self._lost[kept] @ np.abs(weights))
        outside = np.linalg.norm(self._h[np.ix_(others, kept)] @ weights, axis=0)
        return Ritz(values, weights, np.hypot(rounding, outside), rounding)

    def coupled(self, weights: np.ndarray) -> int:
        """Return which waiting vector holds most of the residuals of the Ritz vectors with these weights, (j, k)."""
        outside = self._h[np.ix_(self.waiting, self.multiplied)] @ weights
        return int(np.argmax(np.abs(outside).max(1)))

    def vectors(self, weights: np.ndarray) -> Tensor:
        """Return combinations of the multiplied vectors, shape (k, n), in the dtype of the operator."""
        out = torch.empty(weights.shape[1], self.op.size, dtype=self.op.dtype, device=self.op.device)
        self._combine(weights, out)
        return out

    def compress(self, ritz: Ritz, chosen: np.ndarray) -> None:
        """Replace the multiplied vectors by these Ritz vectors, and keep those not multiplied yet (thick restart).

        A search ends with it, since the basis no longer spans what it did.
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
        for at in range(0, self.op.size, _PIECE):
            piece = self.basis[rows, at : at + _PIECE].double()
            out[: len(mixing), at : at + _PIECE] = mixing @ piece

    def _append(self, vector: Tensor, length: float) -> None:
        self.basis[self.count] = vector / length
        self.waiting.append(self.count)
        self.count += 1

    def _take_out(self, vector: Tensor) -> np.ndarray:
        """Take out of ``vector``, float64, in place, its part along the basis, and return the coefficients.

        Twice is enough (Giraud et al. 2005): in float64, piece by piece; then what rounding left, in the basis's dtype.
        """
        total = vector.new_zeros(self.count)
        for dtype in (torch.float64, self.op.dtype):
            along = vector.new_zeros(self.count)
            for at in range(0, self.op.size, _PIECE):
                piece = self.basis[: self.count, at : at + _PIECE].to(dtype)
                along += piece @ vector[at : at + _PIECE].to(dtype)
            for at in range(0, self.op.size, _PIECE):
                piece = self.basis[: self.count, at : at + _PIECE].to(dtype)
                vector[at : at + _PIECE] -= along.to(dtype) @ piece
            total += along
        return total.cpu().numpy()
