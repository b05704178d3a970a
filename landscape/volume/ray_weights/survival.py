"""The share of a mean over rays that is left on a finer grid: whether a volume depends on the resolution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from landscape.errors import OutOfBudget
from landscape.objective import Objective
from landscape.rays import Directions, finer_in_blocks
from landscape.results import NOTHING, Radii, Volume
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.measure import MeasureOnRays

_MOST_RAYS = 64  # that are searched again for each cutoff
_MOST_WEIGHT = 0.99  # or fewer, if they carry this share of the estimate
_FINER = 1.1  # step ratio of the finer grid, or the root of the run's if that is less


def with_survival(
    volume: Volume, objective: Objective, radii: Radii, rays: Directions, on_rays: MeasureOnRays
) -> Volume:
    """Return a volume with the share of it that a finer grid leaves (``survives``), at each cutoff.

    The rays that carry the weight are searched again at a step ratio of 1.1
    (:func:`landscape.rays.finer_radii`). If w_i are their weights and m their measures, the share is

        sum of w_i · m(finer r_i) / m(r_i)  over  sum of w_i.

    It stays unknown if a deadline cuts the search.

    Args:
        volume: the mean over these rays.
        objective: the loss around the trained point.
        radii: along the rays.
        rays: gives the rays again by their index.
        on_rays: the measure along all of them.
    """
    step_ratio = finer_than(radii.config["step_ratio"])
    rows, spent = [], NOTHING
    for column, row in enumerate(volume.results):
        chosen = heaviest(volume.log_weights[:, column])
        try:
            again, cost = finer_in_blocks(
                objective,
                rays.steps,
                chosen,
                radii.radii[chosen, column],
                cutoff=radii.cutoffs[column],
                first_step=radii.config["first_step_taken"],
                criterion=radii.config["criterion"],
                step_ratios=[step_ratio],
                rtol=radii.config["rtol"],
            )
        except OutOfBudget:
            rows.append(row)
            continue
        of_chosen = MeasureOnRays(on_rays.measure, on_rays.coefficients[chosen])
        lost = of_chosen.log_mass(again[:, None]) - of_chosen.log_mass(radii.radii[chosen, column, None])
        weights = volume.log_weights[chosen, column]
        survives = math.exp(w.log_mean(weights + lost[:, 0]) - w.log_mean(weights)) if len(chosen) else math.nan
        rows.append(replace(row, survives=survives))
        spent += cost
    config = {**volume.config, "finer_step_ratio": step_ratio}
    return replace(volume, results=tuple(rows), config=config, cost=volume.cost + spent)


def finer_than(step_ratio: float) -> float:
    """Return the step ratio at which a run of this step ratio is looked at again.

    >>> finer_than(2.0), round(finer_than(1.1), 3)
    (1.1, 1.049)
    """
    return min(_FINER, math.sqrt(step_ratio))


def heaviest(log_weights: np.ndarray) -> np.ndarray:
    """Return the rays that carry most of the weight, the heaviest first.

    >>> heaviest(np.log([1.0, 5.0, 0.001, 3.0])).tolist()
    [1, 3, 0]
    """
    order = np.argsort(-log_weights, kind="stable")[:_MOST_RAYS]
    order = order[np.isfinite(log_weights[order])]
    if not len(order):
        return order
    shares = np.exp(log_weights[order] - log_weights.max())
    total = np.exp(log_weights - log_weights.max()).sum()
    return order[: 1 + int(np.searchsorted(np.cumsum(shares), _MOST_WEIGHT * total))]
