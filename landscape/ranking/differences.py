"""Whether a measure predicts better than every baseline, once it counts that the best of many was picked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.ranking.resamples import CONFIDENCE, interval

_SMALL = 1e-12


@dataclass(frozen=True)
class AgainstBaselines:
    """How far each measure is above the strongest baseline.

    Attributes:
        margin: difference to the baseline that is hardest to beat, shape (M,).
        lower: simultaneous lower bound of 95 % for that difference, shape (M,).
        hardest: number of that baseline, shape (M,).
    """

    margin: np.ndarray
    lower: np.ndarray
    hardest: np.ndarray


def no_prediction_is_zero(psi: np.ndarray) -> np.ndarray:
    """Return Psi for comparisons, shape (B, M), from psi per axis, shape (B, A, M).

    A measure that does not vary along an axis predicts nothing there, so it counts as 0 on that axis. Otherwise a
    baseline such as the parameter count, which varies along one axis only, would be compared on that axis alone.
    """
    return np.nan_to_num(psi).mean(axis=1)


def against_baselines(psi: np.ndarray, measures: np.ndarray, baselines: np.ndarray) -> AgainstBaselines:
    """Return for each measure how far it is above the baseline that is hardest to beat.

    The differences are paired: both come from the same resamples. The bounds d - q·se hold for all measures and
    baselines at once with 95 % confidence. q is the 95 % quantile over resamples of the largest (d* - d) / se (the
    maximum statistic; Romano & Wolf 2005). A baseline claims no direction, so each is turned towards the target first.

    Args:
        psi: per resample, the table itself first, shape (B + 1, A, all measures).
        measures, baselines: their columns.

    >>> same = np.tile(np.array([0.9, 0.5]), (4, 1, 1))
    >>> float(against_baselines(same, np.array([0]), np.array([1])).lower[0])
    0.4
    """
    scores = no_prediction_is_zero(psi)
    turned = scores[:, baselines] * np.where(scores[:1, baselines] < 0, -1.0, 1.0)
    difference = scores[:, measures][:, :, None] - turned[:, None]
    spread = difference[1:].std(axis=0, ddof=1) if len(difference) > 2 else np.full(difference.shape[1:], np.nan)
    moved = (difference[1:] - difference[0]) / np.maximum(spread, _SMALL)
    quantile = max(0.0, float(np.quantile(moved.max(axis=(1, 2)), CONFIDENCE))) if moved.size else np.nan
    bound = difference[0] - quantile * spread
    hardest = np.argmin(bound, axis=1)
    rows = np.arange(len(measures))
    return AgainstBaselines(np.round(difference[0][rows, hardest], 12), np.round(bound[rows, hardest], 12), hardest)


def paired_differences(psi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Psi of each measure minus that of each other one, and the ends of its interval of 95 %, shapes (M, M).

    Both come from the same resamples, so that what all measures share in a resample cancels.

    Args:
        psi: per resample, the table itself first, shape (B + 1, A, M).

    >>> difference, low, high = paired_differences(np.array([[[0.9, 0.5]], [[0.8, 0.4]], [[0.7, 0.3]]]))
    >>> difference[0].round(6).tolist(), low[0].round(6).tolist(), high[0].round(6).tolist()
    ([0.0, 0.4], [0.0, 0.4], [0.0, 0.4])
    """
    scores = np.where(np.isfinite(psi[0]).any(axis=0), no_prediction_is_zero(psi), np.nan)
    low, high = np.full((2, scores.shape[1], scores.shape[1]), np.nan)
    for row in range(scores.shape[1]):
        low[row], high[row] = interval(scores[1:, row : row + 1] - scores[1:])
    return scores[0][:, None] - scores[0][None], low, high


def chance_of_best(null: np.ndarray, measures: np.ndarray) -> float:
    """Return the 95 % quantile of the largest Psi among the measures if none of them predicts anything.

    Args:
        null: psi for permuted targets, shape (permutations, A, all measures). One permutation serves all measures, so
            that measures which resemble each other count as such (Westfall & Young 1993).
        measures: their columns.
    """
    if not len(null) or not len(measures):
        return float("nan")
    return float(np.quantile(no_prediction_is_zero(null)[:, measures].max(axis=1), CONFIDENCE))
