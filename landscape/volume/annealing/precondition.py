"""Coordinates in which a narrow basin is rounder, learnt from gradients along its rays and then frozen.

With x = A y the body B becomes A^-1 B, whose radius along a unit direction y is rho(y) = r(A y / |A y|) / |A y|, and

    V(B) = |det A| · V(A^-1 B),    log V = log ω_n + log |det A| + log E_y[rho(y)^n],    y uniform on the sphere.

So chains may walk over the directions y instead, where radii differ less and steps of one length suit all axes: their
weights, each times |det A|, stay unbiased for V/ω_n whatever A is, as long as it is fixed before the first of them.
(That y gives phi = A y / |A y| the angular central Gaussian density of
:mod:`landscape.volume.proposals.from_curvature`.)

Where f is a quadratic with the matrix H, its slope on the wall is H x. For y uniform the slopes have the second moment
proportional to H², so M = (second moment)^(1/2) is the curvature, and A = M^(-1/2) makes the body round. On a net
slopes differ from ray to ray; M is then an average, and after a change of coordinates other rays are long, with slopes
of their own. So it is done again, stage after stage, as long as E[log rho^n] + log |det A| rises: that is a lower bound
of log V/ω_n (Jensen), log V/ω_n less the divergence from the y's to the basin.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.annealing.points import Points, sphere
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import normals, stream

PRECONDITIONS = ("auto", "slopes", "none")
RAYS = 384  # of a stage, in many dimensions
_FEWEST = 32  # in few
MOST_REFINEMENTS = 50
BASIS_BYTES = 2**28  # of A, and of the slopes of a stage
_LEAST_COST = 40  # evaluations for each ray of a stage below which it is not begun: a few stages
_HALVINGS = 3  # of a change of coordinates that has made things worse
_ROUND = 1.0  # spread of log rho^n, in nats, at which nothing is left to gain
_WORTH = 3.0  # joint standard errors that E[log rho^n] must gain, and nats
_CAPPED = 0.8  # share of rays at the cap beyond which slopes say little of what bounds the basin
_NEAR = 0.9  # of the radius: where slopes are taken
_STEP = 0.75  # first step of a march over the median radius, as for radii
_DRAWS = 2**33  # the step at which the directions of the first stage are drawn


def learn(
    body: StarBody, seed: int, stage: int, name: str = "slopes", most_evaluations: float = math.inf
) -> Points | None:
    """Give the body the coordinates in which it is roundest and return rays that show it there; None where none help.

    A stage draws uniform directions y of its own and takes the slopes close to the wall, each over its part outwards;
    on a ray that ends at the cap the wall is the cap, |A y| = const. A change that lowers E[log rho^n] + log |det A| is
    tried again at half its strength. Nothing is changed where the gain is within its error, where no gradient exists,
    or where n log rho is the same for all rays to a nat.

    Args:
        body: as it is without a preconditioner; called inside ``objective.running()``.
        seed, stage: key the directions, which no chain uses.
        name: ``slopes``, or ``auto``, which changes nothing either where nearly all rays then end at the cap: on wide
            basins of well-trained nets chains get further by the soft path in the coordinates of the metric.
        most_evaluations: about what it may cost; what is too little for a few stages changes nothing.
    """
    n, like = body.dimension, body.objective.theta
    rays = max(8, min(RAYS, max(_FEWEST, 4 * n), BASIS_BYTES // (8 * n)))
    rays = int(min(rays, most_evaluations // _LEAST_COST))
    most = max(1, BASIS_BYTES // (16 * n))
    plain, start, power, failures, change = body.first_step, None, 1.0, 0, None
    best: tuple[float, float, LinearMap, Points, float] | None = None
    if rays < 8 or not body.has_gradient(_directions(1, n, like, seed, stage, 0)):
        return None
    for refinement in range(MOST_REFINEMENTS):
        if body.evaluations * (refinement + 1) > most_evaluations * refinement > 0:
            break
        preconditioner = body.preconditioner or LinearMap.identity(like.new_empty(n))
        points = body.points_at(_directions(rays, n, like, seed, stage, refinement))
        gains = n * points.effective_log_radius + preconditioner.log_determinant
        if not np.isfinite(gains).all():  # rays that end at once: no coordinates make them longer
            break
        value, error = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(rays)
        start = start or (value, error)
        if best is None or value > best[0] + math.hypot(error, best[1]):
            if body.preconditioner and not body.fixed_step:
                body.first_step = _STEP * float(np.exp(np.median(points.log_radius)))
            best = (value, error, preconditioner, points, body.first_step)
            power, failures = min(1.0, 2 * power), 0
            if gains.std(ddof=1) <= _ROUND or preconditioner.left.shape[1] >= most:
                break
            change = refined(body.slopes(points, _NEAR), most // 4 or 1)
            if not len(change[1]):
                break
        else:
            power, failures = power / 2, failures + 1
            if failures > _HALVINGS:
                break
        assert change is not None
        body.preconditioner = best[2].compose(change[0], change[1] ** power)
    if best is None:
        return None
    assert start is not None
    value, error, preconditioner, points, step = best
    worth = value - start[0] > max(_WORTH * math.hypot(error, start[1]), _WORTH)
    if worth:
        body.best_preconditioner = preconditioner
    worth &= name == "slopes" or points.censored.mean() <= _CAPPED
    body.preconditioner, body.first_step = (preconditioner, step) if worth else (None, plain)
    return points if worth else None


def _directions(count: int, n: int, like: Tensor, seed: int, stage: int, refinement: int) -> Tensor:
    streams = [stream(seed, ray, stage, _DRAWS + refinement) for ray in range(count)]
    return sphere(normals(streams, like.new_empty(count, n).double()))


def refined(slopes: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return U and stretch of M^(-1/2) up to a factor, M² the second moment of these slopes, shape (m, n).

    Of n eigenvalues, m slopes show the largest only, and too large. With v the mean of all that are left out, those
    below v (1 + sqrt(n/m))² may be noise, and one of l v above it comes from a true l0 with
    l = l0 (1 + (n/m) / (l0 - 1)), along a vector with cos² = (1 - (n/m) / (l0 - 1)²) / (1 + (n/m) / (l0 - 1)) to the
    true one (Paul 2007). What counts is the moment along the vector that was found, v (1 + cos² (l0 - 1)) (Donoho,
    Gavish & Johnstone 2018). At most m/4 vectors are taken, lest the next stage start from noise, and at most ``most``.
    """
    m, n = slopes.shape
    vectors, values, _ = torch.linalg.svd(slopes.T / math.sqrt(m), full_matrices=False)
    moments = values.square()
    if n <= m // 4 and n <= most:  # all of them are seen
        return vectors, (moments / moments[0]).clamp(min=1e-24).pow(-0.25)
    most, ratio, total, count = min(len(moments) - 1, m // 4, most), n / m, float(moments.sum()), 0
    while True:  # what is noise depends on v, and v on what is noise
        level = (total - float(moments[:count].sum())) / (n - count)
        found = min(int((moments > level * (1 + math.sqrt(ratio)) ** 2).sum()), most)
        if found <= count:
            break
        count = found
    seen = moments[:count] / level
    b = seen + 1 - ratio
    above = ((b + (b.square() - 4 * seen).clamp(min=0).sqrt()) / 2 - 1).clamp(min=1e-12)
    cosine = ((1 - ratio / above.square()) / (1 + ratio / above)).clamp(min=0)
    return vectors[:, :count], (1 + cosine * above).pow(-0.25)
