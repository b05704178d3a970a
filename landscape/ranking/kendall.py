"""Kendall's tau-b, over weighted pairs, for many measures and many resamples together."""

from __future__ import annotations

import numpy as np

CHUNK = 500  #: resamples at a time, so that pairs x resamples stay small in memory


def pair_signs(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sign of the difference of each pair, shape (..., P); 0 if one of the two is NaN.

    Args:
        values: shape (..., C).
        first, second: the pairs, shapes (P,).
    """
    return np.nan_to_num(np.sign(values[..., first] - values[..., second]))


def known_pairs(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return 1 for each pair of which both have a value, else 0; shape (..., P)."""
    known = np.isfinite(values)
    return (known[..., first] & known[..., second]).astype(float)


def weighted_tau(signs: np.ndarray, known: np.ndarray, target_signs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return tau-b over weighted pairs:

        tau_b = sum w s t / sqrt(sum w |s| · sum w |t|)

    with s and t the signs of the difference of a pair in the measure and in the target (Kendall 1945). Ties have sign
    0. With integer weights w_i w_j it equals tau-b of the table in which configuration i stands w_i times.

    Args:
        signs: of the measures, shape (M, P).
        known: 1 for pairs of which the measure has both values, shape (M, P).
        target_signs: shape (P,), or (B, P) if each row has a target of its own.
        weights: shape (B, P) or (1, P).

    Returns:
        Shape (B, M); NaN if the measure or the target is constant.

    >>> s = np.array([[1.0, 1.0, -1.0]])
    >>> weighted_tau(s, np.ones((1, 3)), np.ones(3), np.ones((1, 3))).round(3).tolist()
    [[0.333]]
    """
    agreement = (weights * target_signs) @ signs.T
    own = weights @ np.abs(signs).T
    others = (weights * np.abs(target_signs)) @ known.T
    scale = np.sqrt(own * others)
    return np.where(scale > 0, agreement / np.where(scale > 0, scale, 1.0), np.nan)


def kendall_tau(
    values: np.ndarray, target: np.ndarray, weights: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return tau-b over configurations, shape (B, M).

    Args:
        values: the measures, shape (M, C).
        target: shape (C,), or (B, C) for permuted targets.
        weights: of the configurations, shape (B, C) or (1, C).
        pairs: first and second configuration of each pair, shapes (P,).
    """
    first, second = pairs
    signs, known = pair_signs(values, first, second), known_pairs(values, first, second)
    rows = max(len(weights), len(target) if target.ndim == 2 else 1)
    parts = []
    for begin in range(0, rows, CHUNK):
        part = slice(begin, begin + CHUNK)
        chosen = weights[part] if len(weights) > 1 else weights
        targets = pair_signs(target[part] if target.ndim == 2 else target, first, second)
        parts.append(weighted_tau(signs, known, targets, chosen[:, first] * chosen[:, second]))
    return np.concatenate(parts)


def kendall_tau_of_nets(values: np.ndarray, target: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return tau-b over all nets, shape (B, M). A net counts as often as its configuration.

    Pairs of one configuration count too. The sums over nets are made once per pair of configurations.

    Args:
        values: the measures, shape (M, N).
        target: shape (N,).
        group: configuration of each net, shape (N,).
        weights: of the configurations, shape (B, C).
    """
    belongs = (group[:, None] == np.arange(weights.shape[1])).astype(float)

    def total(table: np.ndarray) -> np.ndarray:
        between = belongs.T @ table @ belongs
        return np.asarray(((weights @ between) * weights).sum(axis=1))

    first, second = np.indices((len(group), len(group)))
    target_signs = pair_signs(target, first, second)
    columns = []
    for row in values:
        signs, known = pair_signs(row, first, second), known_pairs(row, first, second)
        scale = np.sqrt(total(np.abs(signs)) * total(np.abs(target_signs) * known))
        columns.append(np.where(scale > 0, total(signs * target_signs) / np.where(scale > 0, scale, 1.0), np.nan))
    return np.stack(columns, axis=1)
