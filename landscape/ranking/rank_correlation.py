"""Spearman's rank correlation, and the same once axes and cheap baselines are accounted for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landscape.ranking.configurations import Configurations

CHUNK = 250  #: resamples at a time
MOST_INDICATORS = 5  #: levels up to which a numeric axis is a category; above, its rank enters
FEWEST_LEFT = 10  #: degrees of freedom that must be left once everything is accounted for
_SMALL = 1e-9  #: share of the variance below which nothing is left


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mid-ranks of each variable in each resample, shape (B, V, C).

    With whole weights these are the ranks in the table in which configuration i stands w_i times, up to a constant.

    Args:
        values: shape (V, C), finite.
        weights: shape (B, C).

    >>> weighted_ranks(np.array([[5.0, 7.0, 7.0]]), np.ones((1, 3))).tolist()
    [[[0.5, 2.0, 2.0]]]
    """
    below = (values[:, None, :] < values[:, :, None]) + 0.5 * (values[:, None, :] == values[:, :, None])
    return np.stack([weights @ table.T for table in below], axis=1)


def spearman(values: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each measure with the target, shape (B, M).

    Args:
        values: the measures, shape (M, C); NaN is a gap.
        target: shape (C,).
        weights: of the configurations, shape (B, C).
    """
    constant, none = np.ones((len(target), 1)), np.empty((0, len(target)))

    def estimate(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return _residual_correlation(rows, target, constant, none, weights)

    return _by_gaps(values, weights, target[None], estimate)


def partial_correlation(
    values: np.ndarray, target: np.ndarray, weights: np.ndarray, configurations: Configurations, controls: np.ndarray
) -> np.ndarray:
    """Return the rank correlation of what is left of measure and target, given the axes and some controls; (B, M).

    Ranks of both are regressed on the axes and on the ranks of the controls (least squares), and their residuals are
    correlated. An axis enters as one indicator per level if it is a text or has at most five levels; else as its rank.

    Args:
        values: the measures, shape (M, C); NaN is a gap.
        target: shape (C,).
        weights: of the configurations, shape (B, C).
        configurations: the design.
        controls: cheap baselines, shape (K, C).

    Returns:
        NaN if axes and controls leave nothing of the measure, or fewer than ten degrees of freedom.
    """
    fixed = axis_columns(configurations)

    def estimate(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return _residual_correlation(rows, target, fixed, controls, weights)

    return _by_gaps(values, weights, np.concatenate([target[None], controls]), estimate)


def axis_columns(configurations: Configurations) -> np.ndarray:
    """Return the axes as columns of a regression, shape (C, Q), with the constant."""
    columns = [np.ones(configurations.count)]
    for axis, levels in zip(configurations.axes, configurations.levels, strict=True):
        labels = configurations.labels[axis]
        if len(labels) <= MOST_INDICATORS or not all(isinstance(label, int | float) for label in labels):
            columns += [(levels == level).astype(float) for level in range(1, len(labels))]
        else:
            columns.append(levels.astype(float))
    return np.stack(columns, axis=1)


def _by_gaps(
    values: np.ndarray,
    weights: np.ndarray,
    others: np.ndarray,
    estimate: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Apply an estimate to measures with the same gaps together; a configuration in a gap gets the weight 0."""
    result = np.full((len(weights), len(values)), np.nan)
    usable = np.isfinite(others).all(axis=0)
    patterns: dict[bytes, list[int]] = {}
    for row, known in enumerate(np.isfinite(values)):
        patterns.setdefault((known & usable).tobytes(), []).append(row)
    for key, rows in patterns.items():
        known = np.frombuffer(key, dtype=bool)
        filled = np.where(known, values[rows], 0.0)
        for begin in range(0, len(weights), CHUNK):
            part = slice(begin, begin + CHUNK)
            result[part, rows] = estimate(filled, weights[part] * known)
    return result


def _residual_correlation(
    rows: np.ndarray, target: np.ndarray, fixed: np.ndarray, controls: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the correlation of residual ranks, shape (B, M)."""
    ranks = weighted_ranks(np.concatenate([rows, target[None], np.nan_to_num(controls)]), weights)
    measured = len(rows) + 1
    root = np.sqrt(weights)[:, :, None]
    responses = ranks[:, :measured].transpose(0, 2, 1) * root
    shape = (len(weights), *fixed.shape)
    design = np.concatenate([np.broadcast_to(fixed, shape), ranks[:, measured:].transpose(0, 2, 1)], axis=2) * root
    basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis * (sizes > _SMALL * sizes[:, :1])[:, None]
    mean = root / np.sqrt(np.maximum(weights.sum(axis=1), 1.0))[:, None, None]
    spread = ((responses - mean * (mean * responses).sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
    left = responses - basis @ (basis.transpose(0, 2, 1) @ responses)
    size = (left**2).sum(axis=1)
    freedom = weights.sum(axis=1) - (sizes > _SMALL * sizes[:, :1]).sum(axis=1)
    defined = (size > _SMALL * np.maximum(spread, _SMALL)) & (freedom >= FEWEST_LEFT)[:, None]
    product = (left[:, :, :-1] * left[:, :, -1:]).sum(axis=1)
    scale = np.sqrt(size[:, :-1] * size[:, -1:])
    both = defined[:, :-1] & defined[:, -1:]
    return np.where(both, product / np.where(both, scale, 1.0), np.nan)
