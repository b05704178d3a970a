"""Sharpness measures of one trained net: values, how far to trust each, and what each cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import NOTHING, Cost, Result, plain
from landscape.results.dataset import Contents, Layout, Variable, along_axis
from landscape.results.described import descriptions
from landscape.results.shown import Shown
from landscape.results.table import columns
from landscape.results.units import MEASURE, TEXT

EXACT = "exact"  #: no random part; the value is right to rounding
ESTIMATE = "estimate"  #: a mean over random draws, with its standard error
LOWER_BOUND = "lower bound"  #: of a maximum: the largest value that a search has found
BELOW_ROUNDING = "below rounding"  #: smaller than what rounding of the loss alone can make
NOT_MIXED = "not mixed"  #: chains that have not forgotten their start
UNKNOWN = "unknown"  #: a number whose error is not known; ``reasons`` say why
FAILED = "failed"  #: no number; ``reasons`` say why
SHARPNESS_VERDICTS = (EXACT, ESTIMATE, LOWER_BOUND, BELOW_ROUNDING, NOT_MIXED, UNKNOWN, FAILED)
DIRECTIONS = ("sharper", "flatter")  #: what a larger value means
_SHARPER = {"sharper": "up", "flatter": "down"}  # where a measure goes as the net becomes sharper
#: changes of a net that leave its function as it is; tests try each that a measure claims
INVARIANCES = ("relu-rescaling", "permutation", "logit-scale", "batch-size")


@dataclass(frozen=True)
class Measure(Result):
    """One sharpness measure of one net.

    Attributes:
        name: of the measure, such as ``average-case``.
        value: the number; NaN if the measure failed.
        standard_error: of the value; 0 if nothing is random, NaN if it is not known.
        verdict: one of :data:`SHARPNESS_VERDICTS`.
        reasons: why the verdict is not better.
        larger: what a larger value means: ``sharper`` or ``flatter``; empty if it is no measure of sharpness.
        invariances: changes of a net that leave its function and this measure unchanged.
        samples: the values behind the mean, one per draw, shape (m,); empty if there is no mean.
        config: everything that determines the number.
        cost: full passes over the data; a gradient counts as three, a product with the Hessian as six.
        cut_by: the budget that ended the measure before it was done; empty if none did.
        pays: work in its cost that other measures use too, with the passes that were spent before it.
    """

    kind: ClassVar[str] = "measure"
    _layout: ClassVar[Layout] = {
        "value": ("", MEASURE),
        "standard_error": ("", MEASURE),
        "samples": ("draw", MEASURE),
    }

    name: str
    value: float
    standard_error: float
    verdict: str
    reasons: tuple[str, ...]
    larger: str
    invariances: tuple[str, ...]
    samples: np.ndarray
    config: dict[str, Any]
    cost: Cost
    cut_by: str = ""
    pays: dict[str, float] = field(default_factory=dict)

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name in ("value", "standard_error") and value is None:
            return math.nan
        return tuple(value) if name in ("reasons", "invariances") else super()._revive(name, value)

    @property
    def chains(self) -> np.ndarray | None:
        """The draws of each chain behind ``llc``, shape (chains, draws); None if the measure is no mean over chains."""
        chains, draws = (int(self.config.get(key, 0)) for key in ("chains", "draws_taken"))
        if self.name != "llc" or not draws or len(self.samples) != chains * draws:
            return None
        return self.samples.reshape(chains, draws)

    def _variables(self) -> dict[str, Variable]:
        variables = super()._variables()
        if (chains := self.chains) is not None:
            variables["samples"] = Variable(("chain", "draw"), chains, MEASURE)
        return variables

    def table(self) -> str:
        """Return the measure as one row."""
        return SharpnessTable({self.name: self}).table()

    def _series(self) -> dict[str, Any]:
        return SharpnessTable({self.name: self})._series()

    def _brief(self) -> str:
        return f"{self.name} {self.said}"

    @property
    def said(self) -> str:
        """The value with its standard error and verdict, in a few words."""
        return f"{self.with_error} ({self.verdict})"

    @property
    def with_error(self) -> str:
        """The value with its standard error, if it has one."""
        error = f" ± {error_text(self.standard_error)}" if self.standard_error > 0 else ""
        return f"{number(self.value, self.standard_error)}{error}"

    def __str__(self) -> str:
        return str(SharpnessTable({self.name: self}))


@dataclass(frozen=True, repr=False)
class SharpnessTable(Shown, Mapping[str, Measure]):
    """The sharpness measures of one net by name; prints as a table.

    Attributes:
        measures: each measure by its name. With several values of rho the name ends in it: ``average-case@0.1``.
        notes: what a reader should know about all of them.
    """

    measures: Mapping[str, Measure]
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Measure:
        return self.measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)

    @property
    def cost(self) -> Cost:
        """What all measures cost together."""
        return sum((measure.cost for measure in self.values()), NOTHING)

    def to_dict(self) -> dict[str, Any]:
        """Return each measure as strict JSON types, without its samples."""
        return {name: {k: v for k, v in each.to_dict().items() if k != "samples"} for name, each in self.items()}

    def table(self) -> str:
        """Return one row per measure."""
        rows = [
            [
                name,
                number(each.value, each.standard_error),
                error_text(each.standard_error),
                each.verdict,
                _SHARPER.get(each.larger, "-"),
                f"{each.cost.evaluations:,.0f}",
            ]
            for name, each in self.items()
        ]
        return columns(
            ["measure", "value", "std. error", "verdict", "sharper", "passes"], rows, left=["measure", "verdict"]
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why verdicts are not better: each reason once, behind the names of all measures that share it."""
        shared: dict[str, list[str]] = {}
        for name, each in self.items():
            for reason in each.reasons:
                shared.setdefault(reason, []).append(name)
        return tuple(f"{', '.join(names)}: {reason}" for reason, names in shared.items())

    def _series(self) -> dict[str, Any]:
        return {
            "measure": list(self),
            "value": [each.value for each in self.values()],
            "standard_error": [each.standard_error for each in self.values()],
            "verdict": [each.verdict for each in self.values()],
            "larger_means": [each.larger for each in self.values()],
            "passes": [each.cost.evaluations for each in self.values()],
            "time_seconds": [each.cost.seconds for each in self.values()],
            "reasons": [". ".join(each.reasons) for each in self.values()],
        }

    def _contents(self) -> Contents:
        measures = {"measure": Variable(("measure",), np.array(list(self)), TEXT)}
        series = {name: values for name, values in self._series().items() if name != "measure"}
        verdicts = ", ".join(dict.fromkeys(each.verdict for each in self.values()))
        attributes = {"kind": "sharpness", "verdict": verdicts, "notes": self.notes, "cost": plain(self.cost)}
        return Contents(along_axis(series, "measure"), measures, attributes, descriptions(Measure))

    def _brief(self) -> str:
        told = ", ".join(f"{name} {each.said}" for name, each in self.items())
        return f"{len(self)} {'measure' if len(self) == 1 else 'measures'}: {told}"

    def __str__(self) -> str:
        return "\n".join([self.table(), *(f"note: {note}" for note in (*self.notes, *self.reasons))])


def number(value: float, error: float) -> str:
    """Return a value with the digits that its standard error leaves, at most seven.

    >>> number(0.123456789, 0.01), number(1234.5678, 0.0), number(float("nan"), 0.0)
    ('0.123', '1234.568', '-')
    """
    if math.isnan(value):
        return "-"
    if not math.isfinite(value):
        return "inf" if value > 0 else "-inf"
    digits = 7
    if value and error > 0 and math.isfinite(error):
        digits = min(7, max(2, math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2))
    return f"{value:.{digits}g}"


def error_text(error: float) -> str:
    """Return a standard error with two digits; a dash if it is not known."""
    return "-" if math.isnan(error) else f"{error:.2g}"
