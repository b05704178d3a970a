"""The loss smoothed by Gaussian noise: the low-pass filter and local entropy."""

from __future__ import annotations

import math

import numpy as np

from landscape.measures.draws import Draws, mean_and_error
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective

SIGMA = 0.01  #: of Bisla et al. 2022
INVERSE_VARIANCE = 100.0  #: gamma of the smoothing kernel


@measure("low-pass", larger="sharper", closed_form=True, rho=SIGMA, invariant=("permutation",))
def low_pass(objective: Objective, draws: Draws) -> Reading:
    """Return E L(w + sigma z) with z standard normal and sigma = rho.

    On a quadratic it is L + sigma² / 2 · tr H. Source: Bisla, Wang & Choromanska 2022, who take 100 draws;
    here ``draws`` says how many.
    """
    rises = draws.rises(draws.needed_rho(), "identity")
    value, error = mean_and_error(rises)
    return Reading(objective.centre + value, error, samples=objective.centre + rises)


@measure("local-entropy", larger="sharper", closed_form=True, invariant=("permutation",))
def local_entropy(objective: Objective, draws: Draws) -> Reading:
    """Return -log E exp(-L(w + z)) with z normal of variance 1 / gamma, gamma = 100.

    On a quadratic it is L + 1/2 · log det(I + H / gamma). The error is that of the mean of exp(-L), to first order.
    Source: Chaudhari et al. 2017; the standard deviation is gamma^-1/2.
    """
    rises = draws.rises(INVERSE_VARIANCE**-0.5, "identity")
    low = float(np.min(rises))
    if not math.isfinite(low):
        return Reading(math.inf, math.nan, reasons=("the loss is infinite or NaN at every perturbed point",))
    weights = np.exp(low - rises)  # relative to the largest, so that none underflows
    mean, error = mean_and_error(weights)
    return Reading(objective.centre + low - math.log(mean), error / mean, samples=objective.centre + rises,
                   config={"gamma": INVERSE_VARIANCE})  # fmt: skip
