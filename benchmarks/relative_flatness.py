"""Relative flatness: how many products with the Hessian an error of 1 % takes, next to the whole layer's Hessian.

python -m benchmarks.relative_flatness

The reference forms the Hessian of the layer row by row, one backward pass per weight of the layer. The truth here is
the exact trace, by one product for each of its dimensions.
"""

from __future__ import annotations

import numpy as np

import landscape as ls
from benchmarks.clusters import clusters, trained
from benchmarks.page import print_section
from landscape.curvature import trace
from landscape.measures.relative_flatness import RelativeHessian, chosen_layer
from landscape.results.table import percent

WIDTHS = (64, 128)
PROBES = (30, 60, 90, 120, 150, 200)
SEEDS = 10
TARGET = 0.01
_PER_PRODUCT = 2  # backward passes


def section() -> list[str]:
    """Return the section."""
    return [
        "## Relative flatness at an error of 1 %",
        "",
        f"The layer between the two hidden layers of a trained net, 512 samples, {SEEDS} seeds per row. Error: root",
        "mean square over seeds, relative to the exact value. Stated error: the mean of what the measure says.",
        f"A product counts as {_PER_PRODUCT} backward passes. `python -m benchmarks.relative_flatness`",
        "",
        "| weights of the layer | products | error | stated error | fewer backward passes than the layer's Hessian |",
        "|---|---|---|---|---|",
        *(row for width in WIDTHS for row in _rows(width)),
        "",
    ]


def _rows(width: int) -> list[str]:
    """Return one row per number of products, up to the first with the error that is asked for."""
    objective = ls.Objective(trained(width), clusters())
    operator = RelativeHessian(objective, chosen_layer(objective))
    truth, rows = trace(operator, operator.size).value, []
    for probes in PROBES:
        estimates = [trace(operator, probes, method="xtrace", seed=seed) for seed in range(SEEDS)]
        error = float(np.sqrt(np.mean([(each.value / truth - 1) ** 2 for each in estimates])))
        stated = np.mean([each.standard_error for each in estimates]) / truth
        fewer = width * width / (_PER_PRODUCT * probes)
        rows.append(
            f"| {width * width:,} | {probes} | {percent(float(error), 2)} | {percent(float(stated), 2)} "
            f"| {fewer:.0f} x |"
        )
        if error <= TARGET:
            break
    return rows


if __name__ == "__main__":
    print_section(__doc__, section)
