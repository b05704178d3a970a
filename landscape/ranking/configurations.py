"""The configurations of a family: nets that differ only in their seed, and pairs that differ in one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results.runs import Runs

_SAME = 1e-12  # relative: a difference that is rounding
FEWEST = 20  #: configurations; the standard deviation of a chance Kendall tau is .16 for 20, and .25 for 10


@dataclass(frozen=True)
class Configurations:
    """Which nets belong to which configuration, and the level of each configuration along each axis.

    Attributes:
        axes: names of the axes, A of them.
        labels: for each axis, its levels in rising order.
        levels: number of the level of each configuration, shape (A, C).
        group: number of the configuration of each net, shape (N,).

    >>> design = Configurations.of({"width": [8, 8, 4, 4], "lr": [0.1, 0.1, 0.1, 0.2]})
    >>> design.count, design.labels["width"], design.group.tolist()
    (3, [4, 8], [2, 2, 0, 1])
    >>> design.mean(np.array([1.0, 3.0, 5.0, 7.0])).tolist()
    [5.0, 7.0, 2.0]
    """

    axes: tuple[str, ...]
    labels: dict[str, list[Any]]
    levels: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, axes: dict[str, list[Any]]) -> Configurations:
        """Return the configurations of nets, given the value of each net along each axis."""
        labels = {name: sorted_levels(values) for name, values in axes.items()}
        codes = np.array([[labels[name].index(value) for value in values] for name, values in axes.items()], dtype=int)
        levels, group = np.unique(codes, axis=1, return_inverse=True)
        return cls(tuple(axes), labels, levels, np.asarray(group).reshape(-1))

    @property
    def count(self) -> int:
        """Number of configurations C."""
        return int(self.levels.shape[1])

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the seeds of each configuration, shape (..., C); NaN if no net has a value."""
        known = np.isfinite(values)
        total = np.zeros((*values.shape[:-1], self.count))
        number = np.zeros_like(total)
        for net, place in enumerate(self.group):
            total[..., place] += np.where(known[..., net], values[..., net], 0.0)
            number[..., place] += known[..., net]
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def cells(self, axis: str) -> list[np.ndarray]:
        """Return sets of at least two configurations that agree in every other axis."""
        others = np.delete(self.levels, self.axes.index(axis), axis=0)
        _, place = np.unique(others, axis=1, return_inverse=True)
        place = np.asarray(place).reshape(-1)
        members = [np.flatnonzero(place == cell) for cell in range(place.max() + 1)]
        return [cell for cell in members if len(cell) > 1]

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Every pair of different configurations, each once, shapes (C (C - 1) / 2,)."""
        first, second = np.triu_indices(self.count, 1)
        return first, second

    def environments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pairs that differ in one axis: first and second configuration, and which axis; shapes (E,)."""
        rows = [
            (first, second, number)
            for number, axis in enumerate(self.axes)
            for cell in self.cells(axis)
            for first, second in combinations(cell.tolist(), 2)
        ]
        first, second, axis_of = np.array(rows, dtype=int).reshape(-1, 3).T
        return first, second, axis_of


def check_table(runs: Runs, target: str) -> None:
    """Check that a table can be ranked by a target.

    Raises:
        LandscapeError: fewer than 20 configurations, no axis, a constant target, or a target that is not finite.
    """
    if target not in runs.target_names:
        raise LandscapeError(
            f"there is no target {target!r}; the table has {', '.join(runs.target_names) or 'none'}.\n"
            f"Pass one of them as `target=...`."
        )
    values = runs.target(target)
    if not np.isfinite(values).all():
        net = runs.nets[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise LandscapeError(
            f"the target {target!r} of net {net!r} is not finite. Leave that net out of the table, or give its value."
        )
    if len(values) and np.ptp(values) == 0:
        raise LandscapeError(
            f"the target {target!r} is {values[0]:g} for every net, so no measure can predict it.\n"
            "Rank by another `target=...`, or train nets that generalise differently."
        )
    if not runs.axes:
        raise LandscapeError("the table has no axis: no column says what was varied. Name some with `axes=...`.")
    design = Configurations.of(runs.axes)
    count, means = design.count, design.mean(values[None])[0]
    check_enough(count, len(values), list(runs.axes))
    if np.ptp(means) <= _SAME * np.abs(means).max():
        raise LandscapeError(
            f"the target {target!r} is the same for every configuration once seeds are averaged, so no measure can "
            "predict it.\nRank by another `target=...`, or train nets that generalise differently."
        )


def check_enough(configurations: int, nets: int, axes: Sequence[str]) -> None:
    """Refuse so few configurations that chance alone would rank the measures.

    Raises:
        LandscapeError: fewer than 20.
    """
    if configurations < FEWEST:
        raise LandscapeError(
            f"a ranking needs at least {FEWEST} configurations, and there are {configurations} "
            f"({nets} nets; axes: {', '.join(axes)}).\n"
            f"Among so few, chance alone gives a Kendall tau of ± {_chance_tau(configurations):.2f} (one standard "
            "deviation). Train more levels of an axis."
        )


def _chance_tau(count: int) -> float:
    """Return the standard deviation of Kendall's tau between independent orders.

    >>> round(_chance_tau(10), 3), round(_chance_tau(50), 3)
    (0.248, 0.098)
    """
    return float(np.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))) if count > 1 else 1.0


def sorted_levels(values: Sequence[Any]) -> list[Any]:
    """Return the distinct values of an axis in rising order; as texts if one of them is a text."""
    distinct = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) for value in distinct)
    return sorted(distinct) if numbers else sorted(distinct, key=str)
