"""The ``importance`` estimator: rays drawn where the curvature says they are long, each weighted for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from landscape.curvature.probes import check_count
from landscape.errors import CurvatureError
from landscape.objective import Objective
from landscape.objective.evaluate import GRADIENT_COST
from landscape.rays import basin_radii, make_metric
from landscape.rays.radii import check_basin
from landscape.results import Cost, OnProgress, Radii, Volume
from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.proposals.angular_gaussian import AngularGaussian, ProposedDirections
from landscape.volume.proposals.from_curvature import NAMES, PROPOSALS, UNSCALED, fitted, floored, from_moments
from landscape.volume.proposals.from_slopes import SlopeDirections, learnt
from landscape.volume.quadratic import basin_curvature, cap_balance
from landscape.volume.ray_weights.mean import mean_over_rays
from landscape.volume.ray_weights.measure import check_measure, fine_rtol, make_measure, measure_on_rays


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
    on_progress: OnProgress[Radii] | None = None,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
) -> Volume:
    """Return the log-volume of the basin for each cutoff from rays of an angular central Gaussian q.

    log V = log ω_n + 1/2 log |Σ| + log E_q[(r² phi' Σ^-1 phi)^(n/2)], in metric coordinates. With Σ^-1 the curvature
    of an ellipsoid every weight is the same; the further the basin is from it, the more they scatter. The mean is
    unbiased whatever Σ is, since log |Σ| is known exactly and Σ is settled before a ray is drawn. So verdict,
    interval and lower bound are those of :func:`landscape.volume_from_radii`, with these weights.

    Σ^-1 comes from the curvature at theta:

    - ``diagonal``: the diagonal, from random signs (:func:`landscape.diagonal`).
    - ``low-rank``: the ``rank`` largest eigenvalues and their vectors by Lanczos, and a single curvature for all other
      directions, fitted to the trace.
    - ``low-rank-diagonal``: the same, with the diagonal of what is left.
    - ``krylov``: the basis of ``rank`` Lanczos steps and what the curvature is on it, and a single curvature for all
      other directions. For the price of as many products it knows both ends of the spectrum, where ``low-rank`` goes
      on until its eigenvectors have converged.
    - ``squared-gradients``: the mean of the squared gradients of ``probes`` samples (the empirical Fisher diagonal).
    - tensors by the names of the parameters: second moments of gradients such as Adam's, from
      :func:`landscape.adam_moments`.
    - an array, shape (n,): a diagonal of your own, positive, in metric coordinates.
    - ``slopes``: none of the curvature at theta. Σ = A A' with the A that the slopes at the wall of the smallest cutoff
      teach, stage after stage (:func:`landscape.volume.annealing.precondition.learn`), along rays that do not count;
      it follows basins that are no ellipsoid. Each of at most 50 stages costs up to 384 rays and their gradients. Or
      such an A.

    1. A diagonal entry below its own standard error is lifted to it, lest rays crowd a direction that only seems flat.
    2. With a finite cap the curvature is shifted so that Σ follows the basin cut by the cap at the smallest cutoff
       (:func:`landscape.volume.laplace.cap_balance`); all cutoffs share the rays.
    3. Squared gradients and moments tell the shape of a curvature and not its size, which without a cap is of no
       matter; with one it is fitted to the trace.

    Args:
        objective, cutoffs, criterion, metric, seed, max_radius, step_ratio, first_step, resume, on_progress: as for
            :func:`landscape.basin_radii`; ``resume`` takes what ``on_progress`` was handed.
        proposal: see above.
        curvature: ``hessian`` or ``ggn``, as for :func:`landscape.volume.laplace.laplace_volume`.
        rank: number of eigenpairs.
        probes: products for the diagonal or the trace, or samples whose gradients are squared.
        directions: number of rays.
        rtol: relative tolerance of a radius; by default what moves log V by at most 0.1, from 1e-6 to 1e-3.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`.

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
    made = make_metric(metric, objective.theta, objective.scope)
    finest = fine_rtol(made.scope.size) if rtol is None else rtol
    search: dict[str, Any] = {
        "criterion": criterion,
        "seed": seed,
        "max_radius": max_radius,
        "rtol": finest,
        "step_ratio": step_ratio,
        "first_step": first_step,
    }
    spent = Cost(0.0, 0, 0.0)
    rays: SlopeDirections | ProposedDirections
    if isinstance(proposal, str) and proposal == "slopes":
        chosen = make_measure(objective, made, measure, sigma, measure_centre)
        proposal, spent = learnt(objective, made, values[0], centre, chosen, **search)
    if isinstance(proposal, LinearMap):
        rays = SlopeDirections(proposal, made, seed, objective.theta, {"name": "slopes"})
    else:
        cap = (1.0 if made.relative else math.inf) if max_radius is None else float(max_radius)
        rise = 2 * (values[0] - centre)
        basin = (objective, criterion, metric, curvature)
        shape, about, spent = _gaussian(basin, proposal, rank, probes, seed, rise, cap, made.scope.size)
        rays = ProposedDirections(shape, made, seed, objective.theta, about)
    radii = basin_radii(
        objective,
        values,
        metric=made,
        directions=directions,
        rays=rays,
        resume=resume,
        on_progress=on_progress,
        **search,
    )
    along = measure_on_rays(objective, rays, directions, measure, sigma, measure_centre)
    volume = mean_over_rays(radii, along, log_tilts=rays.log_tilts(range(directions)), estimator="importance")
    run = volume.cost
    total = Cost(run.evaluations + spent.evaluations, run.calls + spent.calls, run.seconds + spent.seconds)
    return replace(volume, cost=total)


def _gaussian(
    basin: tuple[Objective, str, str, str | None],
    proposal: str | np.ndarray | Mapping[str, Tensor],
    rank: int,
    probes: int,
    seed: int,
    rise: float,
    cap: float,
    n: int,
) -> tuple[AngularGaussian, dict[str, Any], Cost]:
    """Return the Gaussian of a curvature, what it was made from, and what that cost.

    Args:
        basin: objective, criterion, metric and curvature.
        proposal, rank, probes, seed: as for :func:`importance_volume`.
        rise: 2 (c - L0).
        cap: on a radius.
        n: number of entries that move.
    """
    if isinstance(proposal, np.ndarray):
        return _own(proposal, n), {"name": "array"}, Cost(0.0, 0, 0.0)
    name = proposal if isinstance(proposal, str) else "moments"
    _check(name, rank)
    op = basin_curvature(*basin)
    found = PROPOSALS[proposal](op, rank, probes, seed) if isinstance(proposal, str) else from_moments(proposal, op)
    if name in UNSCALED and math.isfinite(cap):
        found = fitted(found, op, probes, seed)
    shape = _shape(*found, rise, cap)
    spent = op.cost
    if name == "squared-gradients":
        samples = op.objective.samples
        spent = replace(spent, evaluations=spent.evaluations + GRADIENT_COST * min(probes, samples) / samples)
    return shape, {"name": name, "curvature": op.name, "rank": rank, "probes": probes}, spent


def _check(proposal: str, rank: int) -> None:
    if proposal not in (*PROPOSALS, "moments"):
        raise CurvatureError(
            f"the proposal {proposal!r} is not known. Pass one of {', '.join(NAMES)}, tensors by name, or an array "
            "of n curvatures."
        )
    check_count("rank", rank, 1)


def _own(diagonal: np.ndarray, n: int) -> AngularGaussian:
    """Return the Gaussian of a caller's diagonal."""
    if diagonal.shape != (n,) or not (np.isfinite(diagonal) & (diagonal > 0)).all():
        raise CurvatureError(
            f"a diagonal as proposal must hold n = {n} finite, positive curvatures, shape ({n},); an array of shape "
            f"{diagonal.shape} arrived, with {int((~(diagonal > 0)).sum())} entries that are not positive.\n"
            "Add a small constant to it, or pass one of " + ", ".join(NAMES) + "."
        )
    return AngularGaussian(np.zeros(0), np.zeros((n, 0)), diagonal)


def _shape(
    values: np.ndarray, vectors: np.ndarray, rest: np.ndarray, errors: np.ndarray, rise: float, cap: float
) -> AngularGaussian:
    """Return the Gaussian of a curvature, shifted for the cap."""
    if math.isinf(cap):
        return AngularGaussian(values, vectors, floored(rest, errors))
    rest = np.maximum(rest, 0.0)
    spectrum = np.concatenate([values, rest])
    # the rest stands for n - k eigenvalues
    share = np.concatenate([np.ones(len(values)), np.full(len(rest), 1 - len(values) / len(rest))]) / len(rest)
    balance = cap_balance(spectrum, share, len(rest), rise, cap)
    if balance.share == 1:
        return AngularGaussian(np.zeros(0), np.zeros((len(rest), 0)), np.ones(len(rest)))
    return AngularGaussian(
        values + balance.shift, vectors, floored(rest + balance.shift, errors * (balance.shift == 0))
    )
