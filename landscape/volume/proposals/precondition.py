"""A linear preconditioner that makes a narrow basin rounder, learnt from gradients along its rays and then frozen.

With x = A y the body B becomes A^-1 B. Its radius along a unit direction y is rho(y) = r(A y / |A y|) / |A y|, and

    V(B) = |det A| · V(A^-1 B),    log V = log ω_n + log |det A| + log E_y[rho(y)^n],    y uniform on the sphere.

So rays may be drawn over the directions y instead. There radii differ less. Their weights times |det A| are unbiased
for V/ω_n whatever A is, if A is fixed before the first weight. (The direction A y / |A y| has the angular central
Gaussian density of :mod:`landscape.volume.proposals.from_curvature`.)

For a quadratic f with matrix H the slope at the wall is H x. For uniform y the second moment of the slopes is
proportional to H², so M = (second moment)^(1/2) is the curvature, and A = M^(-1/2) makes the body round. On a net the
slopes differ from ray to ray, so M is an average; and after a change of coordinates other rays are long, with other
slopes. So the preconditioner is refined again and again as long as E[log rho^n] + log |det A| rises. By Jensen's
inequality that is a lower bound of log V/ω_n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from landscape.volume.body.linear_map import LinearMap
from landscape.volume.body.points import Points, sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.proposals.streams import normals, stream
from landscape.volume.proposals.wall import wall_slopes

RAYS = 384  # of a refinement, in many dimensions
MOST_REFINEMENTS = 50
BASIS_BYTES = 2**28  # limit on A, and on the slopes of a refinement
_MOST_RAYS_IN_FEW, _RAYS_PER_DIMENSION = 32, 4  # in few dimensions the larger of these two counts of rays
_FEWEST_RAYS = 8  # fewer teach nothing
_HALVINGS = 3  # of a change of coordinates that has made things worse
_ROUND = 1.0  # spread of log rho^n, in nats, at which nothing is left to gain
_WORTH = 3.0  # E[log rho^n] must gain so many joint standard errors, and so many nats
_NEAR = 0.9  # slopes are taken at this share of the radius
_STEP = 0.75  # first step of a march over the median radius, as for radii
_LEAST_MOMENT = 1e-24  # over the largest: a stretch of a million at most
_LEAST_EXCESS = 1e-12  # keeps a moment at the edge of the noise from dividing by zero


@dataclass(frozen=True)
class Learnt:
    """What :func:`learn` hands back.

    Attributes:
        body: the body in the coordinates that were taken; as it was if none were.
        points: rays measured in these coordinates; None if none were taken.
    """

    body: StarBody
    points: Points | None = None


@dataclass(frozen=True)
class Change:
    """A change of coordinates: it stretches by ``stretch``, shape (k,), along ``vectors``, shape (n, k)."""

    vectors: Tensor
    stretch: Tensor


@dataclass(frozen=True)
class _Attempt:
    """Rays measured in some coordinates.

    Attributes:
        preconditioner: A.
        points: the rays.
        value: E[log rho^n] + log |det A|.
        error: its standard error.
        spread: standard deviation of log rho^n.
    """

    preconditioner: LinearMap
    points: Points
    value: float
    error: float
    spread: float

    def is_above(self, other: _Attempt) -> bool:
        """Return whether its value exceeds the other's by more than their joint error."""
        return self.value > other.value + math.hypot(self.error, other.error)


