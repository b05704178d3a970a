"""The outermost eigenvalue of an operator whose vectors are large: Lanczos that keeps two vectors.

The recurrence of three terms gives the same tridiagonal matrix T as Lanczos with a basis, to rounding:

    b_{j+1} v_{j+1} = A v_j - a_j v_j - b_j v_{j-1}

- The largest eigenvalue of T is the Ritz value. Its residual is b_{j+1} times the last entry of T's eigenvector.
- Rounding makes converged Ritz values appear again (Paige 1980). So only one is taken.
- The first vector is random. So its moments bound what an eigenvector further out can hold of it, as in
  :meth:`landscape.curvature.lanczos.Search.largest_share`. It is ``complete`` if this rules out an eigenvalue that is
  1 % larger, with a chance of error of 1 in 100.
- The eigenvector is a sum over all v_j, which are made again in a second run. It is made only if it is asked for.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.lanczos import CHANCE, ROUNDING, Search, least_share
from landscape.curvature.operator import Operator
from landscape.curvature.probes import normal_rows, not_finite, spending
from landscape.results import Eigenpairs

_FURTHER = 0.01  # share of the value: a smaller distance takes twice the products to rule out
_PIECE = 2**14  # products that are added in the dtype of the vectors: the rest is added in float64


@dataclass(frozen=True)
class Asked:
    """The arguments of :func:`landscape.top_eigenpairs` for one pair; ``limit`` counts products."""

    which: str
    rtol: float
    limit: int
    deadline: float  #: by time.perf_counter()
    check: bool
    vectors: bool
    seed: int


@dataclass(frozen=True)
class RitzPair:
    """The outermost Ritz pair, after some products.

    Attributes:
        value: the Ritz value of the operator.
        residual: |A v - value · v|, without the part that rounding leaves.
        rounding: below it a residual is rounding.
        weights: the Ritz vector in the Lanczos vectors, shape (j,).
    """

    value: float
    residual: float
    rounding: float
    weights: np.ndarray

    def converged(self, rtol: float) -> bool:
        """Whether the residual is at most rtol · |value|, or both are 0 to rounding."""
        tiny = self.rounding
        return self.residual <= rtol * abs(self.value) or (self.residual <= tiny and abs(self.value) <= tiny)


class Recurrence:
    """Lanczos of three terms from a random vector.

    Args:
        op: the operator.
        seed: of the random vector.

    Attributes:
        now: the newest Lanczos vector, shape (rows,), which the next product overwrites.
        search: the entries of T.
    """

    def __init__(self, op: Operator, seed: int) -> None:
        self.op = op
        self.now = torch.from_numpy(normal_rows(seed, 0, op)).to(device=op.device, dtype=op.dtype)
        self.now /= _norm(op, self.now)
        self._before, self._coupling = torch.zeros_like(self.now), 0.0
        self.search = Search()

    def multiply(self) -> None:
        """Multiply the newest vector, and make the next one from the product.

        Raises:
            CurvatureError: if the product is not finite.
        """
        op, now, product = self.op, self.now, self._before
        product *= -self._coupling
        op.add_product(now, product)
        along = _dot(op, now, product)
        product.add_(now, alpha=-along)
        coupling = _norm(op, product)
        if not math.isfinite(coupling):
            raise not_finite(op)
        scale = max([abs(along), *map(abs, self.search.diagonal), *self.search.off_diagonal])
        # only rounding is left, or the vectors span the whole space
        if coupling <= ROUNDING * torch.finfo(op.dtype).eps * scale or len(self.search.diagonal) + 1 == op.size:
            coupling = 0.0
        else:
            product /= coupling
        self.search.diagonal.append(along)
        self.search.off_diagonal.append(coupling)
        self.now, self._before, self._coupling = product, now, coupling

    def ritz(self, which: str) -> RitzPair:
        """Return the outermost Ritz pair of the chain so far."""
        diagonal, off = np.array(self.search.diagonal), np.array(self.search.off_diagonal)
        values, weights = np.linalg.eigh(np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1))
        at = {"largest": -1, "smallest": 0, "magnitude": int(np.abs(values).argmax())}[which]
        rounding = ROUNDING * float(torch.finfo(self.op.dtype).eps) * float(np.abs(values).max())
        return RitzPair(float(values[at]), float(off[-1] * abs(weights[-1, at])), rounding, weights[:, at])

    def rules_out(self, pair: RitzPair, asked: Asked) -> bool:
        """Return whether no eigenvalue lies more than 1 % further out, with a chance of error of 1 in 100."""
        signs = {"largest": (1.0,), "smallest": (-1.0,), "magnitude": (1.0, -1.0)}[asked.which]
        value = abs(pair.value) if len(signs) > 1 else signs[0] * pair.value
        beyond = value + max(asked.rtol, _FURTHER) * abs(value) + pair.rounding
        least = least_share(self.op.size, CHANCE / len(signs))
        return all(self.search.largest_share(beyond, sign) < least for sign in signs)


def outermost_pair(op: Operator, asked: Asked) -> Eigenpairs:
    """Return the outermost eigenpair, with its residual and whether it converged."""
    chain = Recurrence(op, asked.seed)
    with spending(op) as spent:
        while True:
            chain.multiply()
            pair = chain.ritz(asked.which)
            converged, complete = pair.converged(asked.rtol), chain.search.ended or chain.rules_out(pair, asked)
            if chain.search.ended or (converged and (complete or not asked.check)):
                break
            if len(chain.search.diagonal) >= asked.limit or time.perf_counter() >= asked.deadline:
                break
        del chain
        vector = eigenvector(op, asked.seed, pair.weights) if asked.vectors else None
    if vector is not None:
        vector *= torch.sign(vector[vector.abs().argmax()])
    notes = []
    if not converged:
        notes.append(
            "stopped at its limit of products or seconds before the pair converged: it may be far from the true one."
        )
    elif asked.check and not complete:
        notes.append("the search for missed eigenvalues stopped at its limit of products or seconds.")
    if vector is None:
        notes.append("the eigenvector was not made: it takes as many products again. Pass `vectors=True` for it.")
    if abs(pair.value) <= pair.rounding:
        notes.append(f"the value is 0 to rounding: below {pair.rounding:.1e} no digit is right.")
    settings = {"k": 1, "which": asked.which, "rtol": asked.rtol, "max_products": asked.limit, "check": asked.check}
    dtype = str(op.dtype).removeprefix("torch.")
    return Eigenpairs(
        values=np.array([pair.value]),
        vectors=np.zeros((0, 1), dtype=np.float32) if vector is None else vector[:, None].cpu().numpy(),
        residuals=np.array([float(np.hypot(pair.residual, pair.rounding / ROUNDING))]),
        converged=np.array([converged]),
        complete=complete and asked.check,
        rounding=pair.rounding / ROUNDING,
        which=asked.which,
        dimension=op.size,
        notes=tuple(notes),
        config={**op.describe(), "dtype": dtype, **settings, "seed": asked.seed},
        cost=spent.cost,
    )


def eigenvector(op: Operator, seed: int, weights: np.ndarray) -> Tensor:
    """Return the unit vector with these weights in the Lanczos vectors, shape (rows,), from a second run."""
    chain = Recurrence(op, seed)
    total = torch.zeros_like(chain.now)
    for number, weight in enumerate(weights):
        total.add_(chain.now, alpha=float(weight))
        if number + 1 < len(weights):
            chain.multiply()
    return total.div_(_norm(op, total))


def _dot(op: Operator, one: Tensor, other: Tensor) -> float:
    return float(op.total(_summed(one, other)))


def _norm(op: Operator, vector: Tensor) -> float:
    return float(op.total(_summed(vector, vector)).sqrt())


def _summed(one: Tensor, other: Tensor) -> Tensor:
    """Return one . other, float64, to about 1e-8 of the sum of absolute products in float32."""
    pairs = zip(one.split(_PIECE), other.split(_PIECE), strict=True)
    return torch.stack([torch.dot(a, b) for a, b in pairs]).double().sum()
