"""PAC-Bayes flatness: how much noise the weights bear before accuracy falls, or before the loss rises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws, mean_and_error
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective

FALL = 0.1  #: of the mean accuracy, at which sigma is read
RISE = 0.1  #: of the mean loss, where there is no accuracy
EPSILON = 1e-3  #: standard deviation of the noise on a weight of zero, in the magnitude version
_XTOL = 0.01  # relative accuracy of sigma, as in the sources
_FIRST, _LEAST, _MOST = 0.1, 1e-8, 1e8  # where the search for sigma begins and ends
_INFINITE = 1e6  # a loss that counts as infinite, so that the search can go on
_Point = tuple[float, float, float]  # log sigma, the mean there, and its error


@measure("pac-bayes", larger="sharper", core=True, invariant=("permutation",))
def pac_bayes(objective: Objective, draws: Draws) -> Reading:
    """Return 1 / sigma², with sigma the standard deviation of the noise at which the mean accuracy falls by 0.1.

    Without an accuracy it is the sigma at which the mean loss rises by 0.1; on a quadratic sigma² = 2 · 0.1 / tr H.
    Source: Jiang, Neyshabur, Mobahi, Krishnan & Bengio 2020; sigma² is a variance.
    """
    return _flatness(draws, lambda sigma: draws.at(sigma, "identity"))


@measure("pac-bayes-magnitude", larger="sharper", core=True, invariant=("permutation",))
def pac_bayes_magnitude(objective: Objective, draws: Draws) -> Reading:
    """Return 1 / sigma² as ``pac-bayes`` does, with noise of variance sigma² w_i² + epsilon² on weight i.

    Source: Dziugaite et al. 2020; epsilon = 0.001.
    """
    weights = objective.scope.gather(objective.theta)

    def at(sigma: float) -> tuple[np.ndarray, np.ndarray]:
        std: Tensor = (sigma**2 * weights.square() + EPSILON**2).sqrt()
        return draws.points(std)

    return _flatness(draws, at, epsilon=EPSILON)


def _flatness(draws: Draws, at: Callable[[float], tuple[np.ndarray, np.ndarray]], **config: float) -> Reading:
    """Return the reading of 1 / sigma² for losses and accuracies at each sigma."""
    centre, accuracy = draws.objective.centre, draws.accuracy
    by_loss = math.isnan(accuracy)
    threshold = RISE if by_loss else FALL

    def excess(log_sigma: float) -> np.ndarray:
        loss, right = at(math.exp(log_sigma))
        return np.minimum(loss - centre if by_loss else accuracy - right, _INFINITE) - threshold

    crossing = _cross(excess)
    # the error of the mean is one of log sigma by the slope of the mean there
    error = math.hypot(crossing.error / crossing.slope, _XTOL) if crossing.slope > 0 else math.nan
    sigma = math.exp(crossing.log_sigma)
    kind = {"rise": RISE} if by_loss else {"fall": FALL}
    return Reading(sigma**-2.0, 2 * error * sigma**-2.0, config={"sigma": sigma, **kind, **config})


@dataclass(frozen=True)
class _Crossing:
    """Where a mean crosses zero: log sigma, the slope of the mean by log sigma, and the error of the mean."""

    log_sigma: float
    slope: float
    error: float


def _cross(excess: Callable[[float], np.ndarray]) -> _Crossing:
    """Return where the mean of a rising function of log sigma is zero: a bracket by factors of four, then secants.

    The secants are those of the Illinois method. They end when the mean is zero within a tenth of its own error.
    """
    low, high = _bracket(excess)
    kept = low[1], high[1]  # the means that the secant takes; Illinois halves the one that stays
    while high[0] - low[0] > _XTOL:
        middle = low[0] + (high[0] - low[0]) * kept[0] / (kept[0] - kept[1])
        mean, error = mean_and_error(excess(middle))
        if abs(mean) <= error / 10:
            return _Crossing(middle, (high[1] - low[1]) / (high[0] - low[0]), error)
        if mean < 0:
            low, kept = (middle, mean, error), (mean, kept[1] / 2)
        else:
            high, kept = (middle, mean, error), (kept[0] / 2, mean)
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return _Crossing((low[0] + high[0]) / 2, slope, max(low[2], high[2]))


def _bracket(excess: Callable[[float], np.ndarray]) -> tuple[_Point, _Point]:
    """Return two sizes, a factor of four apart, with the mean below zero at the first and above it at the second."""
    log_sigma, low, high = math.log(_FIRST), None, None
    while low is None or high is None:
        mean, error = mean_and_error(excess(log_sigma))
        if mean < 0:
            low, log_sigma = (log_sigma, mean, error), log_sigma + math.log(4.0)
        else:
            high, log_sigma = (log_sigma, mean, error), log_sigma - math.log(4.0)
        if log_sigma < math.log(_LEAST):
            raise LandscapeError("the least noise hurts the net: accuracy or loss jump at the trained point.")
        if log_sigma > math.log(_MOST):
            raise LandscapeError(
                f"no noise lowers the accuracy by {FALL} or raises the loss by {RISE}: the net is no better than "
                "chance, or the loss is bounded."
            )
    return low, high
