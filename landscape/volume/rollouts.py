"""Radii from losses that were measured elsewhere, on a fixed grid along random lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Cost, Radii, RayStatus


def radii_from_rollouts(
    coefficients: Sequence[float] | np.ndarray, losses: np.ndarray, cutoff: float | Sequence[float]
) -> Radii:
    """Return the first crossing of each cutoff along lines sampled at fixed coefficients.

    A line through the centre is two rays: its positive and its negative coefficients, if it has both. A coefficient of
    0 is the centre. Between the last grid point inside and the first outside, log loss is taken as linear in r. NaN and
    infinity count as outside.

    - The two rays of a line are opposite, not independent, so a volume from them counts lines.
    - A ray still inside at its last grid point is censored there.
    - A ray outside at its first grid point crosses nearer to the centre. Without a grid point at 0 the place is
      unknown. Then the ray keeps the bracket (0, first point), the status ``UNFINISHED`` and the radius 0, which makes
      a volume from these radii a lower bound. In high dimension r^n of such a ray is negligible anyway.

    Args:
        coefficients: where each line was sampled, in metric units, shape (points,).
        losses: shape (lines, points).
        cutoff: one value, or several.

    Returns:
        radii of shape (rays, cutoffs), the positive rays first. They do not know the dimension: pass n to
        :func:`landscape.volume_from_radii`.

    Raises:
        LandscapeError: if the shapes do not fit, or the grid has no point off the centre.

    >>> parabola = np.array([[0.04, 0.01, 0.04, 0.16]])
    >>> radii_from_rollouts([-0.2, 0.1, 0.2, 0.4], parabola, 0.08).radii.round(9)
    array([[0.3],
           [0.2]])
    """
    at, table = np.asarray(coefficients, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if at.ndim != 1 or table.ndim != 2 or table.shape[1] != len(at) or not table.size:
        raise LandscapeError(
            f"losses must have shape (lines, points), with one coefficient per point; got losses {table.shape} and "
            f"coefficients {at.shape}. Transpose the losses?"
        )
    if not np.isfinite(at).all() or not (at != 0).any():
        raise LandscapeError("the coefficients must be finite, and some of them other than 0.")
    cutoffs = tuple(sorted({float(c) for c in np.atleast_1d(cutoff)}))
    if not cutoffs or not all(c > 0 and math.isfinite(c) for c in cutoffs):
        raise LandscapeError(f"the cutoffs must be positive numbers, since log loss is interpolated; got {cutoff}.")
    if (at == 0).any() and not (centre := float(table[:, at == 0].max())) < cutoffs[0]:
        raise LandscapeError(f"the loss at the centre is {centre:.6g}, not below the cutoff {cutoffs[0]:g}: no basin.")
    sides = [side for side in (1.0, -1.0) if (at * side > 0).any()]
    parts = [_one_side(at * side, table, cutoffs) for side in sides]
    radii, status, lower, upper = (np.concatenate([part[i] for part in parts]) for i in range(4))
    rays = len(radii)
    return Radii(
        radii=radii,
        status=status,
        lower=lower,
        upper=upper,
        calls=np.zeros(rays, dtype=np.int64),
        evaluations=np.zeros(rays),
        nonfinite=np.concatenate([part[4] for part in parts]),
        profile_ray=np.zeros(0, dtype=np.int64),
        profile_radius=np.zeros(0),
        profile_loss=np.zeros(0),
        cutoffs=cutoffs,
        dimension=0,
        log_scale_sum=math.nan,
        centre=math.nan,
        config={
            "max_radius": float(np.abs(at).max()),
            "source": "rollouts",
            "lines": len(table),
            "points": len(at),
            "antithetic": len(sides) == 2,
        },
        cost=Cost(0.0, 0, 0.0),
    )


def _one_side(at: np.ndarray, table: np.ndarray, cutoffs: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """Return (radii, status, lower, upper, nonfinite) of the rays with positive coefficients."""
    order = np.argsort(at)
    order = order[at[order] >= 0]
    grid, values = at[order], table[:, order]
    columns = [_crossings(grid, np.where(np.isfinite(values), values, np.inf), cutoff) for cutoff in cutoffs]
    stacked = [np.stack([column[i] for column in columns], axis=1) for i in range(4)]
    return (*stacked, (~np.isfinite(values)).sum(axis=1))


def _crossings(grid: np.ndarray, values: np.ndarray, cutoff: float) -> tuple[np.ndarray, ...]:
    """Return (radii, status, lower, upper) at one cutoff; ``grid`` ascends from 0 or more."""
    rows = np.arange(len(values))
    outside = values >= cutoff
    crosses = outside.any(axis=1)
    first = np.where(crosses, outside.argmax(axis=1), len(grid) - 1)
    before = np.maximum(first - 1, 0)
    inner, outer = grid[before], grid[first]
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.log(values[rows, before]), np.log(values[rows, first])
        share = (math.log(cutoff) - low) / (high - low)
    # no line can be drawn in logs towards an infinite loss or from a loss of 0: take the inner end
    share = np.where(np.isfinite(share), share, 0.0)
    unknown = crosses & (first == 0)
    radii = np.select([unknown, crosses], [0.0, inner + share * (outer - inner)], grid[-1])
    status = np.select([unknown, crosses], [RayStatus.UNFINISHED, RayStatus.CROSSED], RayStatus.CENSORED)
    lower = np.select([unknown, crosses], [0.0, inner], grid[-1])
    return radii, status.astype(np.int8), lower, np.where(crosses, outer, np.inf)
