"""Angular central Gaussians: directions z / |z| of normal vectors z whose covariance Σ follows the curvature.

Their density over the uniform one is |Σ|^(-1/2) (phi' Σ^-1 phi)^(-n/2) (Tyler 1987). The scale of Σ does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import GaussNewton, Hessian, Operator, diagonal, top_eigenpairs, trace
from landscape.curvature.lanczos import Krylov
from landscape.errors import CurvatureError
from landscape.volume.proposals.gradients import squared_gradients

_LEAST = 1e-6  # over the mean curvature: the smallest curvature that a proposal takes from an estimate
_LEAST_TRACE = 1e-300  # keeps a ratio of traces finite if all squared gradients are zero


@dataclass(frozen=True)
class ProposalCurvature:
    """A curvature as proposals use it: a few directions with their own, and a diagonal for all others.

    Attributes:
        values: Λ, shape (k,); k may be 0.
        vectors: U, orthonormal columns, shape (n, k).
        rest: D, shape (n,).
        errors: standard errors of D, shape (n,).
    """

    values: np.ndarray
    vectors: np.ndarray
    rest: np.ndarray
    errors: np.ndarray

    @classmethod
    def diagonal(cls, rest: np.ndarray, errors: np.ndarray) -> ProposalCurvature:
        """Return a curvature that is diagonal."""
        return cls(np.zeros(0), np.zeros((len(rest), 0)), rest, errors)


def _diagonal(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> ProposalCurvature:
    estimate = diagonal(op, probes, seed=seed)
    return ProposalCurvature.diagonal(estimate.values, estimate.standard_errors)


def _low_rank(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> ProposalCurvature:
    values, vectors = _top(op, rank, seed)
    return ProposalCurvature(values, vectors, *_level(op, values, vectors, probes, seed))


def _low_rank_diagonal(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> ProposalCurvature:
    values, vectors = _top(op, rank, seed)
    estimate = diagonal(_Deflated(op, values, vectors), probes, seed=seed)
    return ProposalCurvature(values, vectors, estimate.values, estimate.standard_errors)


def _krylov(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> ProposalCurvature:
    """Return Σ^-1 = V T V' + c (1 - V V'), V the basis of ``rank`` Lanczos steps and T = V' A V.

    Σ commutes with the projections V V' and 1 - V V', so

        Σ^(1/2) z = V T^(-1/2) V' z + c^(-1/2) (1 - V V') z,    log |Σ| = - log det T - (n - rank) log c,

    exactly for *this* Σ, however far it is from the inverse of A. The weights are unbiased, and what Lanczos has not
    found costs variance alone. A^(-1/2) z from a Krylov space of each z would be closer to A, but the density of such
    rays is unknown, and so are their weights.

    T is diagonal in its Ritz vectors, which are used for V. One vector meets one direction of a multiple eigenvalue.
    """
    steps = min(rank, op.size)
    krylov = Krylov(op, min(steps + 1, op.size), 1.0, seed)
    for _ in range(steps):
        if not krylov.waiting:  # the last Krylov space is exhausted
            krylov.start()
        krylov.multiply()
    ritz = krylov.ritz()
    kept = ritz.values > _LEAST * max(ritz.values.max(), 0.0)
    values, vectors = ritz.values[kept], _orthonormal(krylov.vectors(ritz.weights[:, kept]).double().T.cpu().numpy())
    return ProposalCurvature(values, vectors, *_level(op, values, vectors, probes, seed))


def _squared_gradients(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> ProposalCurvature:
    squares, errors = squared_gradients(op.objective, probes, seed)
    scale = 1.0 if op.metric.scale is None else op.metric.scale.double().cpu().numpy() ** 2

    def diagonal_of(entries: np.ndarray) -> np.ndarray:
        return op.scope.gather(torch.from_numpy(entries)).numpy() * scale

    return ProposalCurvature.diagonal(diagonal_of(squares), diagonal_of(errors))


PROPOSALS: dict[str, Callable[[Hessian | GaussNewton, int, int, int], ProposalCurvature]] = {
    "diagonal": _diagonal,
    "low-rank": _low_rank,
    "low-rank-diagonal": _low_rank_diagonal,
    "krylov": _krylov,
    "squared-gradients": _squared_gradients,
}
NAMES = (*PROPOSALS, "slopes")  # slopes are in landscape.volume.proposals.from_slopes
UNSCALED = ("squared-gradients", "moments")  # proportional to a curvature, with an unknown factor


def _level(
    op: Operator, values: np.ndarray, vectors: np.ndarray, probes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return one curvature for all other directions, from the trace, and its standard error, shape (n,) both."""
    if len(values) == op.size:  # none is left
        return np.full(op.size, values.mean()), np.zeros(op.size)
    rest = trace(_Deflated(op, values, vectors), probes, seed=seed)
    left = op.size - len(values)
    return np.full(op.size, rest.value / left), np.full(op.size, rest.standard_error / left)


