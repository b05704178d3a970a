"""The spectral density and the log-determinant of an operator, by stochastic Lanczos quadrature."""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.curvature.counting_operator import counting
from landscape.curvature.lanczos import ROUNDING
from landscape.curvature.operator import Operator
from landscape.curvature.probes import Probes, spending
from landscape.curvature.quadrature import keeps_all, lanczos
from landscape.errors import CurvatureError, check_count, check_number
from landscape.results import LogDeterminant, OnProgress, SpectralDensity

_MARGIN, _MOST_CHANGES = 2.0, 10.0  # of the quadrature error: see _extrapolated
_ABSENT = 1e-9  # of one eigenvalue: smaller weights are rounding


def spectral_density(
    op: Operator,
    probes: int = 10,
    steps: int = 80,
    *,
    seed: int = 0,
    progress: bool = False,
    on_progress: OnProgress[SpectralDensity] | None = None,
) -> SpectralDensity:
    """Return the density of the eigenvalues of a symmetric operator, by stochastic Lanczos quadrature.

    Random signs z define the measure with moments z . A^p z / n. ``steps`` products of Lanczos give the nodes and
    weights with the same moments up to p = 2 · steps - 1. Their mean over probes estimates the share of eigenvalues
    (Lin, Saad and Yang 2016; Ghorbani, Krishnan and Xiao 2019). All probes advance together, one block product per
    step. Outliers converge first and become nodes. In the bulk, a feature narrower than the width of the bulk over
    ``steps`` is not resolved.

    Args:
        op: the operator, n rows.
        probes: number of random probes, at least 2. If n <= probes, unit vectors take their place, and only the number
            of steps is an approximation.
        steps: products per probe, at least 2.
        seed: probe i depends on (seed, i) alone.
        progress, on_progress: as for :func:`landscape.trace`.

    Raises:
        CurvatureError: too few probes or steps, or products that are NaN.

    >>> from landscape.curvature.operator import Dense
    >>> density = spectral_density(Dense(torch.diag(torch.tensor([0.0, 0.0, 3.0, 3.0]))))
    >>> float(density.cdf(1.0)), float(round(density.trace[0], 5)), density.zero_share
    (0.5, 6.0, 0.5)
    """
    check_count("steps", steps, 2, CurvatureError)
    drawn = Probes.of(op, probes, seed)
    most = drawn.count * min(steps, op.size)
    with counting(op, most, progress, on_progress) as op, spending(op) as spent:
        jacobi = lanczos(op, drawn, steps)
    nodes, weights = jacobi.gauss_rule()
    return SpectralDensity(
        nodes=nodes,
        weights=weights,
        exact=drawn.exact,
        ended=jacobi.exhausted,
        zero=_rounding(op, nodes),
        dimension=op.size,
        config=_config(op, drawn, probes, steps, seed),
        cost=spent.cost,
    )


def log_determinant(
    op: Operator,
    shift: float = 0.0,
    *,
    probes: int = 30,
    steps: int = 80,
    seed: int = 0,
    progress: bool = False,
    on_progress: OnProgress[LogDeterminant] | None = None,
) -> LogDeterminant:
    """Return log |det(A + shift · 1)| with its errors, by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017).

    The estimate is n times the mean over probes of the sum of weights · log |node + shift|. ``standard_error`` is the
    scatter between probes. ``quadrature_error`` estimates what more steps would change, from the values after a
    quarter, a half and all of the steps.

    Look at ``definite`` first. If the matrix is not positive definite, ``negative`` estimates how many eigenvalues are
    below 0. The value is then the logarithm of the absolute determinant, which is no volume. If most probes find an
    eigenvalue that is 0 to rounding, the matrix is singular and the value is -inf; ``zero`` counts these eigenvalues.

    Args:
        op: the operator, n rows.
        shift: added to the diagonal, for weight decay or a Gaussian prior, or to make the matrix definite.
        probes, steps, seed, progress, on_progress: as for :func:`spectral_density`.

    Raises:
        CurvatureError: a shift that is not finite, too few probes or steps, or products that are NaN.

    >>> from landscape.curvature.operator import Dense
    >>> log_det = log_determinant(Dense(torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))), shift=1.0)
    >>> round(math.exp(log_det.value), 9), log_det.definite
    (36.0, True)
    """
    if not math.isfinite(check_number("shift", shift, CurvatureError)):
        raise CurvatureError(f"shift must be a finite number, not {shift!r}.")
    check_count("steps", steps, 2, CurvatureError)
    drawn = Probes.of(op, probes, seed)
    most = drawn.count * min(steps, op.size)
    with counting(op, most, progress, on_progress) as op, spending(op) as spent:
        jacobi = lanczos(op, drawn, steps)
    nodes, weights = jacobi.gauss_rule()
    eigenvalues = nodes + shift
    tiny = _rounding(op, eigenvalues)
    counts = op.size * weights
    null = np.where(np.abs(eigenvalues) <= tiny, counts, 0.0).sum(1)
    negative = np.where(eigenvalues < -tiny, counts, 0.0).sum(1)
    samples = _log_sums(eigenvalues, counts, tiny)
    earlier = [jacobi.gauss_rule(max(1, nodes.shape[1] // part)) for part in (2, 4)]
    half, quarter = (_log_sums(nodes + shift, op.size * weights, tiny).mean() for nodes, weights in earlier)
    # among many unconverged nodes one may lie at 0 by chance; an eigenvalue there shows in most of the probes
    singular = bool(np.mean(null > _ABSENT) > 0.5)
    missing = 0.0 if jacobi.exhausted else _extrapolated(quarter, half, samples.mean())
    return LogDeterminant(
        value=-math.inf if singular else float(samples.mean()),
        standard_error=math.nan if singular else float(drawn.error(samples)),
        quadrature_error=math.nan if singular else missing,
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
    """Return the sum of counts · log |eigenvalue| for each probe; one that is 0 to rounding counts as ``tiny``."""
    present = counts > _ABSENT
    return np.where(present, counts * np.log(np.maximum(np.abs(eigenvalues), tiny or 1.0)), 0.0).sum(1)


def _extrapolated(quarter: float, half: float, full: float) -> float:
    """Return an estimate of the error of the last of three values, each at twice the steps of the one before.

    If every doubling shrinks the change by the same factor rho, the missing part is the last change · rho / (1 - rho).
    The estimate takes at least the last change and at most ten times it, and doubles that. Spectra over eight decades
    need this margin.
    """
    change, before = abs(full - half), abs(half - quarter)
    missing = change / (before - change) if before > change else math.inf
    return float(_MARGIN * change * min(max(missing, 1.0), _MOST_CHANGES))


def _rounding(op: Operator, nodes: np.ndarray) -> float:
    """Return the absolute value below which a node is 0 to rounding."""
    return ROUNDING * float(torch.finfo(op.dtype).eps) * float(np.abs(nodes).max())


def _config(op: Operator, drawn: Probes, probes: int, steps: int, seed: int) -> dict[str, object]:
    orthogonal = keeps_all(op, drawn.count, min(steps, op.size))
    settings = {"probes": probes, "steps": steps, "seed": seed, "reorthogonalised": orthogonal}
    return {**op.describe(), "dtype": str(op.dtype).removeprefix("torch."), **settings}
