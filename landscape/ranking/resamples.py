"""Resamples and permutations of configurations, keyed by their number."""

from __future__ import annotations

import numpy as np

from landscape.rays.streams import Purpose, stream

CONFIDENCE = 0.95


def resample_weights(count: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each configuration is drawn: first the table itself, once each, then every resample.

    Whole configurations are drawn with replacement, each with all of its seeds (the cluster bootstrap). Nets of one
    configuration share their hyperparameters, so that pairs or seeds drawn one by one would give too narrow intervals.

    Args:
        count: configurations C.
        resamples: B.
        seed: of the draws.

    Returns:
        Counts, shape (B + 1, C).

    >>> resample_weights(4, 2, 0).sum(axis=1).tolist()
    [4.0, 4.0, 4.0]
    """
    weights = np.ones((resamples + 1, count))
    for index in range(resamples):
        drawn = stream(Purpose.RESAMPLE, seed, index).integers(count, size=count)
        weights[index + 1] = np.bincount(drawn, minlength=count)
    return weights


def permutations(count: int, number: int, seed: int) -> np.ndarray:
    """Return random orders of the configurations, shape (number, C)."""
    orders = [stream(Purpose.PERMUTATION, seed, index).permutation(count) for index in range(number)]
    return np.array(orders, dtype=int).reshape(number, count)


def interval(samples: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of 95 % over one axis; NaN if fewer than half of the samples are defined.

    >>> low, high = interval(np.arange(101.0))
    >>> round(float(low), 6), round(float(high), 6)
    (2.5, 97.5)
    """
    samples = np.moveaxis(samples, axis, 0)
    known = np.isfinite(samples).mean(axis=0) >= 0.5 if len(samples) else np.zeros(samples.shape[1:], bool)
    if not len(samples):
        return np.full(samples.shape[1:], np.nan), np.full(samples.shape[1:], np.nan)
    filled = np.where(known, samples, 0.0)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.nanquantile(filled, tails, axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)
