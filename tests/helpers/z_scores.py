"""How many standard errors a Monte Carlo estimate lies from the truth."""

from __future__ import annotations

import math

import numpy as np

import landscape as ls
from landscape.volume.ray_weights.statistics import relative_error


def z_of_volume(volume: ls.Volume, log_truth: float, column: int = 0) -> float:
    """Compare a log-volume with the truth. Its radii must be exact."""
    return (volume.results[column].log_volume - log_truth) / relative_error(volume.log_weights[:, column])


def z_of_weights(log_weights: np.ndarray, log_truth: float) -> float:
    """Compare the mean of independent weights with the truth."""
    weights = np.exp(log_weights - log_truth)
    return float((weights.mean() - 1) / (weights.std(ddof=1) / math.sqrt(len(weights))))


def z_of_chains(values: np.ndarray, truth: float) -> float:
    """Compare the mean of values of shape (steps, chains) with the truth. The chains are independent."""
    means = values.mean(axis=0)
    return float((means.mean() - truth) / (means.std(ddof=1) / math.sqrt(len(means))))
