"""Baselines: quantities that cost nothing, and that a sharpness measure must beat to mean anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape.rays.streams import Purpose, stream
from landscape.results.runs import Runs

RANDOM = "random"
#: each baseline -> the names under which a table may hold it
ALIASES = {
    "parameters": ("parameters", "parameter-count", "params", "n-params", "num-params", "n-parameters"),
    "train-loss": ("train-loss", "training-loss"),
    "norm": ("norm", "weight-norm", "parameter-norm", "l2-norm", "||w||", "‖w‖"),
    "learning-rate": ("learning-rate", "lr"),
    "beta": ("beta", "poison", "β"),
}
#: what the partial correlation accounts for, besides the axes
CONTROLS = (*ALIASES["train-loss"], *ALIASES["norm"], "gradient-norm")


def canonical(name: str) -> str:
    """Return a column name as the lists here write it.

    >>> canonical("Train_Loss")
    'train-loss'
    """
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def baseline_of(name: str) -> str | None:
    """Return which baseline a column is; None if it is another thing.

    >>> baseline_of("lr"), baseline_of("lambda-max")
    ('learning-rate', None)
    """
    return next((baseline for baseline, names in ALIASES.items() if canonical(name) in names), None)


def with_baselines(runs: Runs, seed: int) -> Runs:
    """Return the table with every baseline that it can have, after its measures.

    Learning rate and β become baselines if they are axes. The measure ``random`` is always there: one uniform number
    per net.
    """
    marked = tuple(name for name in runs.measures if name in runs.baselines or baseline_of(name))
    table = replace(runs, baselines=marked)
    for axis, values in runs.axes.items():
        name = baseline_of(axis)
        numbers = all(isinstance(value, int | float) for value in values)
        if name is not None and numbers and len(set(values)) > 1 and not {name, axis} & set(table.measures):
            table = table.with_measure(name, np.array(values, dtype=float), baseline=True)
    if RANDOM not in table.measures:
        draws = stream(Purpose.RANDOM_MEASURE, seed).random(len(runs.nets))
        table = table.with_measure(RANDOM, draws, baseline=True)
    own = tuple(name for name in table.measures if name not in table.baselines)
    return table.with_only((*own, *(name for name in table.measures if name in table.baselines)))


def controls_of(runs: Runs, measure: str) -> list[str]:
    """Return the controls of one measure: those that the table has, but for the measure itself."""
    return [name for name in runs.measures if canonical(name) in CONTROLS and name != measure]
