"""The spectral density and the log-determinant of an operator, by stochastic Lanczos quadrature."""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.curvature.lanczos import ROUNDING
from landscape.curvature.operator import Operator
from landscape.curvature.probes import Probes, check_count, spending
from landscape.curvature.quadrature import keeps_all, lanczos
from landscape.errors import CurvatureError
from landscape.results import LogDeterminant, SpectralDensity

_ABSENT = 1e-9  # of an eigenvalue: smaller weights are rounding


def spectral_density(op: Operator, probes: int = 10, steps: int = 80, *, seed: int = 0) -> SpectralDensity:
    """Return the density of the eigenvalues of a symmetric operator, by stochastic Lanczos quadrature.

    Random signs z give the measure whose moments are z . A^p z / n; ``steps`` products of Lanczos give the nodes and
    weights with the same moments up to p = 2 · steps - 1; the mean over probes estimates the share of eigenvalues
    (Lin, Saad and Yang 2016; Ghorbani, Krishnan and Xiao 2019). All probes advance together, one block product a
    step. Outliers converge first and become nodes; in the bulk a feature narrower than its width over ``steps`` is
    not resolved.

    Args:
        op: the operator, n rows.
        probes: number of random probes, at least 2. As soon as n <= probes, unit vectors take their place, and the only
            approximation left is the number of steps.
        steps: products a probe, at least 2.
        seed: probe i depends on (seed, i) alone.

    Raises:
        CurvatureError: too few probes or steps, or products that are NaN.

    >>> from landscape.curvature.operator import Dense
    >>> density = spectral_density(Dense(torch.diag(torch.tensor([0.0, 0.0, 3.0, 3.0]))))
    >>> float(density.cdf(1.0)), float(round(density.trace[0], 5)), density.zero_share
    (0.5, 6.0, 0.5)
    """
    check_count("steps", steps, 2)
    drawn = Probes.of(op, probes, seed)
    with spending(op) as spent:
        chains = lanczos(op, drawn, steps)
    nodes, weights = chains.gauss()
    return SpectralDensity(
        nodes=nodes,
        weights=weights,
        exact=drawn.exact,
        ended=chains.ended,
        zero=_rounding(op, nodes),
        dimension=op.size,
        config=_config(op, drawn, probes, steps, seed),
        cost=spent.cost,
    )


def log_determinant(
    op: Operator, shift: float = 0.0, *, probes: int = 30, steps: int = 80, seed: int = 0
) -> LogDeterminant:
    """Return log |det(A + shift · 1)| with its errors, by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017).

    n times the mean over probes of the sum of weights · log |node + shift|. ``standard_error`` is the scatter between
    probes; ``quadrature_error`` estimates from a quarter, a half and all of the steps what more of them would change.

    A matrix that is not positive definite is no error: ``negative`` says how many eigenvalues are estimated below 0,
    and the value is the logarithm of the absolute determinant, which is no volume. Where most probes find an
    eigenvalue that is 0 to rounding, the matrix is singular and the value -inf; ``zero`` counts these. Look at
    ``definite`` first.

    Args:
        op: the operator, n rows.
        shift: added to the diagonal: of weight decay or a Gaussian prior, or to make the matrix definite.
        probes, steps, seed: as for :func:`spectral_density`.

    Raises:
        CurvatureError: a shift that is not finite, too few probes or steps, or products that are NaN.

    >>> from landscape.curvature.operator import Dense
    >>> found = log_determinant(Dense(torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))), shift=1.0)
    >>> round(math.exp(found.value), 9), found.definite
    (36.0, True)
    """
    if not math.isfinite(shift):
        raise CurvatureError(f"shift must be a finite number, not {shift!r}.")
    check_count("steps", steps, 2)
    drawn = Probes.of(op, probes, seed)
    with spending(op) as spent:
        chains = lanczos(op, drawn, steps)
    nodes, weights = chains.gauss()
    eigenvalues = nodes + shift
    tiny = _rounding(op, eigenvalues)
    counts = op.size * weights
    null = np.where(np.abs(eigenvalues) <= tiny, counts, 0.0).sum(1)
    negative = np.where(eigenvalues < -tiny, counts, 0.0).sum(1)
    samples = _log_sums(eigenvalues, counts, tiny)
    earlier = [chains.gauss(max(1, nodes.shape[1] // part)) for part in (2, 4)]
    half, quarter = (_log_sums(at + shift, op.size * share, tiny).mean() for at, share in earlier)
    # among many unconverged nodes one may lie at 0 by chance; an eigenvalue there shows in most of the probes
    singular = bool(np.mean(null > _ABSENT) > 0.5)
    return LogDeterminant(
        value=-math.inf if singular else float(samples.mean()),
        standard_error=math.nan if singular else float(drawn.error(samples)),
        quadrature_error=math.nan
        if singular
        else 0.0
        if chains.ended
        else _extrapolated(quarter, half, samples.mean()),
        negative=float(negative.mean()) if (negative > _ABSENT).any() else 0.0,
        negative_error=float(drawn.error(negative)),
        zero=float(null.mean()),
        samples=samples,
        shift=float(shift),
        exact=drawn.exact,
        dimension=op.size,
        config={**_config(op, drawn, probes, steps, seed), "shift": float(shift)},
        cost=spent.cost,
    )


def _log_sums(eigenvalues: np.ndarray, counts: np.ndarray, tiny: float) -> np.ndarray:
    """Return the sum of counts · log |eigenvalue| for each probe; what is 0 to rounding counts as rounding."""
    present = counts > _ABSENT
    return np.where(present, counts * np.log(np.maximum(np.abs(eigenvalues), tiny or 1.0)), 0.0).sum(1)


def _extrapolated(quarter: float, half: float, full: float) -> float:
    """Return an estimate of what is missing from the last of three values, each at twice the steps of the one before.

    If every doubling changes the value by the same factor rho, what is missing is the last change · rho / (1 - rho).
    Not less than the change itself is taken, at most ten times it, and twice the whole: spectra over eight decades need
    that.
    """
    change, before = abs(full - half), abs(half - quarter)
    rest = change / (before - change) if before > change else math.inf
    return float(2 * change * min(max(rest, 1.0), 10.0))


def _rounding(op: Operator, nodes: np.ndarray) -> float:
    """Return the absolute value below which a node is 0 to rounding."""
    return ROUNDING * float(torch.finfo(op.dtype).eps) * float(np.abs(nodes).max())


def _config(op: Operator, drawn: Probes, probes: int, steps: int, seed: int) -> dict[str, object]:
    orthogonal = keeps_all(op, drawn.count, min(steps, op.size))
    settings = {"probes": probes, "steps": steps, "seed": seed, "reorthogonalised": orthogonal}
    return {**op.describe(), "dtype": str(op.dtype).removeprefix("torch."), **settings}
