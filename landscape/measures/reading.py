"""What a measure returns: a value with its error, and what limits it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from landscape.measures.draws import Draws
from landscape.results.sharpness import BELOW_ROUNDING, UNKNOWN


@dataclass(frozen=True)
class Reading:
    """What a measure returns if it has more to say than a value and its standard error.

    Attributes:
        value: the number.
        standard_error: of it; 0 if nothing is random, NaN if it is not known.
        verdict: one of :data:`landscape.results.sharpness.SHARPNESS_VERDICTS`; by default ``exact`` without an error,
            ``estimate`` with one and ``unknown`` if it is NaN.
        reasons: why the verdict is not better.
        samples: the values behind the mean, shape (m,).
        config: settings of this measure that determine the number.
    """

    value: float
    standard_error: float = 0.0
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0))
    config: Mapping[str, Any] = field(default_factory=dict)


def rise_reading(samples: np.ndarray, value: float, error: float, draws: Draws, **config: Any) -> Reading:
    """Return the reading of a difference of losses; it says so if rounding of the loss alone could make it."""
    if abs(value) < draws.rounding:
        reason = f"rounding of the weights alone moves the loss by {draws.rounding:.1g}; compute in float64"
        return Reading(value, error, BELOW_ROUNDING, (reason,), samples, config)
    if not math.isfinite(value):
        reason = "the loss is infinite or NaN at some of the perturbed points; pass a smaller `rho=...`"
        return Reading(value, error, UNKNOWN, (reason,), samples, config)
    return Reading(value, error, samples=samples, config=config)
