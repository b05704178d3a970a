"""PAC-Bayes flatness: how much noise the weights bear before accuracy falls, or before the loss rises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws, student_factor
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective

At = Callable[[float, range], tuple[np.ndarray, np.ndarray]]  #: sigma, draws -> losses and accuracies

FALL = 0.1  #: of the mean accuracy, at which sigma is read
RISE = 0.1  #: of the mean loss, where there is no accuracy
EPSILON = 1e-3  #: standard deviation of the noise on a weight of zero, in the magnitude version
_FIRST, _RATIO = 0.1, 2**0.5  # sizes of noise form the grid first · ratio^k: one of them is that of average-case
_GROWTH = 4 * math.log(_RATIO)  # of the log damage from one size to the next, about: damage grows as sigma⁴
_STEPS = 50  # of the grid, up or down, at most
_FEW = 2  # draws of the search; all draws are taken at the size below sigma, half of them at the one above
_BEYOND = 0.25  # of the way between two sizes: so far beyond them the power law is followed
_LEAST_SHARE = 1e-3  # of the threshold: damage below it counts as this, so that it has a log


@measure("pac-bayes", larger="sharper", closed_form=True, core=True, invariant=("permutation",))
def pac_bayes(objective: Objective, draws: Draws) -> Reading:
    """Return 1 / sigma², with sigma the standard deviation of the noise at which the mean accuracy falls by 0.1.

    Without an accuracy it is the sigma at which the mean loss rises by 0.1; on a quadratic sigma² = 2 · 0.1 / tr H.
    Source: Jiang, Neyshabur, Mobahi, Krishnan & Bengio 2020; sigma² is a variance. Departures:

    1. Every sigma gets the same draws, in antithetic pairs.
    2. sigma is read from a power law between two sizes of noise. The source bisects until the fall is within 0.01.
       Half of the draws are taken at the larger size: they give the slope of the law.
    """
    return _flatness(draws, draws.some)


@measure("pac-bayes-magnitude", larger="sharper", closed_form=True, core=True, invariant=("permutation",))
def pac_bayes_magnitude(objective: Objective, draws: Draws) -> Reading:
    """Return 1 / sigma² as ``pac-bayes`` does, with noise of variance sigma² w_i² + epsilon² on weight i.

    Source: Dziugaite et al. 2020; epsilon = 0.001. Departures: as for ``pac-bayes``.
    """
    weights = objective.scope.gather(objective.theta)

    def at(sigma: float, which: range) -> tuple[np.ndarray, np.ndarray]:
        std: Tensor = (sigma**2 * weights.square() + EPSILON**2).sqrt()
        return draws.points(std, which=which)

    size = float(weights.square().mean().sqrt())
    start = round(-math.log(size) / math.log(_RATIO)) if size else 0  # there the noise is as large as at 0 without w
    return _flatness(draws, at, start, epsilon=EPSILON)


def _flatness(draws: Draws, at: At, start: int = 0, **config: float) -> Reading:
    """Return the reading of 1 / sigma² for losses and accuracies at each sigma.

    The damage of the noise is read at sizes of a grid. A few draws, and then half of all, find the neighbours between
    which it reaches the threshold. The lower one gets all draws, and sigma lies on the power law between the two. The
    draws are the same at every size, so half of them tell the ratio of the damages.
    """
    centre, accuracy = draws.objective.centre, draws.accuracy
    by_loss = math.isnan(accuracy)
    threshold = RISE if by_loss else FALL
    taken: dict[int, np.ndarray] = {}

    def damage(k: int, count: int) -> np.ndarray:
        """Return the damage of at least ``count`` draws at a size of the grid, in units of the threshold."""
        own = taken.get(k, np.zeros(0))
        if len(own) < count:
            loss, right = at(_FIRST * _RATIO**k, range(len(own), count))
            more = np.minimum(loss - centre if by_loss else accuracy - right, _INFINITE) / threshold
            taken[k] = own = np.concatenate([own, more])
        return own

    line = _line(damage, draws.count, _search(lambda k: float(damage(k, _FEW).mean()), start, reach=4))
    sigma = _FIRST * _RATIO**line.place
    kind = {"rise": RISE} if by_loss else {"fall": FALL}
    error = 2 * math.log(_RATIO) * line.error * sigma**-2.0
    return Reading(sigma**-2.0, error, samples=line.samples, config={"sigma": sigma, **kind, **config})


@dataclass(frozen=True)
class _Line:
    """Where the damage reaches the threshold on a power law between two sizes of the grid.

    Attributes:
        place: in steps of the grid.
        error: the standard error of ``place``.
        samples: the damage at the size below, one for each draw.
    """

    place: float
    error: float
    samples: np.ndarray


def _line(damage: Callable[[int, int], np.ndarray], count: int, start: int) -> _Line:
    """Return where the damage is 1, from all draws at the size below and half of them at the size above.

    The damage above is that below times their ratio on the draws that both have. Damage varies more below, from draw to
    draw, so all draws go there.

    Args:
        damage: place in the grid, number of draws -> damage of at least as many, and of all that were ever taken there.
        count: number of draws.
        start: a place near the threshold.
    """
    half = 2 * math.ceil(count / 4)
    k = _search(lambda k: float(damage(k, half).mean()), start, reach=1)
    for _ in range(_STEPS):
        below, above = damage(k, count), damage(k + 1, half)
        common = below[: len(above)]
        depth, height = -_log(below), _log(above) - _log(common)
        share = depth / height if height > 0 else math.copysign(math.inf, depth)  # of the way from k to k + 1
        if -_BEYOND <= share <= 1 + _BEYOND:
            break
        k += 1 if share > 1 else -1
    else:
        raise LandscapeError(_HURT if share < 0 else _UNHURT)
    # what each antithetic pair adds to the error of the share
    pairs, highs, lows = (_relative(each) for each in (below, above, common))
    shares = pairs / (len(pairs) * height)
    shares[: len(highs)] += depth / height**2 * (highs - lows) / len(highs)
    return _Line(k + share, student_factor(len(pairs)) * float(np.linalg.norm(shares)), below)


def _log(damage: np.ndarray) -> float:
    """Return the log of the mean damage; damage below a small share of the threshold counts as this share."""
    return math.log(max(float(damage.mean()), _LEAST_SHARE))


def _relative(damage: np.ndarray) -> np.ndarray:
    """Return how far the mean of each antithetic pair is from that of all, relative to it, shape (pairs,).

    The sum of their squares over pairs² is the unbiased variance of the mean.
    """
    pairs = damage[: len(damage) // 2 * 2].reshape(-1, 2).mean(1)
    unbiased = math.sqrt(len(pairs) / (len(pairs) - 1)) if len(pairs) > 1 else 1.0
    return unbiased * (pairs / max(float(pairs.mean()), _LEAST_SHARE) - 1)


def _search(damage: Callable[[int], float], start: int, reach: int) -> int:
    """Return the place k in the grid with damage below 1 there and of at least 1 at k + 1.

    Steps go as far as the damage tells if it grows as it usually does, but at most ``reach``.
    """
    low, high, k = -math.inf, math.inf, start
    while high - low > 1:
        here = damage(k)
        low, high = (max(low, k), high) if here < 1 else (low, min(high, k))
        steps = min(max(round(abs(math.log(max(here, _LEAST_SHARE))) / _GROWTH), 1), reach)
        k = int(min(k + steps, high - 1) if here < 1 else max(k - steps, low + 1))
        if abs(k - start) > _STEPS:
            raise LandscapeError(_HURT if k < start else _UNHURT)
    return int(low)


_INFINITE = 1e6  # a loss that counts as infinite
_HURT = "the least noise hurts the net: accuracy or loss jump at the trained point."
_UNHURT = (
    f"no noise lowers the accuracy by {FALL} or raises the loss by {RISE}: the net is no better than chance, or the "
    "loss is bounded."
)
