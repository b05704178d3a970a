"""Stochastic Lanczos quadrature: a probe's share of the spectrum as a few nodes and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.lanczos import ROUNDING
from landscape.curvature.operator import Operator
from landscape.curvature.probes import Probes, finite

BASIS_BYTES = 2**30  #: up to here all vectors are kept, and the chains stay orthogonal


@dataclass(frozen=True)
class Chains:
    """The tridiagonal matrix of each probe.

    Attributes:
        diagonal: shape (probes, steps).
        beside: shape (probes, steps); the last one couples to what was not multiplied. 0 where a chain has ended.
        ended: whether every chain has, so that its nodes are eigenvalues and not approximations.
    """

    diagonal: np.ndarray
    beside: np.ndarray
    ended: bool

    def gauss(self, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes, ascending, and the weights, which sum to 1, of each probe, shape (probes, steps) each.

        The rule is exact for polynomials up to degree 2 · steps - 1 (Golub and Welsch 1969). Fewer steps than there are
        give the rule that stopping there would have given.
        """
        steps = steps or self.diagonal.shape[1]
        matrix = np.zeros((len(self.diagonal), steps, steps))
        at = np.arange(steps)
        matrix[:, at, at] = self.diagonal[:, :steps]
        matrix[:, at[1:], at[:-1]] = self.beside[:, : steps - 1]  # eigh reads the lower triangle
        nodes, vectors = np.linalg.eigh(matrix)
        weights = vectors[:, 0, :] ** 2
        return nodes, weights / weights.sum(1, keepdims=True)


def lanczos(op: Operator, probes: Probes, steps: int) -> Chains:
    """Advance the Lanczos chains of all probes together, one block product a step.

    All vectors are kept, and new ones made orthogonal to them, where that takes at most 1 GiB. Beyond it the
    recurrence of three terms goes on alone: eigenvalues that have converged then appear again, with their weight
    split between the copies, which a quadrature can bear (Greenbaum 1989).
    """
    steps = min(steps, op.size)
    kept = keeps_all(op, probes.count, steps)
    basis = torch.empty(probes.count, steps if kept else 2, op.size, dtype=op.dtype, device=op.device)
    vectors = probes.block(0, probes.count, op).double().T.contiguous()
    vectors /= vectors.norm(dim=1, keepdim=True)
    diagonal, beside = np.zeros((2, probes.count, steps))
    rest = scale = vectors.new_zeros(probes.count)
    for j in range(steps):
        now, before = (j, j - 1) if kept else (j % 2, 1 - j % 2)
        basis[:, now] = vectors
        product = finite(op @ basis[:, now].T.contiguous(), op).T.double().contiguous()
        if j:
            product -= rest[:, None] * basis[:, before]
        along = (basis[:, now].double() * product).sum(1)
        product -= along[:, None] * basis[:, now]
        if kept:
            _take_out(product, basis[:, : j + 1])
        rest = product.norm(dim=1)
        scale = torch.maximum(scale, along.abs() + rest)
        # nothing but rounding is left, or nothing at all can be
        rest[(rest <= ROUNDING * torch.finfo(op.dtype).eps * scale) | (j + 1 == op.size)] = 0.0
        diagonal[:, j], beside[:, j] = along.cpu().numpy(), rest.cpu().numpy()
        if not rest.any():
            return Chains(diagonal[:, : j + 1], beside[:, : j + 1], True)
        vectors = torch.where(rest[:, None] > 0, product / rest[:, None], 0.0)
    return Chains(diagonal, beside, False)


def keeps_all(op: Operator, probes: int, steps: int) -> bool:
    """Return whether there is room to keep all vectors of all chains."""
    return probes * steps * op.size * op.dtype.itemsize <= BASIS_BYTES


def _take_out(vectors: Tensor, basis: Tensor) -> None:
    """Take out of each vector, shape (p, n), in place, what rounding left of its own basis in it, shape (p, j, n).

    The dtype of the basis will do, since the large parts are gone already.
    """
    along = torch.bmm(basis, vectors.to(basis.dtype)[..., None])
    vectors -= torch.bmm(along.transpose(1, 2), basis)[:, 0]