def learn(body: StarBody, seed: int, stage: int) -> Learnt:
    """Fit a linear preconditioner. Return the body in its coordinates, or as it was if none improves the bound.

    A refinement draws uniform directions y of its own and takes the slope near the wall over its outward part. On a ray
    that ends at the cap the wall is the cap, |A y| = const. A change that lowers E[log rho^n] + log |det A| is tried
    again at half its strength. No preconditioner is taken if the gain is within its error, or if n log rho is the same
    for all rays to a nat.

    Args:
        body: without a preconditioner; called inside ``objective.running()``.
        seed, stage: key the directions, which nothing else uses.
    """
    n, like = body.dimension, body.objective.theta
    rays = max(_FEWEST_RAYS, min(RAYS, max(_MOST_RAYS_IN_FEW, _RAYS_PER_DIMENSION * n), BASIS_BYTES // (8 * n)))
    most_columns = max(1, BASIS_BYTES // (16 * n))
    first: _Attempt | None = None
    best: _Attempt | None = None
    trial, strength, failures = body, 1.0, 0
    for refinement in range(MOST_REFINEMENTS):
        attempt = _measure(trial, _directions(rays, n, like, seed, stage, refinement))
        if attempt is None:
            break
        first = first or attempt
        if best is None or attempt.is_above(best):
            best, strength, failures = attempt, min(1.0, 2 * strength), 0
            trial = _with_first_step(trial, attempt.points)
            if attempt.spread <= _ROUND or attempt.preconditioner.left.shape[1] >= most_columns:
                break
            change = refined(wall_slopes(trial, attempt.points, _NEAR), most_columns // 4 or 1)
            if not len(change.stretch):
                break
        else:
            strength, failures = strength / 2, failures + 1
            if failures > _HALVINGS:
                break
        trial = replace(trial, preconditioner=best.preconditioner.compose(change.vectors, change.stretch**strength))
    return _taken(body, trial.first_step, first, best)


def _directions(count: int, n: int, like: Tensor, seed: int, stage: int, refinement: int) -> Tensor:
    """Return uniform directions for one refinement, shape (count, n)."""
    streams = [stream(seed, ray, stage, refinement) for ray in range(count)]
    return sphere(normals(streams, like.new_empty(count, n).double()))


def _measure(body: StarBody, phi: Tensor) -> _Attempt | None:
    """Return the rays along these directions; None if some end at once: no coordinates make them longer."""
    preconditioner = body.preconditioner or LinearMap.identity(phi.new_empty(body.dimension))
    points = body.points_at(phi)
    bounds = body.dimension * points.effective_log_radius + preconditioner.log_determinant
    if not np.isfinite(bounds).all():
        return None
    spread = float(bounds.std(ddof=1))
    return _Attempt(preconditioner, points, float(bounds.mean()), spread / math.sqrt(len(phi)), spread)


def _with_first_step(body: StarBody, points: Points) -> StarBody:
    """Return the body with a first step that suits these radii; one that the caller gave is kept."""
    if body.preconditioner is None or body.fixed_step:
        return body
    return replace(body, first_step=_STEP * float(np.exp(np.median(points.log_radius))))


def _taken(body: StarBody, first_step: float, first: _Attempt | None, best: _Attempt | None) -> Learnt:
    """Return the body in the best coordinates if these are worth it, and otherwise as it was."""
    if first is None or best is None:
        return Learnt(body)
    if best.value - first.value <= max(_WORTH * math.hypot(best.error, first.error), _WORTH):
        return Learnt(body)
    taken = replace(body, preconditioner=best.preconditioner, first_step=first_step)
    return Learnt(taken, best.points)


def refined(slopes: Tensor, most: int) -> Change:
    """Return M^(-1/2) up to a factor, with M² the second moment of these slopes, shape (m, n).

    Of n eigenvalues of M², m slopes show only the largest, and too large. Let v be the mean of all that are left out.
    Those below v (1 + sqrt(n/m))² may be noise. One of l v above it comes from a true l0 v with

        l = l0 (1 + (n/m) / (l0 - 1)),

    along a vector with cos² = (1 - (n/m) / (l0 - 1)²) / (1 + (n/m) / (l0 - 1)) to the true one (Paul 2007). What counts
    is the moment along the vector that was found, v (1 + cos² (l0 - 1)) (Donoho, Gavish & Johnstone 2018).

    Args:
        slopes: of one refinement.
        most: limit on the vectors. There are at most m/4, so that the next refinement does not start from noise.
    """
    m, n = slopes.shape
    vectors, values, _ = torch.linalg.svd(slopes.T / math.sqrt(m), full_matrices=False)
    moments = values.square()
    if n <= m // 4 and n <= most:  # the slopes show all eigenvalues
        return Change(vectors, (moments / moments[0]).clamp(min=_LEAST_MOMENT).pow(-0.25))
    count, level = _above_noise(moments, m, n, min(len(moments) - 1, m // 4, most))
    return Change(vectors[:, :count], _true_moments(moments[:count] / level, n / m).pow(-0.25))


def _above_noise(moments: Tensor, m: int, n: int, most: int) -> tuple[int, float]:
    """Return how many of the descending moments are no noise, and the mean of all others.

    What is noise depends on that mean, and the mean on what is noise; so the count grows until it no longer changes.
    """
    edge, total, count = (1 + math.sqrt(n / m)) ** 2, float(moments.sum()), 0
    while True:
        level = (total - float(moments[:count].sum())) / (n - count)
        above = min(int((moments > level * edge).sum()), most)
        if above <= count:
            return count, level
        count = above


def _true_moments(seen: Tensor, ratio: float) -> Tensor:
    """Return the moments along the vectors found, for moments seen over the noise level, with ratio = n/m."""
    b = seen + 1 - ratio
    excess = ((b + (b.square() - 4 * seen).clamp(min=0).sqrt()) / 2 - 1).clamp(min=_LEAST_EXCESS)  # l0 - 1
    cosine_squared = ((1 - ratio / excess.square()) / (1 + ratio / excess)).clamp(min=0)
    return 1 + cosine_squared * excess
