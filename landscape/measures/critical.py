"""Critical sharpness: from the step along the gradient at which the loss begins to rise."""

from __future__ import annotations

import math
from collections.abc import Callable

from landscape.errors import LandscapeError
from landscape.measures.draws import Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.measures.slopes import full_gradient
from landscape.objective import Objective
from landscape.results.sharpness import BELOW_ROUNDING

TOLERANCE = 0.02  #: relative width of the interval of steps that holds the critical one
_FIRST = 0.01  # length of the first step that is tried, relative to the weights
_FARTHEST = 100.0  # factor by which a step may grow at once
_WIDE = 10.0  # ratio of the bracket's ends above which it is halved, whatever a straight line says
_MOST = 60  # passes


@measure("critical", larger="sharper", closed_form=True, invariant=("permutation", "batch-size"))
def critical(objective: Objective, draws: Draws) -> Reading:
    """Return 2 / eta, with eta the step at which L(w - eta g) comes back to L(w), g the gradient.

    On a quadratic it is g' H g / |g|². The search looks for the root of the excess (L(w - eta g) - L(w)) / eta, which
    is a straight line on a quadratic. It ends with two steps 2 % apart, one on either side. Half of the interval of
    2 / eta between them is the error. If the loss comes back several times, the search may find a later one.

    Source: Kalra et al. 2026. Departures: the step goes along the gradient of all data, not along the update of an
    optimiser; and the root is interpolated between the last two steps.
    """
    gradient, theta = full_gradient(draws), objective.theta
    size = float(gradient.double().norm())
    if not size:
        raise LandscapeError("the gradient at the trained point is 0, so no step along it changes the loss.")
    step = objective.scope.scatter(gradient, theta.new_zeros(1, len(theta)))

    def excess(eta: float) -> float:
        draws.charge(1)
        loss = float(objective.loss_at(theta - eta * step)[0])
        return math.inf if math.isnan(loss) else (loss - objective.centre) / eta

    length = float(objective.scope.gather(theta).double().norm())
    low, high, root = crossing(excess, -(size**2), _FIRST * (length or 1.0) / size)
    value, error = 2 / root, 1 / low - 1 / high
    fall = size**2 * root / 4  # of a quadratic, half way
    if fall < draws.rounding:
        reason = f"along the gradient the loss falls by {fall:.1g}, less than its rounding; compute in float64"
        return Reading(value, error, BELOW_ROUNDING, (reason,))
    return Reading(value, error)


def crossing(excess: Callable[[float], float], start: float, first: float) -> tuple[float, float, float]:
    """Return steps (low, high, root): the excess is at most 0 at low, and above 0 at high, 2 % further.

    Args:
        excess: of a step above 0; nearly a straight line.
        start: its limit at 0, below 0.
        first: the step to try first.

    >>> low, high, root = crossing(lambda eta: eta - 3.0, -3.0, 0.1)
    >>> low <= 3 < high < 1.021 * low, round(root, 9)
    (True, 3.0)
    """
    low, at_low, high, at_high = 0.0, start, math.inf, math.inf
    eta = first
    for count in range(_MOST):
        value = excess(eta)
        if value > 0:
            high, at_high = eta, value
        else:
            low, at_low = eta, value
        if high <= (1 + TOLERANCE) * low:
            return low, high, _root(low, at_low, high, at_high)
        eta = _next(low, at_low, high, at_high, start, halve=count % 4 == 3)
    raise LandscapeError(
        "the loss does not rise along the gradient, however long the step." if math.isinf(high) else
        "the loss jumps along the gradient, so there is no step at which it begins to rise."
    )  # fmt: skip


def _next(low: float, at_low: float, high: float, at_high: float, start: float, *, halve: bool) -> float:
    """Return the next step to try: just beyond the root of the straight line, on the side that is less well known."""
    if math.isinf(high):
        slope = (at_low - start) / low
        root = -start / slope if slope > 0 else math.inf
        return min(max(root * (1 + TOLERANCE / 3), 2 * low if root <= low else 0.0), _FARTHEST * low)
    if not low:
        least = high / _FARTHEST
        return least if math.isinf(at_high) else max(least, _aside(_root(0.0, start, high, at_high), 0.0, high))
    if halve or high > _WIDE * low or math.isinf(at_high):
        return math.sqrt(low * high)
    return _aside(_root(low, at_low, high, at_high), low, high)


def _aside(root: float, low: float, high: float) -> float:
    """Return a step a little to the side of a root where the bracket is wider."""
    shift = TOLERANCE / 3
    return root * (1 - shift) if root - low > high - root else min(root * (1 + shift), (root + high) / 2)


def _root(low: float, at_low: float, high: float, at_high: float) -> float:
    """Return where the straight line through two points crosses 0; the middle if the upper one is infinite."""
    if math.isinf(at_high):
        return (low + high) / 2
    return low + (high - low) * -at_low / (at_high - at_low)