def _top(op: Operator, rank: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest positive eigenvalues and their vectors, orthonormal in float64."""
    if op.size == 1:
        return np.zeros(0), np.zeros((1, 0))
    pairs = top_eigenpairs(op, min(rank, op.size - 1), seed=seed, vectors=True)
    kept = pairs.values > _LEAST * max(pairs.values.max(), 0.0)
    return pairs.values[kept], _orthonormal(pairs.vectors[:, kept].astype(np.float64))


def _orthonormal(vectors: np.ndarray) -> np.ndarray:
    """Return nearly orthonormal columns made orthonormal in float64, each with its own sign."""
    basis, triangle = np.linalg.qr(vectors)
    return basis * np.sign(np.diag(triangle))


def from_moments(moments: Mapping[str, Tensor], op: Hessian | GaussNewton) -> ProposalCurvature:
    """Return the curvature that second moments of gradients stand for, given by the names of the parameters.

    Raises:
        CurvatureError: if a parameter in scope has none, or one of another shape.
    """
    full = torch.zeros(op.objective.layout.size, dtype=torch.float64)
    for entry in op.scope.entries:
        held = moments.get(entry.name)
        if held is None or held.numel() != entry.stop - entry.start:
            got = "none" if held is None else f"one of shape {tuple(held.shape)}"
            raise CurvatureError(
                f"a proposal from moments needs one for each parameter in scope, and for {entry.name} there is {got}.\n"
                f"Pass the moments of this model, by name: {', '.join(list(moments)[:4]) or 'nothing'} were given."
            )
        full[entry.start : entry.stop] = held.detach().double().cpu().reshape(-1)
    values = op.scope.gather(full).numpy()
    if not (np.isfinite(values) & (values >= 0)).all():
        raise CurvatureError("second moments must be finite and not negative, but some of these are not.")
    scale = 1.0 if op.metric.scale is None else op.metric.scale.double().cpu().numpy() ** 2
    return ProposalCurvature.diagonal(values * scale, np.zeros(op.size))


class _Deflated(Operator):
    """A - U Λ U'."""

    def __init__(self, op: Operator, values: np.ndarray, vectors: np.ndarray) -> None:
        super().__init__(op.size, op.dtype, op.device, op.parts)
        self._op = op
        self._values = torch.from_numpy(values).to(op.device)
        self._vectors = torch.from_numpy(vectors).to(op.device)

    def _apply(self, vectors: Tensor) -> Tensor:
        along = self._vectors.T @ vectors.double()
        return (self._op @ vectors) - (self._vectors @ (self._values[:, None] * along)).to(self.dtype)


def fitted(unscaled: ProposalCurvature, op: Hessian | GaussNewton, probes: int, seed: int) -> ProposalCurvature:
    """Return a diagonal scaled to the trace of the curvature, or to 0 if that is negative."""
    factor = max(trace(op, probes, seed=seed).value, 0.0) / max(float(unscaled.rest.sum()), _LEAST_TRACE)
    return replace(unscaled, rest=unscaled.rest * factor, errors=unscaled.errors * factor)


def floored(rest: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return a positive diagonal: an entry below its own standard error, or below a millionth of the mean, is raised.

    A direction that seems flatter than it is would attract all rays.

    Raises:
        CurvatureError: if no entry is positive.
    """
    mean = float(np.maximum(rest, 0.0).mean())
    if not mean > 0:
        raise CurvatureError(
            "the curvature at the trained point is zero or negative in all directions left to the rest of the "
            "proposal, so it does not show where rays are long.\nPass a finite max_radius, a lower rank, an array of "
            "your own as proposal, or `estimator='annealed'`."
        )
    return np.maximum(rest, np.maximum(errors, _LEAST * mean))
