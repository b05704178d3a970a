"""Angular central Gaussians: directions z / |z| of normal vectors z whose covariance follows the curvature.

Their density over the uniform one is |Σ|^(-1/2) (phi' Σ^-1 phi)^(-n/2) (Tyler 1987); the scale of Σ is of no matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import GaussNewton, Hessian, Operator, diagonal, top_eigenpairs, trace
from landscape.curvature.lanczos import Krylov
from landscape.errors import CurvatureError
from landscape.volume.proposals.gradients import squared_gradients

_LEAST = 1e-6  # of the mean curvature: the smallest that a proposal takes from an estimate


Curvature = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # Λ, U, D and the standard errors of D


def _diagonal(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> Curvature:
    found = diagonal(op, probes, seed=seed)
    return np.zeros(0), np.zeros((op.size, 0)), found.values, found.standard_errors


def _low_rank(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> Curvature:
    values, vectors = _top(op, rank, seed)
    return values, vectors, *_level(op, values, vectors, probes, seed)


def _low_rank_diagonal(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> Curvature:
    values, vectors = _top(op, rank, seed)
    found = diagonal(_Deflated(op, values, vectors), probes, seed=seed)
    return values, vectors, found.values, found.standard_errors


def _krylov(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> Curvature:
    """Return Σ^-1 = V T V' + c (1 - V V'), V the basis of ``rank`` Lanczos steps and T = V' A V.

    V V' and 1 - V V' are projections that Σ commutes with, so Σ^(1/2) z = V T^(-1/2) V' z + c^(-1/2) (1 - V V') z and
    log |Σ| = - log det T - (n - rank) log c hold exactly for *this* Σ, however far it is from the inverse of A: the
    weights are unbiased, and what Lanczos has not found costs variance alone. Taking A^(-1/2) z from a Krylov space of
    each z would come closer to A; but then rays have a density that nobody can name, and no weight is right.

    T is diagonal in its Ritz vectors, which are used for V. One vector meets one direction of a multiple eigenvalue.
    """
    steps = min(rank, op.size)
    chain = Krylov(op, min(steps + 1, op.size), 1.0, seed)
    for _ in range(steps):
        if not chain.waiting:  # the last chain has closed
            chain.start()
        chain.multiply()
    ritz = chain.ritz()
    chosen = ritz.values > _LEAST * max(ritz.values.max(), 0.0)
    values, vectors = ritz.values[chosen], _orthonormal(chain.vectors(ritz.weights[:, chosen]).double().T.cpu().numpy())
    return values, vectors, *_level(op, values, vectors, probes, seed)


def _squared_gradients(op: Hessian | GaussNewton, rank: int, probes: int, seed: int) -> Curvature:
    squares, errors = squared_gradients(op.objective, probes, seed)
    scale = 1.0 if op.metric.scale is None else op.metric.scale.double().cpu().numpy() ** 2

    def diagonal_of(entries: np.ndarray) -> np.ndarray:
        return op.scope.gather(torch.from_numpy(entries)).numpy() * scale

    return np.zeros(0), np.zeros((op.size, 0)), diagonal_of(squares), diagonal_of(errors)


PROPOSALS: dict[str, Callable[[Hessian | GaussNewton, int, int, int], Curvature]] = {
    "diagonal": _diagonal,
    "low-rank": _low_rank,
    "low-rank-diagonal": _low_rank_diagonal,
    "krylov": _krylov,
    "squared-gradients": _squared_gradients,
}
NAMES = (*PROPOSALS, "slopes")  # the last has no curvature: landscape.volume.proposals.from_slopes
UNSCALED = ("squared-gradients", "moments")  # the shape of a curvature, and not its size


def _level(
    op: Operator, values: np.ndarray, vectors: np.ndarray, probes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return one curvature for all directions left, from the trace, and its standard error, shape (n,) both."""
    if len(values) == op.size:  # none is left
        return np.full(op.size, values.mean()), np.zeros(op.size)
    rest = trace(_Deflated(op, values, vectors), probes, seed=seed)
    left = op.size - len(values)
    return np.full(op.size, rest.value / left), np.full(op.size, rest.standard_error / left)


def _top(op: Operator, rank: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest positive eigenvalues and their vectors, orthonormal in float64."""
    if op.size == 1:
        return np.zeros(0), np.zeros((1, 0))
    pairs = top_eigenpairs(op, min(rank, op.size - 1), seed=seed)
    chosen = pairs.values > _LEAST * max(pairs.values.max(), 0.0)
    return pairs.values[chosen], _orthonormal(pairs.vectors[:, chosen].astype(np.float64))


def _orthonormal(vectors: np.ndarray) -> np.ndarray:
    """Return nearly orthonormal columns made so to float64, each as it was."""
    found, triangle = np.linalg.qr(vectors)
    return found * np.sign(np.diag(triangle))


def from_moments(moments: Mapping[str, Tensor], op: Hessian | GaussNewton) -> Curvature:
    """Return the curvature that second moments of gradients stand for, given by the names of the parameters.

    Raises:
        CurvatureError: where a parameter in scope has none, or one of another shape.
    """
    full = torch.zeros(op.objective.layout.size, dtype=torch.float64)
    for entry in op.scope.entries:
        held = moments.get(entry.name)
        if held is None or held.numel() != entry.stop - entry.start:
            got = "none" if held is None else f"one of shape {tuple(held.shape)}"
            raise CurvatureError(
                f"a proposal from moments needs one for each parameter in scope, and for {entry.name} there is {got}.\n"
                f"Pass the moments of this model, by name: {', '.join(list(moments)[:4]) or 'nothing'} arrived."
            )
        full[entry.start : entry.stop] = held.detach().double().cpu().reshape(-1)
    values = op.scope.gather(full).numpy()
    if not (np.isfinite(values) & (values >= 0)).all():
        raise CurvatureError("second moments are finite and not negative, and some of these are not.")
    scale = 1.0 if op.metric.scale is None else op.metric.scale.double().cpu().numpy() ** 2
    return np.zeros(0), np.zeros((op.size, 0)), values * scale, np.zeros(op.size)


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


def fitted(found: Curvature, op: Hessian | GaussNewton, probes: int, seed: int) -> Curvature:
    """Return a diagonal of unknown size times what gives it the trace of the curvature; 0 where that is negative."""
    values, vectors, rest, errors = found
    size = max(trace(op, probes, seed=seed).value, 0.0) / max(float(rest.sum()), 1e-300)
    return values, vectors, rest * size, errors * size


def floored(rest: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return a positive diagonal: an entry below its own standard error, or below a millionth of the mean, is lifted.

    A direction that seems flatter than it is would draw all rays to itself.

    Raises:
        CurvatureError: where there is nothing positive.
    """
    mean = float(np.maximum(rest, 0.0).mean())
    if not mean > 0:
        raise CurvatureError(
            "the curvature at the trained point is zero or negative in all directions left to the rest of the "
            "proposal, so it says nothing of where rays are long.\nPass a finite max_radius, a lower rank, an array of "
            "your own as proposal, or estimator='annealed'."
        )
    return np.maximum(rest, np.maximum(errors, _LEAST * mean))
