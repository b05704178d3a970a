"""Does a derivative agree with differences of the function? Agreement, disagreement, or nothing that can be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

TOLERANCE = 1e-3  #: relative difference between a derivative and a quotient of differences that passes
_RESOLVED = 0.2  # the quotients must agree with each other this much better than with the derivative to prove it wrong
_AUDIBLE = 10.0  # times the rounding: a derivative below it is not seen by differences


class Outcome(Enum):
    """What differences say about a derivative."""

    AGREES = "agrees"
    SILENT = "below the rounding of the function"
    UNRESOLVED = "differences do not converge, as at a kink"
    WRONG = "differences converge to something else"


@dataclass(frozen=True)
class Comparison:
    """An outcome, and if it is WRONG the positions of the wrong tensors and the two values of the worst."""

    outcome: Outcome
    where: tuple[int, ...] = ()
    derivative: float = 0.0
    difference: float = 0.0


def compare(
    function: Callable[[float], list[Tensor]],
    derivatives: list[Tensor],
    *,
    centre: list[Tensor],
    scales: Sequence[float],
    rounding: Sequence[float],
    steps: Sequence[float],
    plateau: int,
) -> Comparison:
    """Compare derivatives with quotients of differences at one step size after the other.

    A tensor agrees as soon as one quotient does. It is wrong if the quotients of ``plateau`` step sizes, and those
    ahead and behind, agree with each other much better than with the derivative.

    Args:
        function: step -> tensors at this step along the direction.
        derivatives: of these tensors along the direction.
        centre: the tensors at step 0.
        scales: what counts as the size of each, if it is larger than the derivative.
        rounding: absolute rounding of each tensor.
        steps: step sizes, descending.
        plateau: step sizes that must agree to prove a disagreement.
    """
    past: list[list[Tensor]] = []
    agreed, audible = [False] * len(derivatives), False
    for h in steps:
        ahead, behind = function(h), function(-h)
        quotients = [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]
        most = max(_norm(quotients), _norm(derivatives))
        wrong: list[int] = []
        for i, (quotient, value) in enumerate(zip(quotients, derivatives, strict=True)):
            off, floor = float((quotient - value).norm()), rounding[i] / h
            size = max(float(quotient.norm()), float(value.norm()), scales[i], TOLERANCE * most)
            if off <= TOLERANCE * size + floor:
                agreed[i] = True
                audible |= size > _AUDIBLE * floor
            elif not agreed[i] and len(past) >= plateau - 1:
                bend = float((ahead[i] - 2 * centre[i] + behind[i]).norm()) / h  # ahead against behind
                apart = (float((quotient - before[i]).norm()) for before in past[len(past) - plateau + 1 :])
                wrong += [i] * (max(bend, *apart) <= _RESOLVED * off)
        if all(agreed):
            return Comparison(Outcome.AGREES if audible else Outcome.SILENT)
        if wrong:
            worst = max(wrong, key=lambda i: float((quotients[i] - derivatives[i]).norm()))
            return Comparison(Outcome.WRONG, tuple(wrong), _shown(derivatives[worst]), _shown(quotients[worst]))
        past.append(quotients)
    return Comparison(Outcome.UNRESOLVED)


def _norm(items: Sequence[Tensor]) -> float:
    return float(torch.stack([item.double().norm() for item in items]).norm())


def _shown(item: Tensor) -> float:
    """Return a number, or the norm of a tensor."""
    return float(item) if item.numel() == 1 else float(item.norm())
