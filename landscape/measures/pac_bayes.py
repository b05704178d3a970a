"""PAC-Bayes flatness: how much noise the weights bear before accuracy falls, or before the loss rises."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
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

    def damage(sigma: float) -> np.ndarray:
        loss, right = at(sigma)
        return loss - centre if by_loss else accuracy - right

    sigma = _crossing(lambda log_sigma: _mean(damage(math.exp(log_sigma))) - threshold)
    samples = damage(sigma)
    # The error of the mean becomes one of sigma by the slope d mean / d log sigma, taken between two sizes.
    near, far = _mean(damage(sigma / _STEP)), _mean(damage(sigma * _STEP))
    slope = (far - near) / (2 * math.log(_STEP))
    _, error = mean_and_error(samples)
    value = sigma**-2.0
    relative = 2 * math.hypot(error / slope, _XTOL) if slope > 0 else math.nan
    kind = {"rise": RISE} if by_loss else {"fall": FALL}
    return Reading(value, value * relative, samples=samples, config={"sigma": sigma, **kind, **config})


_STEP = 1.25  # ratio of the two sizes between which the slope is taken


def _mean(values: np.ndarray) -> float:
    """Return the mean, and a large number for infinite losses, so that a search can go on."""
    return float(np.minimum(values, 1e6).mean())


def _crossing(excess: Callable[[float], float]) -> float:
    """Return the sigma at which a rising function of log sigma is 0: a bracket by factors of four, then Brent."""
    low = high = math.log(_FIRST)
    step = math.log(4.0)
    while excess(low) >= 0:
        low -= step
        if low < math.log(_LEAST):
            raise LandscapeError("the net is hurt by the least noise: accuracy or loss jump at the trained point.")
    high = max(high, low + step)
    while excess(high) < 0:
        low, high = high, high + step
        if high > math.log(_MOST):
            raise LandscapeError(
                f"noise never lowers the accuracy by {FALL} or raises the loss by {RISE}: the net is no better than "
                "chance, or the loss is bounded."
            )
    return math.exp(brentq(excess, low, high, xtol=_XTOL / 2))
