"""Lines and planes to draw and to export, made without a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.results import Cost, Line, Plane

COST = Cost(2.0, 4, 0.1)


def make_line(**changes: Any) -> Line:
    x = np.linspace(-1, 1, 21)
    fields: dict[str, Any] = {
        "x": x,
        "loss": 0.01 + 5 * x**2,
        "accuracy": 1 - 0.5 * x**2,
        "curvature": np.full(21, 10.0),
        "done": np.ones(21, dtype=bool),
        "points": np.zeros(0),
        "direction": "random",
        "length": 3.0,
        "dimension": 12_345,
        "centre": 0.01,
        "notes": (),
        "config": {"metric": "filter", "seed": 0},
        "cost": COST,
    }
    return Line(**{**fields, **changes})


def make_plane(columns: int = 21, rows: int = 21, **changes: Any) -> Plane:
    x, y = np.linspace(-1, 1, columns), np.linspace(-1, 1, rows)
    square = (x - 0.2) ** 2 + 4 * y[:, None] ** 2
    fields: dict[str, Any] = {
        "x": x,
        "y": y,
        "loss": 0.01 + 5 * square,
        "accuracy": 1 - square / 10,
        "done": np.ones(rows, dtype=bool),
        "points": np.zeros((0, 2)),
        "off_plane": np.zeros(0),
        "explained": np.zeros(0),
        "lengths": np.ones(2),
        "cosine": 0.1,
        "directions": "random",
        "dimension": 12_345,
        "centre": 0.01,
        "notes": (),
        "config": {"metric": "filter", "seed": 0},
        "cost": COST,
    }
    return Plane(**{**fields, **changes})


def make_run(**changes: Any) -> Plane:
    """A plane of a training run whose last checkpoint is the trained point."""
    t = np.linspace(1, 0, 6)
    fields: dict[str, Any] = {
        "directions": "pca",
        "points": np.stack([0.8 * t, t * (1 - t)], axis=1),
        "off_plane": 0.3 * t * (1 - t),
        "explained": np.array([0.8, 0.123]),
        "config": {},
    }
    return make_plane(**{**fields, **changes})


def with_gaps(plane: Plane) -> Plane:
    """The plane with NaN and infinity in one corner, and its last rows not measured yet."""
    loss, accuracy, done = plane.loss.copy(), plane.accuracy.copy(), plane.done.copy()
    loss[:3, :4], loss[0, 0] = np.nan, np.inf
    done[-5:] = False
    loss[~done], accuracy[~done] = np.nan, np.nan
    return Plane(**{**vars(plane), "loss": loss, "accuracy": accuracy, "done": done})
