"""The cutoffs of a basin, and the checks that there is a basin for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from landscape.errors import ObjectiveError
from landscape.objective import Objective

CUTOFFS = (0.1,)  #: by default
_ROUNDING = 100.0  # smallest rise from the centre to a cutoff, in units in the last place of the loss there


def check_basin(objective: Objective, cutoffs: Sequence[float], criterion: str) -> tuple[tuple[float, ...], float]:
    """Return the cutoffs, ascending and each once, and the criterion at theta.

    Raises:
        ObjectiveError: if a cutoff is not finite, or has no basin: the centre is not below it, or too close to it.
    """
    check_objective(objective)
    values = _check_cutoffs(cutoffs)
    centre = objective.centre_of(criterion)
    _check_centre(centre, values, criterion)
    if criterion != "kl":
        _check_rise(values[0] - centre, objective.centre, objective.dtype)
    return values, centre


def check_objective(objective: object) -> None:
    """Refuse anything but an Objective.

    Raises:
        ObjectiveError: it says how to make one.
    """
    if not isinstance(objective, Objective):
        raise ObjectiveError(
            f"a basin belongs to an Objective, not to {type(objective).__name__}. "
            "Pass landscape.Objective(model, data, loss)."
        )


def _check_cutoffs(cutoffs: Sequence[float]) -> tuple[float, ...]:
    try:
        values = tuple(sorted({float(c) for c in np.atleast_1d(np.asarray(cutoffs, dtype=np.float64))}))
    except (TypeError, ValueError):
        values = ()
    if not values or not all(map(math.isfinite, values)):
        raise ObjectiveError(f"`cutoffs` must be finite numbers, at least one, not {cutoffs!r}. Pass `cutoffs=[0.1]`.")
    return values


def _check_centre(centre: float, cutoffs: tuple[float, ...], criterion: str) -> None:
    """Refuse a cutoff at or below the centre."""
    if centre < cutoffs[0]:
        return
    if criterion == "loss":
        raise ObjectiveError(
            f"the loss at the trained point is {centre:.6g}, not below the cutoff {cutoffs[0]:g}, so no basin "
            "exists at this cutoff.\nPass larger `cutoffs=...`, or `criterion='rise'` to measure from the centre."
        )
    raise ObjectiveError(
        f"under the criterion {criterion!r} the centre is 0, so the cutoff {cutoffs[0]:g} must be above 0."
    )


def _check_rise(rise: float, centre: float, dtype: torch.dtype) -> None:
    """Refuse a cutoff so close to the centre that rounding of the loss would bound the basin."""
    double = dtype == torch.float64
    least = _ROUNDING * torch.finfo(dtype if double else torch.float32).eps * abs(centre)
    if rise < least:
        raise ObjectiveError(
            f"the smallest cutoff is {rise:.2g} above the loss of {centre:.6g} at the trained point, within its "
            f"rounding.\nPass one at least {least:.2g} above it{'' if double else ', or `dtype=torch.float64`'}."
        )
