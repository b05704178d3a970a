"""PAC-Bayes flatness: how much noise the weights bear before accuracy falls, or before the loss rises."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws, mean_and_error
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective

At = Callable[[float, int], tuple[np.ndarray, np.ndarray]]  #: sigma, draws -> losses and accuracies

FALL = 0.1  #: of the mean accuracy, at which sigma is read
RISE = 0.1  #: of the mean loss, where there is no accuracy
EPSILON = 1e-3  #: standard deviation of the noise on a weight of zero, in the magnitude version
_FIRST, _RATIO = 0.1, 2**0.5  # sizes of noise form the grid first · ratio^k: one of them is that of average-case
_STEPS = 50  # of the grid, up or down, at most
_FEW = 2  # draws of the search; all draws are taken at the two sizes where it ends
_LEAST_SHARE = 1e-3  # of the threshold: damage below it counts as this, so that it has a log


@measure("pac-bayes", larger="sharper", closed_form=True, core=True, invariant=("permutation",))
def pac_bayes(objective: Objective, draws: Draws) -> Reading:
    """Return 1 / sigma², with sigma the standard deviation of the noise at which the mean accuracy falls by 0.1.

    Without an accuracy it is the sigma at which the mean loss rises by 0.1; on a quadratic sigma² = 2 · 0.1 / tr H.
    Source: Jiang, Neyshabur, Mobahi, Krishnan & Bengio 2020; sigma² is a variance. Departures:

    1. Every sigma gets the same draws, in antithetic pairs.
    2. sigma is read from a power law between two sizes of noise. The source bisects until the fall is within 0.01.
    """
    return _flatness(draws, lambda sigma, count: draws.few(sigma, count))


@measure("pac-bayes-magnitude", larger="sharper", closed_form=True, core=True, invariant=("permutation",))
def pac_bayes_magnitude(objective: Objective, draws: Draws) -> Reading:
    """Return 1 / sigma² as ``pac-bayes`` does, with noise of variance sigma² w_i² + epsilon² on weight i.

    Source: Dziugaite et al. 2020; epsilon = 0.001. Departures: as for ``pac-bayes``.
    """
    weights = objective.scope.gather(objective.theta)

    def at(sigma: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        std: Tensor = (sigma**2 * weights.square() + EPSILON**2).sqrt()
        return draws.points(std, count=count)

    return _flatness(draws, at, epsilon=EPSILON)


def _flatness(draws: Draws, at: At, **config: float) -> Reading:
    """Return the reading of 1 / sigma² for losses and accuracies at each sigma.

    The damage of the noise is read at sizes of a grid. A few draws find the neighbours between which it reaches the
    threshold, all draws are taken at these, and sigma lies on the power law between them. The draws are the same at
    every size, so their mean is as smooth as the loss.
    """
    centre, accuracy = draws.objective.centre, draws.accuracy
    by_loss = math.isnan(accuracy)
    threshold = RISE if by_loss else FALL
    taken: dict[int, np.ndarray] = {}

    def damage(k: int, count: int) -> np.ndarray:
        """Return the damage of each draw at a size of the grid, in units of the threshold."""
        if k not in taken or len(taken[k]) < count:
            loss, right = at(_FIRST * _RATIO**k, count)
            taken[k] = np.minimum(loss - centre if by_loss else accuracy - right, _INFINITE) / threshold
        return taken[k]

    k = _search(lambda k: float(damage(k, _FEW).mean()))
    k = _search(lambda k: float(damage(k, draws.count).mean()), k, step=1)
    low, high = (mean_and_error(damage(each, draws.count)) for each in (k, k + 1))
    near = math.log(max(low[0], _LEAST_SHARE)), math.log(high[0])
    power = (near[1] - near[0]) / math.log(_RATIO)
    sigma = _FIRST * _RATIO**k * math.exp(-near[0] / power)
    share = -near[0] / (near[1] - near[0])  # of the way from one size to the other
    samples = (1 - share) * damage(k, draws.count) + share * damage(k + 1, draws.count)
    _, error = mean_and_error(samples)
    kind = {"rise": RISE} if by_loss else {"fall": FALL}
    return Reading(
        sigma**-2.0, 2 * error / power * sigma**-2.0, samples=samples, config={"sigma": sigma, **kind, **config}
    )


def _search(damage: Callable[[int], float], k: int = 0, step: int = 4) -> int:
    """Return the place k in the grid with damage below 1 there and of at least 1 at k + 1; steps halve on the way."""
    below = damage(k) < 1
    while True:
        direction = 1 if below else -1
        while (damage(k + direction * step) < 1) == below:
            k += direction * step
            if abs(k) > _STEPS:
                raise LandscapeError(_HURT if k < 0 else _UNHURT)
        if step == 1:
            return k if below else k - 1
        k, below, step = k + direction * step, not below, step // 2


_INFINITE = 1e6  # a loss that counts as infinite
_HURT = "the least noise hurts the net: accuracy or loss jump at the trained point."
_UNHURT = (
    f"no noise lowers the accuracy by {FALL} or raises the loss by {RISE}: the net is no better than chance, or the "
    "loss is bounded."
)
