"""A family of trained nets as a table: what was varied, how each net generalises, and what each measure says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from landscape.results.base import Result
from landscape.results.dataset import Layout, Variable
from landscape.results.units import MEASURE, unit_of


@dataclass(frozen=True)
class Runs(Result):
    """One row per net: its axes, its seed, its targets and its measures.

    Attributes:
        nets: names of the nets, N of them.
        axes: what was varied: the name of each axis, and its value for each net (a number or a text).
        seeds: the seed of each net, as text.
        target_names: names of the targets, T of them.
        targets: how each net generalises, larger is worse, shape (T, N).
        measures: names of the measures, M of them.
        values: one row per measure, shape (M, N); NaN is a gap.
        standard_errors: of the values, shape (M, N); NaN if unknown.
        passes: full passes over the data that each value cost, shape (M, N); NaN if unknown.
        seconds: wall-clock time of each value, shape (M, N); NaN if unknown.
        smaller_is_sharper: the measures that are turned round before they are ranked.
        baselines: the measures that are baselines: quantities that a sharpness measure must beat.
        invariances: what each measure is invariant to, if known.
        closed_forms: for each measure, whether it passes its closed form; absent if unknown.
        test_size: number of test samples behind each target; None if unknown.
        notes: what a reader must know: what was left out, and why.
        reasons: why a measure has no value on some nets, if known.
        config: where the numbers come from.
    """

    kind: ClassVar[str] = "runs"
    _layout: ClassVar[Layout] = {
        "targets": ("target net", "1"),
        "values": ("measure net", MEASURE),
        "standard_errors": ("measure net", MEASURE),
        "passes": ("measure net", "passes"),
        "seconds": ("measure net", "seconds"),
    }
    _stored_elsewhere: ClassVar[tuple[str, ...]] = ("axes", "seeds")
    _labels: ClassVar[Mapping[str, str]] = {"net": "nets", "target": "target_names", "measure": "measures"}

    nets: tuple[str, ...]
    axes: dict[str, list[Any]]
    seeds: tuple[str, ...]
    target_names: tuple[str, ...]
    targets: np.ndarray
    measures: tuple[str, ...]
    values: np.ndarray
    standard_errors: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray
    smaller_is_sharper: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    invariances: dict[str, list[str]] = field(default_factory=dict)
    closed_forms: dict[str, bool] = field(default_factory=dict)
    test_size: int | None = None
    notes: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name in ("nets", "seeds", "target_names", "measures", "smaller_is_sharper", "baselines"):
            return tuple(value)
        return super()._revive(name, value)

    def _coordinates(self) -> dict[str, Variable]:
        beside = {f"axis_{name}": np.asarray(values) for name, values in self.axes.items()}
        beside["seed"] = np.asarray(self.seeds)
        labels = {name: Variable(("net",), values, unit_of(name, values)) for name, values in beside.items()}
        return {**super()._coordinates(), **labels}

    def _series(self) -> dict[str, Any]:
        return {
            "net": list(self.nets),
            **{f"axis_{name}": values for name, values in self.axes.items()},
            "seed": list(self.seeds),
            **{f"target_{name}": row for name, row in zip(self.target_names, self.targets, strict=True)},
            **dict(zip(self.measures, self.values, strict=True)),
        }

    def target(self, name: str) -> np.ndarray:
        """Return one target, shape (N,)."""
        return np.asarray(self.targets[self.target_names.index(name)])

    def value(self, measure: str) -> np.ndarray:
        """Return one measure, shape (N,)."""
        return np.asarray(self.values[self.measures.index(measure)])

    @property
    def oriented(self) -> np.ndarray:
        """The values with every measure turned so that larger is sharper, shape (M, N)."""
        signs = [-1.0 if name in self.smaller_is_sharper else 1.0 for name in self.measures]
        return self.values * np.array(signs)[:, None]

    def kept(self, which: np.ndarray, *notes: str) -> Self:
        """Return the table with some of the nets, shape (N,) of booleans, and further notes."""
        chosen = np.flatnonzero(which)
        return replace(
            self,
            nets=tuple(self.nets[i] for i in chosen),
            seeds=tuple(self.seeds[i] for i in chosen),
            axes={name: [levels[i] for i in chosen] for name, levels in self.axes.items()},
            targets=self.targets[:, chosen],
            values=self.values[:, chosen],
            standard_errors=self.standard_errors[:, chosen],
            passes=self.passes[:, chosen],
            seconds=self.seconds[:, chosen],
            notes=(*self.notes, *notes),
        )

    def with_measure(self, name: str, values: np.ndarray, *, baseline: bool = False) -> Self:
        """Return the table with one further measure that costs nothing, shape (N,)."""
        unknown, free = np.full((1, len(self.nets)), np.nan), np.zeros((1, len(self.nets)))
        return replace(
            self,
            measures=(*self.measures, name),
            values=np.concatenate([self.values, np.asarray(values, float)[None]]),
            standard_errors=np.concatenate([self.standard_errors, unknown]),
            passes=np.concatenate([self.passes, free]),
            seconds=np.concatenate([self.seconds, free]),
            baselines=(*self.baselines, name) if baseline else self.baselines,
        )

    def with_only(self, measures: tuple[str, ...]) -> Self:
        """Return the table with some of the measures, in the order given."""
        rows = [self.measures.index(name) for name in measures]
        return replace(
            self,
            measures=measures,
            values=self.values[rows],
            standard_errors=self.standard_errors[rows],
            passes=self.passes[rows],
            seconds=self.seconds[rows],
            baselines=tuple(name for name in self.baselines if name in measures),
        )

    def __str__(self) -> str:
        levels = ", ".join(f"{name} ({len(set(values))})" for name, values in self.axes.items())
        return (
            f"{len(self.nets)} nets, {len(self.measures)} measures\naxes and their levels: {levels}\n"
            f"targets: {', '.join(self.target_names)}"
        )
