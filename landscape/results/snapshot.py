"""What was measured of one net at one step of its training, and the table of a whole run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import NOTHING, Cost, Result
from landscape.results.dataset import PER_MEASURE, Layout, Variable
from landscape.results.sharpness import FAILED, LOWER_BOUND, Measure, SharpnessTable
from landscape.results.table import Table, columns, columns_in_blocks, wrapped
from landscape.results.units import TEXT

#: how the step of a snapshot is known
TRAINING, RECORDED, FILE_NAME, ORDER = "training", "the checkpoint", "the file name", "the order typed"
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Snapshot(Result):
    """Numbers of one net at one step of its training.

    Attributes:
        step: the training step; the place in the list if ``config["step_from"]`` is ``the order typed``.
        epoch: number of finished epochs; NaN if it is not known.
        names: what was measured, shape (k,) each of what follows.
        values: the numbers; NaN if one could not be measured.
        standard_errors: of the values; 0 if nothing is random, NaN if it is not known.
        passes: full passes over the data that each took; what several share stands with the first.
        seconds: wall-clock time of each.
        verdicts: of each value, as for :class:`landscape.results.Measure`.
        reasons: why each verdict is not better.
        larger: what a larger value means: ``sharper``, ``flatter`` or nothing.
        cut_by: the budget that ended each before it was done; empty if none did.
        config: everything that determines the numbers, the step, the epoch and where the step is known from.
        cost: of all numbers together.
    """

    kind: ClassVar[str] = "snapshot"
    _layout: ClassVar[Layout] = PER_MEASURE
    _stored_elsewhere: ClassVar[tuple[str, ...]] = ("verdicts",)
    _labels: ClassVar[Mapping[str, str]] = {"measure": "names"}

    step: int
    epoch: float
    names: tuple[str, ...]
    values: np.ndarray
    standard_errors: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray
    verdicts: tuple[str, ...]
    reasons: tuple[tuple[str, ...], ...]
    larger: tuple[str, ...]
    cut_by: tuple[str, ...]
    config: dict[str, Any]
    cost: Cost

    @classmethod
    def of(cls, measures: Mapping[str, Measure], step: int, epoch: float, config: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot of some measures of one net."""
        each = list(measures.values())
        return cls(
            step,
            epoch,
            tuple(measures),
            np.array([measure.value for measure in each], dtype=np.float64),
            np.array([measure.standard_error for measure in each], dtype=np.float64),
            np.array([measure.cost.evaluations for measure in each], dtype=np.float64),
            np.array([measure.cost.seconds for measure in each], dtype=np.float64),
            tuple(measure.verdict for measure in each),
            tuple(measure.reasons for measure in each),
            tuple(measure.larger for measure in each),
            tuple(measure.cut_by for measure in each),
            {**config, "step": step, "epoch": None if math.isnan(epoch) else epoch},
            sum((measure.cost for measure in each), NOTHING),
        )

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        if name == "epoch" and value is None:
            return math.nan
        if name == "reasons":
            return tuple(tuple(own) for own in value)
        return tuple(value) if name in ("names", "verdicts", "larger", "cut_by") else super()._revive(name, value)

    def _variables(self) -> dict[str, Variable]:
        return {**super()._variables(), "verdicts": Variable(("measure",), np.asarray(self.verdicts, str), TEXT)}

    @property
    def measures(self) -> dict[str, Measure]:
        """Each number as a measure by its name."""
        return {
            name: Measure(
                name, float(self.values[i]), float(self.standard_errors[i]), self.verdicts[i], self.reasons[i],
                self.larger[i], (), np.zeros(0), self.config, Cost(float(self.passes[i]), 0, float(self.seconds[i])),
                self.cut_by[i],
            )
            for i, name in enumerate(self.names)
        }  # fmt: skip

    @property
    def place(self) -> str:
        """The step in words."""
        return f"step {self.step:,}" if self.config.get("step_from") != ORDER else f"checkpoint {self.step + 1}"

    @property
    def when(self) -> str:
        """The step, and the epoch if it is known, in words."""
        return self.place if math.isnan(self.epoch) else f"{self.place}, epoch {self.epoch:g}"

    def table(self) -> str:
        """Return one row per number."""
        return SharpnessTable(self.measures).table()

    def _series(self) -> dict[str, Any]:
        count = len(self.names)
        return {
            "step": [self.step] * count,
            "epoch": [self.epoch] * count,
            "measure": list(self.names),
            "value": self.values,
            "standard_error": self.standard_errors,
            "verdict": list(self.verdicts),
            "reasons": [". ".join(own) for own in self.reasons],
        }

    def _brief(self) -> str:
        return f"{self.when}: " + ", ".join(f"{name} {each.said}" for name, each in self.measures.items())

    def __str__(self) -> str:
        return f"{self.when}\n{SharpnessTable(self.measures)}"


