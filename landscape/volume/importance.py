"""The ``importance`` estimator: rays drawn where the curvature says that they are long, each weighted for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from landscape.curvature import GaussNewton, Hessian
from landscape.errors import CurvatureError, check_count
from landscape.objective import Objective
from landscape.objective.evaluate import GRADIENT_COST
from landscape.objective.shards.whole import require_whole
from landscape.rays import basin_radii, make_metric
from landscape.rays.basin import check_basin
from landscape.results import Cost, OnProgress, Radii, Volume
from landscape.volume.body.linear_map import LinearMap
from landscape.volume.proposals.angular_gaussian import AngularGaussian, ProposedDirections
from landscape.volume.proposals.from_curvature import (
    NAMES,
    PROPOSALS,
    UNSCALED,
    ProposalCurvature,
    fitted,
    floored,
    from_moments,
)
from landscape.volume.proposals.from_slopes import SlopeDirections, learn_from_slopes
from landscape.volume.proposals.second_start import with_second_start
from landscape.volume.quadratic import basin_curvature, cap_balance
from landscape.volume.ray_weights.mean import mean_over_rays
from landscape.volume.ray_weights.measure import MeasureOnRays, check_measure, fine_rtol, make_measure
from landscape.volume.ray_weights.survival import with_survival


def importance_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    proposal: str | np.ndarray | Mapping[str, Tensor] | LinearMap = "low-rank",
    curvature: str | None = None,
    rank: int = 20,
    probes: int = 100,
    criterion: str = "loss",
    metric: str = "filter",
    directions: int = 1000,
    seed: int = 0,
    max_radius: float | None = None,
    rtol: float | None = None,
    step_ratio: float = 2.0,
    first_step: float | None = None,
    resume: Radii | None = None,
    progress: bool = False,
    on_progress: OnProgress[Radii] | None = None,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
    check: bool = True,
    derivative: str = "autograd",
) -> Volume:
    """Return the log-volume of the basin for each cutoff from rays of an angular central Gaussian q.

        log V = log ω_n + 1/2 log |Σ| + log E_q[(r² phi' Σ^-1 phi)^(n/2)]

    in metric coordinates. If Σ^-1 is the curvature of an ellipsoid, every weight is the same. The further the basin is
    from it, the more the weights scatter. The mean is unbiased whatever Σ is, since log |Σ| is known exactly and Σ is
    fixed before the first ray. So verdict, interval and lower bound are those of :func:`landscape.volume_from_radii`,
    with these weights.

    Σ^-1 comes from the curvature at theta:

    - ``diagonal``: the diagonal, from random signs (:func:`landscape.diagonal`).
    - ``low-rank``: the ``rank`` largest eigenvalues and their vectors by Lanczos, and one curvature for all other
      directions, fitted to the trace.
    - ``low-rank-diagonal``: the same, with the diagonal of the rest.
    - ``krylov``: the curvature on the basis of ``rank`` Lanczos steps, and one curvature for all other directions. It
      takes as many products as ``rank`` and knows both ends of the spectrum; ``low-rank`` continues until its
      eigenvectors have converged.
    - ``squared-gradients``: the mean of the squared gradients of ``probes`` samples (the empirical Fisher diagonal).
    - tensors by the names of the parameters: second moments of gradients such as Adam's, from
      :func:`landscape.adam_moments`.
    - an array, shape (n,): a diagonal of your own, positive, in metric coordinates.
    - ``slopes``: not from the curvature at theta. Σ = A A' with the A learnt from the slopes at the wall of the
      smallest cutoff (:func:`landscape.volume.proposals.precondition.learn`), along rays that do not count. It follows
      basins that are no ellipsoid. Each of at most 50 refinements costs up to 384 rays and their gradients. Such
      coordinates can hide a part of the basin, so ``reliable`` also needs that chains from two starts agree
      (:mod:`landscape.volume.proposals.second_start`).
    - a :class:`LinearMap`: such an A.

    1. A diagonal entry below its own standard error is raised to it, so that rays do not crowd a direction that only
       seems flat.
    2. With a finite cap the curvature is shifted so that Σ follows the basin cut by the cap at the smallest cutoff
       (:func:`landscape.volume.quadratic.cap_balance`). All cutoffs share the rays.
    3. Squared gradients and moments are proportional to a curvature with an unknown factor. Without a cap the factor
       does not matter; with one it is fitted to the trace.

    Args:
        objective, cutoffs, criterion, metric, seed, max_radius, step_ratio, first_step: as for
            :func:`landscape.basin_radii`.
        resume, progress, on_progress: as there; ``resume`` takes what ``on_progress`` was handed.
        proposal: see above.
        curvature: ``hessian`` or ``ggn``, as for :func:`landscape.volume.laplace.laplace_volume`.
        rank: number of eigenpairs.
        probes: products for the diagonal or the trace, or samples whose gradients are squared.
        directions: number of rays.
        rtol: relative tolerance of a radius; by default what moves log V by at most 0.1, from 1e-6 to 1e-3.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`.
        check, derivative: as for :class:`landscape.Hessian`.

    Raises:
        CurvatureError: for an unknown proposal, one that is not positive, or a curvature that is nowhere positive.
        LandscapeError: whatever :func:`landscape.basin_radii` raises.

    >>> import torch
    >>> h = torch.tensor([1.0, 100.0], dtype=torch.float64)
    >>> bowl = Objective.from_function(lambda x: (h * x.square()).sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> oval = importance_volume(bowl, [4.0], proposal="diagonal", metric="identity", directions=100).results[0]
    >>> round(math.exp(oval.log_volume) / math.pi, 4), round(oval.ess), oval.verdict
    (0.4, 100, 'reliable')
    """
    check_measure(measure, sigma, measure_centre)
    values, centre = check_basin(objective, cutoffs, criterion)
    require_whole(objective.program, "the estimator importance")
    metric_at_theta = make_metric(metric, objective.theta, objective.scope)
    basin_measure = make_measure(objective, metric_at_theta, measure, sigma, measure_centre)
    search: dict[str, Any] = {
        "criterion": criterion,
        "seed": seed,
        "max_radius": max_radius,
        "rtol": fine_rtol(metric_at_theta.scope.size) if rtol is None else rtol,
        "step_ratio": step_ratio,
        "first_step": first_step,
    }
    spent = Cost(0.0, 0, 0.0)
    rays: SlopeDirections | ProposedDirections
    if isinstance(proposal, str) and proposal == "slopes":
        proposal, spent = learn_from_slopes(objective, metric_at_theta, values[0], centre, basin_measure, **search)
    if isinstance(proposal, LinearMap):
        rays = SlopeDirections(proposal, metric_at_theta, seed, objective.theta, {"name": "slopes"})
    else:
        cap = (1.0 if metric_at_theta.relative else math.inf) if max_radius is None else float(max_radius)
        rise, n = 2 * (values[0] - centre), metric_at_theta.scope.size
        basin = partial(basin_curvature, objective, criterion, metric, curvature, check=check, derivative=derivative)
        gaussian, about, spent = _gaussian(basin, proposal, rank, probes, seed, rise, cap, n)
        rays = ProposedDirections(gaussian, metric_at_theta, seed, objective.theta, about)
    radii = basin_radii(
        objective,
        values,
        metric=metric_at_theta,
        directions=directions,
        rays=rays,
        resume=resume,
        progress=progress,
        on_progress=on_progress,
        **search,
    )
    on_rays = MeasureOnRays.rays(basin_measure, objective, rays, directions)
    volume = mean_over_rays(radii, on_rays, log_tilts=rays.log_tilts(range(directions)), estimator="importance")
    volume = with_survival(volume, objective, radii, rays, on_rays)
    if isinstance(rays, SlopeDirections):
        volume = with_second_start(volume, objective, radii, rays, basin_measure)
    return replace(volume, cost=volume.cost + spent)


def _gaussian(
    basin: Callable[[], Hessian | GaussNewton],
    proposal: str | np.ndarray | Mapping[str, Tensor],
    rank: int,
    probes: int,
    seed: int,
    rise: float,
    cap: float,
    n: int,
) -> tuple[AngularGaussian, dict[str, Any], Cost]:
    """Return the Gaussian of a curvature, what it was made from, and its cost.

    Args:
        basin: returns the curvature.
        proposal, rank, probes, seed: as for :func:`importance_volume`.
        rise: 2 (c - L0).
        cap: on a radius.
        n: number of entries that move.
    """
    if isinstance(proposal, np.ndarray):
        return _from_diagonal(proposal, n), {"name": "array"}, Cost(0.0, 0, 0.0)
    name = proposal if isinstance(proposal, str) else "moments"
    _check(name, rank)
    op = basin()
    curvature = PROPOSALS[proposal](op, rank, probes, seed) if isinstance(proposal, str) else from_moments(proposal, op)
    if name in UNSCALED and math.isfinite(cap):
        curvature = fitted(curvature, op, probes, seed)
    gaussian = _under_cap(curvature, rise, cap)
    spent = op.cost
    if name == "squared-gradients":
        samples = op.objective.samples
        spent = replace(spent, evaluations=spent.evaluations + GRADIENT_COST * min(probes, samples) / samples)
    return gaussian, {"name": name, "curvature": op.name, "rank": rank, "probes": probes}, spent


def _check(proposal: str, rank: int) -> None:
    if proposal not in (*PROPOSALS, "moments"):
        raise CurvatureError(
            f"the proposal {proposal!r} is not known. Pass one of {', '.join(NAMES)}, tensors by name, or an array "
            "of n curvatures."
        )
    check_count("rank", rank, error=CurvatureError)


def _from_diagonal(diagonal: np.ndarray, n: int) -> AngularGaussian:
    """Return the Gaussian of a caller's diagonal."""
    if diagonal.shape != (n,) or not (np.isfinite(diagonal) & (diagonal > 0)).all():
        raise CurvatureError(
            f"a diagonal as proposal must hold n = {n} finite, positive curvatures, shape ({n},); got the shape "
            f"{diagonal.shape}, with {int((~(diagonal > 0)).sum())} entries that are not positive.\n"
            "Add a small constant to it, or pass one of " + ", ".join(NAMES) + "."
        )
    return AngularGaussian(np.zeros(0), np.zeros((n, 0)), diagonal)


def _under_cap(curvature: ProposalCurvature, rise: float, cap: float) -> AngularGaussian:
    """Return the Gaussian of a curvature, shifted for the cap."""
    values, rest, n = curvature.values, curvature.rest, len(curvature.rest)
    if math.isinf(cap):
        return AngularGaussian(values, curvature.vectors, floored(rest, curvature.errors))
    rest = np.maximum(rest, 0.0)
    # the n entries of the rest stand for the other n - k eigenvalues
    share = np.concatenate([np.ones(len(values)), np.full(n, 1 - len(values) / n)]) / n
    balance = cap_balance(np.concatenate([values, rest]), share, n, rise, cap)
    if balance.share == 1:
        return AngularGaussian(np.zeros(0), np.zeros((n, 0)), np.ones(n))
    errors = curvature.errors * (balance.shift == 0)
    return AngularGaussian(values + balance.shift, curvature.vectors, floored(rest + balance.shift, errors))
