"""What chains say of their own mean: R-hat, effective sample size and standard error (Vehtari et al. 2021)."""

from __future__ import annotations

import math

import numpy as np
import scipy  # it loads scipy.stats when that is first used, which takes half a second
from scipy.special import ndtri

_FEWEST = 4  # draws in half a chain from which anything can be said


def split_rhat(values: np.ndarray) -> float:
    """Return the rank-normalised split R-hat of chains, shape (chains, draws); NaN if they do not move.

    The larger of that of the values and that of their distances from the median, so that chains which differ in spread
    alone are found too. Near 1 if all halves of all chains have one distribution.

    >>> mixed = np.sin(np.arange(400.0) ** 2).reshape(4, 100)
    >>> split_rhat(mixed) < 1.01, split_rhat(mixed + np.arange(4)[:, None]) > 1.5
    (True, True)
    """
    halves = _halves(values)
    folded = np.abs(halves - np.median(halves))
    return float(np.maximum(_rhat(_normal_scores(halves)), _rhat(_normal_scores(folded))))  # NaN if either is


def effective_sample_size(values: np.ndarray) -> float:
    """Return how many independent draws have the same error of the mean as chains, shape (chains, draws); NaN if none.

    By autocorrelations of the split chains, summed by Geyer's initial monotone sequence (Geyer 1992). Chains that
    disagree have few.

    >>> white = np.sin(np.arange(4_000.0) ** 2).reshape(4, 1_000)
    >>> 3_000 < effective_sample_size(white) <= 5_000
    True
    """
    halves = _halves(values)
    chains, draws = halves.shape
    if draws < _FEWEST or not np.isfinite(halves).all():
        return math.nan
    covariances = np.stack([_autocovariance(row) for row in halves])
    within = covariances[:, 0].mean() * draws / (draws - 1)
    total = within * (draws - 1) / draws + halves.mean(1).var(ddof=1)
    if not total > 0:
        return math.nan
    correlations = 1 - (within - covariances.mean(0) * draws / (draws - 1)) / total
    correlations[0] = 1.0
    pairs = correlations[: draws // 2 * 2].reshape(-1, 2).sum(1)
    positive = pairs[: int(np.argmax(np.append(pairs, -1.0) <= 0))]  # up to the first that is not
    time = -1 + 2 * float(np.minimum.accumulate(positive).sum()) if len(positive) else 1.0
    # chains that swing around their mean may do better than independent draws, but not by a lot
    return chains * draws / max(time, 1 / math.log10(chains * draws))


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean of chains, shape (chains, draws); NaN if it is not known.

    The larger of two: by all chains as if they were independent, and by the mean of the chains as one series. The
    second sees what chains share, such as the noise of a minibatch.
    """
    return float(np.maximum(_error(values), _error(values.mean(0, keepdims=True))))  # NaN if either is


def starts_apart(values: np.ndarray, first: int) -> float:
    """Return how far the means of the first chains and of the others lie apart, in standard errors of the difference.

    With many chains it finds a burn-in that was too short, of which each chain alone shows little.
    """
    groups = values[:first], values[first:]
    distance = abs(float(groups[0].mean() - groups[1].mean()))
    return distance / math.hypot(*(_error(group) for group in groups)) if distance else 0.0


def _error(values: np.ndarray) -> float:
    spread = float(values.std(ddof=1)) if np.isfinite(values).all() and values.size > 1 else math.nan
    return spread / math.sqrt(effective_sample_size(values))


def _halves(values: np.ndarray) -> np.ndarray:
    """Return both halves of each chain as chains, shape (2 chains, draws / 2)."""
    half = values.shape[1] // 2
    return np.concatenate([values[:, :half], values[:, values.shape[1] - half :]])


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Return the normal quantiles of the ranks (Blom 1958)."""
    ranks = scipy.stats.rankdata(values).reshape(values.shape)
    scores: np.ndarray = ndtri((ranks - 0.375) / (values.size + 0.25))
    return scores


def _rhat(values: np.ndarray) -> float:
    draws = values.shape[1]
    if draws < _FEWEST:
        return math.nan
    within = float(values.var(axis=1, ddof=1).mean())
    between = float(values.mean(1).var(ddof=1))
    return math.sqrt((within * (draws - 1) / draws + between) / within) if within > 0 else math.nan


def _autocovariance(values: np.ndarray) -> np.ndarray:
    """Return the autocovariance of a series at each lag, shape (draws,), by the Fourier transform."""
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * len(values))
    covariance: np.ndarray = np.fft.irfft(spectrum * spectrum.conj())[: len(values)] / len(values)
    return covariance
