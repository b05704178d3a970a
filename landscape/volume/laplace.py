"""The ``laplace`` estimator: the volume of the basin of the quadratic that the curvature at theta describes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from landscape.curvature import GaussNewton, Hessian, log_determinant, spectral_density
from landscape.errors import CurvatureError
from landscape.objective import Objective
from landscape.rays.basin import check_basin
from landscape.results import Cost, LaplaceVolume, LogDeterminant, OnProgress, SpectralDensity, VolumeEstimate
from landscape.volume.quadratic import Balance, basin_curvature, cap_balance, cap_of
from landscape.volume.ray_weights import statistics as w

_ABSENT = 1e-9  # a node that stands for a smaller share of one eigenvalue is rounding


def laplace_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str = "filter",
    curvature: str | None = None,
    max_radius: float | None = None,
    probes: int = 30,
    steps: int = 80,
    seed: int = 0,
    check: bool = True,
    derivative: str = "autograd",
    progress: bool = False,
    on_progress: OnProgress[Any] | None = None,
) -> LaplaceVolume:
    """Return the log-volume of the basin of the quadratic around theta, for each cutoff.

        log V = log ω_n + n/2 · log 2(c - L0) - 1/2 · log det(S H S),

    with c - L0 the rise from the centre to the cutoff. It is exact for an ellipsoid. Otherwise it is an approximation
    whose error is unknown, and no bound in either direction, so the verdict is ``approximation``. The 95 % interval is
    for the volume of the quadratic alone: it adds the statistical error of the log-determinant (Student's t over the
    probes) and the error of its quadrature.

    With a finite cap R the body is the ellipsoid cut by the ball of radius R. For every λ from 0 to 1 the matrix

        M = (1 - λ) S H S / 2(c - L0) + λ / R²

    makes an ellipsoid x' M x <= 1 that contains the cut one. The one of least volume is taken, times the probability
    that a point of it is in both bodies (:func:`landscape.volume.quadratic.cap_balance`). H enters as H + shift, so
    directions that are flat or bend downwards end at the cap.

    1. The gradient at theta is taken as zero.
    2. The shift 2(c - L0) / R² alone would keep the whole ellipsoid inside the ball. It makes log V too small by up to
       n/2 · log 2, so it is not used.

    Args:
        objective, cutoffs, criterion, metric, max_radius: as for :func:`landscape.basin_radii`.
        curvature: ``hessian`` or ``ggn`` (Gauss-Newton); by default the Hessian, and for the criterion ``kl`` the
            Gauss-Newton matrix, which is the second derivative of the KL (the Fisher information).
        probes, steps, seed: as for :func:`landscape.log_determinant`.
        check, derivative: as for :class:`landscape.Hessian`.
        progress, on_progress: as for :func:`landscape.trace`; the products of each log-determinant count anew.

    Raises:
        CurvatureError: if the matrix is not positive definite and there is no cap, and whatever the operator raises.
        ObjectiveError: if there is no basin, as for :func:`landscape.basin_radii`.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = laplace_volume(bowl, [4.0], metric="identity").results[0]
    >>> round(math.exp(disc.log_volume) / math.pi, 6), disc.verdict
    (4.0, 'approximation')
    """
    started = time.perf_counter()
    values, centre = check_basin(objective, cutoffs, criterion)
    op = basin_curvature(objective, criterion, metric, curvature, check=check, derivative=derivative)
    cap = cap_of(op, max_radius)
    settings: dict[str, Any] = {"probes": probes, "steps": steps, "seed": seed}
    told: dict[str, Any] = {"progress": progress, "on_progress": on_progress}
    # both use the same Lanczos runs, so that no eigenvalue shows in one and not in the other
    density = spectral_density(op, probes, steps, seed=seed, **told) if math.isfinite(cap) else None
    models: list[_Model] = []
    by_shift: dict[float, LogDeterminant] = {}
    for cutoff in values:
        balance = _UNCUT if density is None else _balance_of(density, 2 * (cutoff - centre), cap)
        if balance.share < 1 and balance.shift not in by_shift:
            by_shift[balance.shift] = log_determinant(op, balance.shift, **settings, **told)
            _check_definite(by_shift[balance.shift], op.name, balance)
        log_det = by_shift.get(balance.shift)
        models.append(_Model(cutoff, 2 * (cutoff - centre), op.size, cap, balance, log_det, op.notes))
    negative = float(op.size * density.negative_bounds[0]) if density is not None else 0.0
    cost = Cost(op.cost.evaluations, op.cost.calls, time.perf_counter() - started)
    config = laplace_config(op, criterion, cap, **settings)

    def column(read: Any) -> np.ndarray:
        known = (model.log_determinant for model in models)
        return np.array([math.nan if log_det is None else read(log_det) for log_det in known])

    return LaplaceVolume(
        results=tuple(model.estimate(op.metric.log_scale_sum) for model in models),
        log_weights=np.zeros((0, len(values))),
        estimator="laplace",
        dimension=op.size,
        directions=0,
        config=config,
        cost=cost,
        log_determinant=column(lambda log_det: log_det.value),
        standard_error=column(lambda log_det: log_det.standard_error),
        quadrature_error=column(lambda log_det: log_det.quadrature_error),
        shift=np.array([model.balance.shift for model in models]),
        negative=negative,
    )


def laplace_config(
    op: Hessian | GaussNewton, criterion: str, cap: float, probes: int = 30, steps: int = 80, seed: int = 0
) -> dict[str, Any]:
    """Return the configuration that the result of :func:`laplace_volume` keeps: all that determines the numbers."""
    return {
        **op.describe(),
        "criterion": criterion,
        "curvature": op.name,
        "max_radius": None if math.isinf(cap) else cap,
        "dead_filters": len(op.metric.dead),
        "probes": probes,
        "steps": steps,
        "seed": seed,
    }


_WHY_APPROXIMATE = (
    "this is the volume of the quadratic that the curvature describes. The interval holds the error of the "
    "log-determinant, and nothing says how far the basin is from that quadratic: compare with another `estimator=...`"
)
_UNCUT = Balance(0.0, 0.0, 0.0)


def _balance_of(density: SpectralDensity, rise: float, cap: float) -> Balance:
    """Return the balance for the eigenvalues in a spectral density."""
    nodes = np.where(np.abs(density.nodes) <= density.zero, 0.0, density.nodes)
    present = density.dimension * density.weights > _ABSENT  # as in the log-determinant
    return cap_balance(nodes[present], density.weights[present] / len(nodes), density.dimension, rise, cap)


@dataclass(frozen=True)
class _Model:
    """The quadratic's basin for one cutoff.

    Attributes:
        cutoff: c.
        rise: 2(c - L0).
        n: number of entries that move.
        cap: R.
        balance: how the ellipsoid and the cap share in it.
        log_determinant: of the shifted matrix; None if the cap alone bounds the basin.
        notes: what a user should know about the products.
    """

    cutoff: float
    rise: float
    n: int
    cap: float
    balance: Balance
    log_determinant: LogDeterminant | None
    notes: tuple[str, ...]

    def estimate(self, log_scale_sum: float) -> VolumeEstimate:
        """Return its log-volume, with the errors of the log-determinant."""
        value, half = w.log_unit_ball(self.n) + self.balance.log_probability, 0.0
        log_det = self.log_determinant
        if log_det is None:
            value += self.n * math.log(self.cap)
        else:
            value += 0.5 * (self.n * math.log(self.rise / (1 - self.balance.share)) - log_det.value)
            t = float(stdtrit(max(len(log_det.samples) - 1, 1), (1 + w.CONFIDENCE) / 2))
            half = 0.5 * (t * log_det.standard_error + log_det.quadrature_error)
        return VolumeEstimate(
            cutoff=self.cutoff,
            log_volume=value,
            log_volume_raw=value + log_scale_sum,
            interval=(value - half, value + half),
            ess=math.nan,
            largest_weight=math.nan,
            censored=math.nan,
            censored_weight=math.nan,
            pareto_k=math.nan,
            verdict="approximation",
            reasons=(_WHY_APPROXIMATE, *self.notes),
        )


def _check_definite(log_det: LogDeterminant, name: str, balance: Balance) -> None:
    """Refuse a matrix whose quadratic has no basin of finite volume."""
    if log_det.definite:
        return
    what = (
        f"about {log_det.negative:.3g} negative eigenvalues"
        if log_det.negative > 0
        else f"about {log_det.zero:.3g} eigenvalues that are 0 to rounding"
    )
    advice = ["`estimator='annealed'`, which needs no curvature"]
    if not balance.share:
        advice.insert(0, "a finite max_radius, which bounds what the curvature does not")
    if name == "hessian" and log_det.negative > 0:
        advice.insert(0, "`curvature='ggn'`, which has no negative eigenvalues")
    raise CurvatureError(
        f"the {name} at the trained point has {what} among {log_det.dimension:,}, so the quadratic around it has no "
        f"finite volume.\nPass {'; or '.join(advice)}."
    )
