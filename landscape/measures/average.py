"""Average-case sharpness: how much the loss rises at random points around the trained one."""

from __future__ import annotations

from landscape.measures.draws import Draws, mean_and_error
from landscape.measures.reading import Reading, rise_reading
from landscape.measures.registry import measure
from landscape.objective import Objective


@measure(
    "average-case",
    larger="sharper",
    closed_form=True,
    core=True,
    rho=0.1,
    invariant=("permutation",),
    adaptive=("relu-rescaling",),
)
def average_case(objective: Objective, draws: Draws) -> Reading:
    """Return E L(w + rho c z) - L(w) with z standard normal and c the scale of the metric.

    On a quadratic it is rho² / 2 · sum of c_i² h_ii. Source: Andriushchenko, Croce, Müller, Hein & Flammarion 2023.
    Departures: draws come in antithetic pairs, and each sees all data, not one batch.
    """
    samples = draws.rises(draws.needed_rho())
    return rise_reading(samples, *mean_and_error(samples), draws)


@measure(
    "average-case-uniform", larger="sharper", closed_form=True, core=True, rho=0.1, invariant=("permutation",),
    adaptive=("relu-rescaling",),
)  # fmt: skip
def average_case_uniform(objective: Objective, draws: Draws) -> Reading:
    """Return E L(w + rho c z) - L(w) with z uniform on [-1, 1]; on a quadratic a third of ``average-case``.

    Source: as for ``average-case``.
    """
    samples = draws.rises(draws.needed_rho(), shape="uniform")
    return rise_reading(samples, *mean_and_error(samples), draws)
