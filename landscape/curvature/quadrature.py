"""Stochastic Lanczos quadrature: a probe's view of the spectrum as a few nodes and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.lanczos import ROUNDING
from landscape.curvature.operator import Operator
from landscape.curvature.probes import Probes, finite, within_room

BASIS_BYTES = 2**30  #: up to this size all Lanczos vectors are kept, and stay orthogonal


@dataclass(frozen=True)
class JacobiMatrices:
    """The tridiagonal matrix of Lanczos coefficients (Jacobi matrix) of each probe.

    Attributes:
        diagonal: shape (probes, steps).
        off_diagonal: shape (probes, steps); the last column couples to a vector that was not multiplied. 0 after the
            last step of a probe whose Krylov space is exhausted.
        exhausted: whether the Krylov spaces of all probes are, so that the nodes are eigenvalues, not approximations.
    """

    diagonal: np.ndarray
    off_diagonal: np.ndarray
    exhausted: bool

    def gauss_rule(self, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes, ascending, and the weights, which sum to 1, of each probe, shape (probes, steps) each.

        The rule is exact for polynomials up to degree 2 · steps - 1 (Golub and Welsch 1969). A smaller number of steps
        gives the rule of a run that stopped there.
        """
        steps = steps or self.diagonal.shape[1]
        matrix = np.zeros((len(self.diagonal), steps, steps))
        at = np.arange(steps)
        matrix[:, at, at] = self.diagonal[:, :steps]
        matrix[:, at[1:], at[:-1]] = self.off_diagonal[:, : steps - 1]  # eigh reads the lower triangle
        nodes, vectors = np.linalg.eigh(matrix)
        weights = vectors[:, 0, :] ** 2
        return nodes, weights / weights.sum(1, keepdims=True)


def lanczos(op: Operator, probes: Probes, steps: int) -> JacobiMatrices:
    """Run Lanczos on all probes together, one block product per step.

    If all vectors fit into 1 GiB, they are kept, and new ones are made orthogonal to them. Otherwise only the
    recurrence of three terms is used. Converged eigenvalues then appear again, with their weight split between the
    copies, which a quadrature tolerates (Greenbaum 1989).
    """
    steps = min(steps, op.size)
    keep_all = keeps_all(op, probes.count, steps)
    basis = torch.empty(probes.count, steps if keep_all else 2, op.rows, dtype=op.dtype, device=op.device)
    vectors = probes.block(0, probes.count, op).double().T.contiguous()
    vectors /= _lengths(op, vectors)[:, None]
    diagonal, off_diagonal = np.zeros((2, probes.count, steps))
    beta = scale = vectors.new_zeros(probes.count)
    for j in range(steps):
        now, before = (j, j - 1) if keep_all else (j % 2, 1 - j % 2)
        basis[:, now] = vectors
        product = finite(op @ basis[:, now].T.contiguous(), op).T.double().contiguous()
        if j:
            product -= beta[:, None] * basis[:, before]
        alpha = op.total((basis[:, now].double() * product).sum(1))
        product -= alpha[:, None] * basis[:, now]
        if keep_all:
            _reorthogonalise(op, product, basis[:, : j + 1])
        beta = _lengths(op, product)
        scale = torch.maximum(scale, alpha.abs() + beta)
        # only rounding is left, or the basis spans the whole space
        beta[(beta <= ROUNDING * torch.finfo(op.dtype).eps * scale) | (j + 1 == op.size)] = 0.0
        diagonal[:, j], off_diagonal[:, j] = alpha.cpu().numpy(), beta.cpu().numpy()
        if not beta.any():
            return JacobiMatrices(diagonal[:, : j + 1], off_diagonal[:, : j + 1], True)
        vectors = torch.where(beta[:, None] > 0, product / beta[:, None], 0.0)
    return JacobiMatrices(diagonal, off_diagonal, False)


def keeps_all(op: Operator, probes: int, steps: int) -> bool:
    """Return whether there is room to keep all Lanczos vectors of all probes."""
    return probes * steps * op.size * op.dtype.itemsize <= within_room(op, BASIS_BYTES)


def _lengths(op: Operator, vectors: Tensor) -> Tensor:
    """Return the length of each row, shape (p,), float64."""
    return vectors.norm(dim=1) if op.holding.ranks == 1 else op.total(vectors.square().sum(1)).sqrt()


def _reorthogonalise(op: Operator, vectors: Tensor, basis: Tensor) -> None:
    """Subtract from each vector, shape (p, n), in place, what rounding left along its own basis, shape (p, j, n).

    The dtype of the basis is precise enough, since the large parts are gone already.
    """
    along = op.total(torch.bmm(basis, vectors.to(basis.dtype)[..., None]))
    vectors -= torch.bmm(along.transpose(1, 2), basis)[:, 0]
