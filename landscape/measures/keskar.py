"""Keskar's sharpness: the largest relative rise of the loss in a box around the trained point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape.measures.ascent import Ball
from landscape.measures.draws import Draws
from landscape.measures.reading import Reading, rise_reading
from landscape.measures.registry import measure
from landscape.measures.worst_case import GRADIENTS, highest_rise
from landscape.objective import Objective
from landscape.results.sharpness import LOWER_BOUND


@measure("keskar", larger="sharper", closed_form=True, rho=1e-3, invariant=("permutation", "batch-size"))
def keskar(objective: Objective, draws: Draws) -> Reading:
    """Return 100 (max L(w + d) - L(w)) / (1 + L(w)) over |d_i| <= epsilon (|w_i| + 1), with epsilon = rho.

    The loss is that of all data. The value is a lower bound, as for ``worst-case-linf``. Source: Keskar, Mudigere,
    Nocedal, Smelyanskiy & Tang 2017. Departure: they search by ten steps of L-BFGS-B.
    """
    scale = objective.scope.gather(objective.theta).abs() + 1
    peak = highest_rise(draws, Ball(draws.needed_rho(), "linf"), scale, range(objective.batches))
    reading = rise_reading(np.array([peak.rise]), peak.rise, 0.0, draws, gradients=GRADIENTS)
    value = 100 * peak.rise / (1 + objective.centre)
    return replace(reading, value=value, verdict=reading.verdict or LOWER_BOUND, samples=np.zeros(0))
