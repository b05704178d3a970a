"""All measures of one net of a family, with what the net was trained as and how it generalises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Cost, Result
from landscape.results.dataset import PER_MEASURE, Layout, Variable
from landscape.results.sharpness import number
from landscape.results.table import columns
from landscape.results.units import TEXT


@dataclass(frozen=True)
class NetMeasures(Result):
    """The measures of one net of a family.

    Attributes:
        net: its name.
        axes: its place in the family: axis -> value.
        seed: its seed, as text.
        targets: how it generalises, larger is worse: ``error``, ``gap`` and, if known, ``loss``.
        baselines: quantities that cost nothing: ``parameters``, ``norm``, ``train-loss``.
        converged: whether its training reached its target; None if that is not known.
        measures: names of the measures, M of them.
        values: shape (M,); NaN for a measure that failed.
        standard_errors: shape (M,); NaN if unknown.
        passes: full passes over the data that each cost, shape (M,).
        seconds: wall-clock time of each, shape (M,).
        verdicts: of each measure.
        reasons: why a verdict is not better, by measure.
        flatter: the measures of which a larger value means flatter.
        invariances: what each measure is invariant to.
        config: everything that determines the numbers.
        cost: of all measures together.
    """

    kind: ClassVar[str] = "net"
    _layout: ClassVar[Layout] = PER_MEASURE
    _stored_elsewhere: ClassVar[tuple[str, ...]] = ("verdicts",)
    _labels: ClassVar[Mapping[str, str]] = {"measure": "measures"}

    net: str
    axes: dict[str, Any]
    seed: str
    targets: dict[str, float]
    baselines: dict[str, float]
    converged: bool | None
    measures: tuple[str, ...]
    values: np.ndarray
    standard_errors: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray
    verdicts: tuple[str, ...]
    reasons: dict[str, list[str]]
    flatter: tuple[str, ...]
    invariances: dict[str, list[str]]
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name in ("targets", "baselines"):
            return {key: math.nan if number is None else number for key, number in value.items()}
        return tuple(value) if name in ("measures", "verdicts", "flatter") else super()._revive(name, value)

    def _variables(self) -> dict[str, Variable]:
        return {**super()._variables(), "verdicts": Variable(("measure",), np.asarray(self.verdicts, str), TEXT)}

    def table(self) -> str:
        """Return one row per measure."""
        rows = [
            [name, number(float(value), float(error)), verdict]
            for name, value, error, verdict in zip(
                self.measures, self.values, self.standard_errors, self.verdicts, strict=True
            )
        ]
        return columns(["measure", "value", "verdict"], rows, left=["measure", "verdict"])

    def _series(self) -> dict[str, Any]:
        return {
            "measure": list(self.measures),
            "value": self.values,
            "standard_error": self.standard_errors,
            "verdict": list(self.verdicts),
            "passes": self.passes,
            "time_seconds": self.seconds,
        }

    def __str__(self) -> str:
        place = ", ".join(f"{axis} {value}" for axis, value in {**self.axes, "seed": self.seed}.items())
        head = f"{self.net}: {place}; {', '.join(f'{name} {value:.4g}' for name, value in self.targets.items())}"
        return f"{head}\n{self.table()}"