def snapshots_text(snapshots: Iterable[Snapshot]) -> str:
    """Return the numbers of a run, one row per step, in blocks of at most 80 columns; then why numbers are missing."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.step)
    table = snapshots_table(ordered)
    fixed = 1 if table.headers[1:2] != ["epoch"] else 2
    notes = [wrapped(f"note: {reason}") for reason in gaps(ordered)]
    return "\n".join([columns_in_blocks(table.headers, table.rows, fixed=fixed), *notes])


def snapshots_table(snapshots: Iterable[Snapshot]) -> Table:
    """Return the numbers of a run as one table of any width, one row per step."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.step)
    names = list(dict.fromkeys(name for snapshot in ordered for name in snapshot.names))
    epochs = not all(math.isnan(snapshot.epoch) for snapshot in ordered)
    typed = any(snapshot.config.get("step_from") == ORDER for snapshot in ordered)
    head = ["checkpoint" if typed else "step", *(["epoch"] if epochs else [])]
    rows = []
    for snapshot in ordered:
        measures = snapshot.measures
        first = [f"{snapshot.step + 1 if typed else snapshot.step}", *([_epoch(snapshot.epoch)] if epochs else [])]
        rows.append([*first, *(_cell(measures.get(name)) for name in names)])
    return columns([*head, *names], rows)


def gaps(snapshots: Iterable[Snapshot]) -> list[str]:
    """Return why numbers are missing or weak: each reason once, with its measures and its steps.

    Reasons that differ only in their numbers count as one, and the first is shown.
    """
    first: dict[tuple[str, str], str] = {}
    steps: dict[tuple[str, str], list[str]] = {}
    for snapshot in snapshots:
        for name, measure in snapshot.measures.items():
            for reason in measure.reasons:
                key = (name, without_numbers(reason))
                first.setdefault(key, reason)
                steps.setdefault(key, []).append(snapshot.place)
    together: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for key, places in steps.items():
        together.setdefault((key[1], tuple(places)), []).append(key)
    return [
        f"{', '.join(name for name, _ in keys)} at {_places(places)}: {first[keys[0]]}"
        for (_, places), keys in together.items()
    ]


def without_numbers(reason: str) -> str:
    """Return a reason with a mark in the place of each number, so that the same reason at two steps is one.

    >>> without_numbers("the loss is 0.71, above 1e-06")
    'the loss is #, above #'
    """
    return _NUMBER.sub("#", reason)


def _places(places: Sequence[str]) -> str:
    if len(places) == 1:
        return places[0]
    return f"{places[0]} and {len(places) - 1} more, up to {places[-1]}" if len(places) > 2 else " and ".join(places)


def _cell(measure: Measure | None) -> str:
    if measure is None or measure.verdict == FAILED:
        return "-"
    return f"{'>= ' if measure.verdict == LOWER_BOUND else ''}{measure.with_error}"


def _epoch(epoch: float) -> str:
    return "-" if math.isnan(epoch) else f"{epoch:g}"
