"""The ``counted`` estimator: uniform points in the ball of the cap, and how many of them the basin contains.

For u uniform in the ball of radius R, u = s phi with s = R U^(1/n),

    V = ω_n R^n P(s < r(phi)),        V_sub = ω_n R^n P(f(theta + s S phi) < c).

One evaluation decides whether a point is below the cutoff. Only if it is (a *hit*), the points of the grid nearer
to theta are looked at. If one of them is outside, there is a wall on the way, and the basin does not contain the point.
So nearly every ray costs one pass, and probabilities down to one in 100,000 can be counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
from scipy.special import betaincinv

from landscape.errors import LandscapeError, OutOfBudget
from landscape.objective import Objective
from landscape.rays import finer_in_blocks, make_metric
from landscape.rays.uniform_points import UniformPoints
from landscape.results import NOTHING, Check, Cost, Count, CountedVolume, Hits, VolumeEstimate
from landscape.results.ball import log_ball
from landscape.volume.count_hits import RELIABLE_HITS, count_hits
from landscape.volume.options import CountOptions
from landscape.volume.ray_weights.survival import finer_than

_LEVEL = 0.95
_LOOKS = 2  # that the bounds of a count without all of its hits allow for: it may end early, or late
_LOOKED_AT = 64  # hits that are looked at again on a finer grid, for each cutoff


def counted_volume(
    objective: Objective, cutoffs: Sequence[float], *, measure: str = "lebesgue", **options: Unpack[CountOptions]
) -> CountedVolume:
    """Return the log-volume of the basin for each cutoff from counted hits, with a binomial interval.

    Rays are drawn until each cutoff has the wanted number of hits in the basin, or the budget or the number of rays is
    used up. The count of each cutoff ends with the ray that gives its last wanted hit. Then N, the number of rays, has
    the negative binomial distribution, whatever the blocks:

    - The estimate of P is (k - 1) / (N - 1), which is unbiased (Haldane 1945); k / N if a budget ended the count.
    - The interval is exact (Clopper & Pearson 1934). N rays hold at least k hits, and N - 1 rays at most k - 1.
    - With at least 50 hits the verdict is ``reliable``. With fewer it is ``lower bound``, and both bounds still hold,
      each with 95 % confidence, also if a look on the way gave the count up: each look may err in 2.5 %. Without a hit
      there is no lower bound, and the upper one is log(N / 3.7) below the ball.
    - The hits below the cutoff, walls or not, give V_sub in the same way (``log_sublevel_volume``). It is at least V at
      every resolution.

    Then up to 64 of the hits in the basin are searched again on a finer grid (``survives``).

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        measure: volume only.
        options: of :func:`landscape.volume.count_hits.count_hits`.

    Raises:
        LandscapeError: without a finite cap, and for another measure than volume.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> ball = counted_volume(bowl, [0.25], metric="identity", max_radius=1.0)
    >>> low, high = np.exp(ball.results[0].interval) * 3 / 4 / math.pi
    >>> bool(low < 0.125 < high), ball.results[0].verdict, ball.results[0].survives
    (True, 'reliable', 1.0)
    """
    if measure != "lebesgue":
        raise LandscapeError(
            f"the estimator 'counted' draws points uniformly, so it measures only volumes, not a {measure} measure. "
            "Pass `estimator='auto'`."
        )
    return volume_of_hits(objective, count_hits(objective, cutoffs, **options))


def volume_of_hits(objective: Objective, hits: Hits) -> CountedVolume:
    """Return the volume from counted hits, and the share of it that survives a finer grid.

    Args:
        objective: the loss around the trained point.
        hits: what :func:`landscape.volume.count_hits.count_hits` returned for it.
    """
    counts = [hits.count(column) for column in range(len(hits.cutoffs))]
    step_ratio = finer_than(hits.config["step_ratio"])
    cap = log_ball(hits.dimension, hits.config["max_radius"])
    rows, cost = [], hits.cost
    for column, count in enumerate(counts):
        survives, spent = _survives(objective, hits, column, count, step_ratio)
        cost += spent
        rows.append(replace(_estimate(hits, column, count, cap), survives=survives))
    sublevel = [_interval(count.rays, count.sublevel) for count in counts]
    with np.errstate(divide="ignore"):
        log_sublevel = cap + np.log([count.sublevel / max(count.rays, 1) for count in counts])
    return CountedVolume(
        tuple(rows),
        np.zeros((0, len(rows))),
        "counted",
        hits.dimension,
        hits.rays,
        {**hits.config, "rays": hits.rays, "finer_step_ratio": step_ratio},
        cost,
        rays=np.array([count.rays for count in counts]),
        sublevel=np.array([count.sublevel for count in counts]),
        inside=np.array([count.inside for count in counts]),
        log_sublevel_volume=log_sublevel,
        sublevel_interval=cap + np.array(sublevel),
    )


def _estimate(hits: Hits, column: int, count: Count, cap: float) -> VolumeEstimate:
    """Return the estimate for one cutoff; ``cap`` is the log-volume of the ball of the cap."""
    k, rays = count.inside, count.rays
    reliable = k >= RELIABLE_HITS
    share = (k - 1) / (rays - 1) if count.stopped and rays > 1 else k / max(rays, 1)
    value = cap + (math.log(share) if share > 0 else -math.inf)
    bounds = _bounds(rays, k, stopped=count.stopped)
    low, high = _interval(rays, k, stopped=count.stopped) if reliable else bounds
    words = f"{k:,} of {rays:,} uniform points in the ball of the cap lie in the basin; a verdict needs {RELIABLE_HITS}"
    return VolumeEstimate(
        cutoff=hits.cutoffs[column],
        log_volume=value,
        log_volume_raw=value + hits.log_scale_sum,
        interval=(cap + low, cap + high),
        ess=float(k),
        largest_weight=1 / k if k else 1.0,
        censored=math.nan,
        censored_weight=math.nan,
        pareto_k=math.nan,
        verdict="reliable" if reliable else "lower bound",
        reasons=() if reliable else (f"{words}: pass a longer `budget=...`, or `estimator='auto'`",),
        resolution=hits.config["step_ratio"],
        bound=cap + bounds[0],
        upper_bound=cap + bounds[1],
        checks=(Check("hits in the basin", float(k), float(RELIABLE_HITS), reliable, words),),
    )


def _bounds(rays: int, hits: int, *, stopped: bool) -> tuple[float, float]:
    """Return bounds for the log of a probability, each with 95 % confidence, wherever a count may have ended.

    Args:
        rays, hits, stopped: as for :func:`_interval`.
    """
    looks = 1 if stopped else _LOOKS
    return _interval(rays, hits, 1 - 2 * (1 - _LEVEL) / looks, stopped=stopped)


def _interval(rays: int, hits: int, level: float = _LEVEL, *, stopped: bool = False) -> tuple[float, float]:
    """Return the interval of Clopper & Pearson for the log of a probability.

    Args:
        rays, hits: draws, and those that hit.
        level: of the interval; each end holds with (1 + level) / 2.
        stopped: whether the draws ended with a hit that was awaited, so that their number is random.

    >>> [round(math.exp(end), 4) for end in _interval(100, 0, 0.9)]  # the rule of three
    [0.0, 0.0295]
    """
    tail = (1 - level) / 2
    low = betaincinv(hits, rays - hits + 1, tail) if hits else 0.0
    above = hits if stopped else hits + 1
    high = betaincinv(above, rays - hits, 1 - tail) if rays > hits else 1.0
    return math.log(low) if low > 0 else -math.inf, math.log(high)


def _survives(objective: Objective, hits: Hits, column: int, count: Count, step_ratio: float) -> tuple[float, Cost]:
    """Return the share of the hits in the basin that have no wall on a finer grid either, and what the look cost.

    It stays unknown if a deadline cuts the look.
    """
    chosen = np.flatnonzero(hits.inside(column) & (hits.ray < count.rays))[:_LOOKED_AT]
    if not len(chosen):
        return math.nan, NOTHING
    metric = make_metric(hits.config["metric"], objective.theta, objective.scope)
    points = UniformPoints(metric, hits.config["seed"], objective.theta, hits.config["max_radius"])
    radii = hits.radius[chosen]
    try:
        finer, spent = finer_in_blocks(
            objective,
            points.steps,
            hits.ray[chosen],
            radii,
            cutoff=hits.cutoffs[column],
            first_step=hits.config["first_step_taken"],
            criterion=hits.config["criterion"],
            step_ratios=[step_ratio],
        )
    except OutOfBudget:
        return math.nan, NOTHING
    return int((finer == radii).sum()) / len(chosen), spent
