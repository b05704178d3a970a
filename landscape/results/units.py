"""The unit of every column and of every variable: one place for frames and for datasets."""

from __future__ import annotations

from typing import Any

import numpy as np

#: the ending of a column's name -> its unit
ENDINGS = {
    "_nats": "nats",
    "_log10": "orders of magnitude",
    "_share": "1",
    "_ratio": "1",
    "_metric_units": "metric units",
    "_loss_per_unit2": "loss per squared metric unit",
    "_loss_per_x2": "loss per squared x",
    "_euclidean": "Euclidean distance",
    "_seconds": "seconds",
    "_inputs": "units of the inputs",
}
TEXT = "text"
MEASURE = "of the measure"  #: each measure has a unit of its own
CRITERION = "criterion"  #: stands for the unit of the criterion, which the configuration names
_OF_CRITERION = {"loss": "loss", "rise": "loss", "kl": "nats"}
_NAMED = {
    "cutoff": CRITERION,
    "loss": "loss",
    "value": MEASURE,
    "standard_error": MEASURE,
    "passes": "passes",
    "nats_below_ball": "nats",
    "nats_below_ball_low": "nats",
    "nats_below_ball_high": "nats",
    "peak_loss": "loss",
}


def unit_of(column: str, values: Any) -> str:
    """Return the unit of a column: ``text`` for words, ``1`` for counts, shares and other pure numbers.

    >>> unit_of("bound_nats", [1.0]), unit_of("verdict", ["settled"]), unit_of("pareto_k", [0.3])
    ('nats', 'text', '1')
    """
    if np.asarray(values).dtype.kind in "USO":
        return TEXT
    if column in _NAMED:
        return _NAMED[column]
    return next((unit for ending, unit in ENDINGS.items() if column.endswith(ending)), "1")


def resolved(unit: str, criterion: str | None) -> str:
    """Return a unit with that of the criterion filled in.

    >>> resolved("criterion", "kl"), resolved("nats", None), resolved("criterion", None)
    ('nats', 'nats', 'criterion')
    """
    return _OF_CRITERION.get(criterion or "", unit) if unit == CRITERION else unit
