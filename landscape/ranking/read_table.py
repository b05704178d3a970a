"""A CSV of runs -> a table: which column is an axis, a target, a measure or a baseline."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.ranking.baselines import ALIASES, baseline_of, canonical
from landscape.results.runs import Runs

#: each target -> the names under which a table may hold it
TARGETS = {
    "error": ("error", "test-error"),
    "gap": ("gap", "generalisation-gap", "generalization-gap"),
    "loss": ("loss", "test-loss"),
}
_NETS = ("net", "name", "checkpoint", "run", "id")
_SEEDS = ("seed",)
_TEST_SIZE = ("test-size",)
_CONVERGED = ("converged",)
_NO = ("false", "no", "0")
_BESIDE = ("train-error", "train-accuracy", "test-accuracy")  # of a net, neither axis nor measure
_PARTS = ("error", "passes", "seconds")  # what may stand after the colon of NAME:error
_MOST_LEVELS = 12  # of a column of numbers that is taken for an axis
_SHARE_OF_LEVELS = 1 / 3  # levels for each net, at most


def read_table(
    path: str | Path, *, target: str = "gap", axes: Sequence[str] | None = None, measures: Sequence[str] | None = None,
    baselines: Sequence[str] = (), smaller_is_sharper: Sequence[str] = (), test_size: int | None = None,
    keep_all: bool = False,
) -> Runs:  # fmt: skip
    """Read a CSV file with one row per net.

    Columns: ``net`` and ``seed`` (optional); axes; targets (``error``, ``gap``, ``loss`` or any other); one column for
    each measure NAME, and if known ``NAME:error`` (standard error), ``NAME:passes`` and ``NAME:seconds``. An empty cell
    of a measure is a gap. Without ``axes``, an axis is a column of texts that do not all differ, or of numbers with at
    most 12 levels and at most one level for three nets. Other columns of numbers are measures.

    Args:
        path: the file.
        target: a column that is a target, besides error, gap and loss.
        axes: the columns that are axes.
        measures: the columns that are measures.
        baselines: the columns that are baselines, besides those that are known by name.
        smaller_is_sharper: the measures of which a smaller value means sharper.
        test_size: number of test samples; else the column ``test-size``.
        keep_all: keep nets that the column ``converged`` calls false, no or 0.

    Raises:
        LandscapeError: the file is missing, is no table, has a cell that is not what its column is, or lacks a column.
    """
    header, rows = _cells(Path(path))
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    for word, names in (
        ("axes", axes), ("measures", measures), ("baselines", baselines), ("smaller_is_sharper", smaller_is_sharper),
    ):  # fmt: skip
        for name in names or ():
            if name not in columns:
                raise LandscapeError(
                    f"{path} has no column {name!r}, which `{word}=...` names. It has: {', '.join(header)}."
                )
    roles = _Roles(columns, target, axes, measures, baselines, str(path))
    numbers = {name: _numbers(name, columns[name], str(path)) for name in roles.numeric}
    targets = roles.target_values(numbers)
    runs = Runs(
        nets=roles.nets, axes={name: roles.axis(name) for name in roles.axes}, seeds=roles.seeds,
        target_names=tuple(roles.targets), targets=targets,
        measures=tuple(roles.measures), values=roles.part(numbers, None),
        standard_errors=roles.part(numbers, "error"), passes=roles.part(numbers, "passes"),
        seconds=roles.part(numbers, "seconds"),
        smaller_is_sharper=tuple(smaller_is_sharper), baselines=tuple(baselines),
        test_size=test_size or roles.test_size(numbers), notes=tuple(roles.notes), config={"table": str(path)},
    )  # fmt: skip
    return runs if keep_all else converged_nets(runs, roles.converged)


def converged_nets(runs: Runs, converged: np.ndarray) -> Runs:
    """Return the nets that have converged, shape (N,) of booleans, and say how many have not.

    Raises:
        LandscapeError: none has.
    """
    if converged.all():
        return runs
    if not converged.any():
        raise LandscapeError("no net of the family has converged. Train longer, or rank them all: `keep_all=True`.")
    left_out = int((~converged).sum())
    return runs.kept(converged, f"{left_out} of {len(converged)} nets were left out: their training did not converge.")


class _Roles:
    """What each column of a table is."""

    def __init__(
        self, columns: dict[str, list[str]], target: str, axes: Sequence[str] | None, measures: Sequence[str] | None,
        baselines: Sequence[str], path: str,
    ) -> None:  # fmt: skip
        self.columns, self.path, self.notes = columns, path, list[str]()
        self.count = len(next(iter(columns.values())))
        self.targets = {name: column for name in TARGETS if (column := self._named(TARGETS[name])) is not None}
        if target not in self.targets and target in columns:
            self.targets[target] = target
        self.derived = self._derived_targets()
        fixed = {
            *self.targets.values(),
            *(c for names in (_NETS, _SEEDS, _TEST_SIZE, _BESIDE, _CONVERGED) for c in self._all(names)),
        }
        free = [c for c in columns if c not in fixed and not self._is_part(c)]
        self.axes = (
            list(axes) if axes is not None else [c for c in free if self._looks_like_axis(c, measures, baselines)]
        )
        self.measures = [c for c in free if c not in self.axes and self._is_measure(c, measures, baselines)]
        for name in measures or ():
            if name in self.axes or name in fixed:
                raise LandscapeError(
                    f"the column {name!r} of {path} is named as a measure, but it is something else too."
                )
        self.nets = self._texts(_NETS) or tuple(f"net-{number}" for number in range(1, self.count + 1))
        self.seeds = self._texts(_SEEDS) or tuple("0" for _ in range(self.count))

    @property
    def numeric(self) -> list[str]:
        """Every column that must hold numbers."""
        parts = [f"{name}:{part}" for name in self.measures for part in _PARTS if f"{name}:{part}" in self.columns]
        beside = self._all(_BESIDE) + self._all(_TEST_SIZE)
        return [*self.measures, *parts, *self.targets.values(), *beside]

    @property
    def converged(self) -> np.ndarray:
        """Whether each net has converged, shape (N,); all have if the table does not say."""
        texts = self._texts(_CONVERGED) or ("",) * self.count
        return np.array([text.lower() not in _NO for text in texts])

    def axis(self, name: str) -> list[Any]:
        """Return the values along an axis: numbers if all are, else texts."""
        texts = [text.strip() for text in self.columns[name]]
        if "" in texts:
            raise LandscapeError(
                f"{self.path}, row {texts.index('') + 2}: the axis {name!r} has no value. Fill or drop the row."
            )
        values = [_number(text) for text in texts]
        numbers = [value for value in values if value is not None and np.isfinite(value)]
        if len(numbers) < len(texts):
            if any(value is not None and np.isnan(value) for value in values):
                raise LandscapeError(f"{self.path}: the axis {name!r} holds NaN. Fill the cell, or drop the row.")
            return texts
        return [int(value) if value == int(value) else value for value in numbers]

    def target_values(self, numbers: dict[str, np.ndarray]) -> np.ndarray:
        """Return the targets, shape (T, N)."""
        for name, (first, second) in self.derived.items():
            self.targets[name] = name
            numbers[name] = numbers[first] - (numbers[second] if second else 0.0)
            if second is None:
                numbers[name] = 1.0 - numbers[first]
        return np.array([numbers[column] for column in self.targets.values()]).reshape(len(self.targets), self.count)

    def part(self, numbers: dict[str, np.ndarray], part: str | None) -> np.ndarray:
        """Return the values of all measures, or their standard errors, passes or seconds, shape (M, N)."""
        unknown = np.full(self.count, np.nan)
        rows = [numbers.get(name if part is None else f"{name}:{part}", unknown) for name in self.measures]
        return np.array(rows).reshape(len(self.measures), self.count)

    def test_size(self, numbers: dict[str, np.ndarray]) -> int | None:
        """Return the least number of test samples that the table names."""
        name = self._named(_TEST_SIZE)
        return None if name is None else int(np.nanmin(numbers[name]))

    def _derived_targets(self) -> dict[str, tuple[str, str | None]]:
        """Return targets that follow from accuracies: error = 1 - accuracy, gap = train - test accuracy."""
        test, train = self._named(("test-accuracy",)), self._named(("train-accuracy",))
        derived: dict[str, tuple[str, str | None]] = {}
        if test and "error" not in self.targets:
            derived["error"] = (test, None)
        if test and train and "gap" not in self.targets:
            derived["gap"] = (train, test)
        return derived

    def _looks_like_axis(self, column: str, measures: Sequence[str] | None, baselines: Sequence[str]) -> bool:
        name = canonical(column)
        may_be = name in (*ALIASES["learning-rate"], *ALIASES["beta"])
        if column in (*(measures or ()), *baselines) or (baseline_of(column) and not may_be):
            return False
        texts = [text.strip() for text in self.columns[column]]
        levels = set(texts) - {""}
        if any(_number(text) is None for text in levels):
            if len(levels) == self.count > 1 and not self._is_mostly_numbers(column):
                self.notes.append(f"The column {column} is another text in every row, so it is left out.")
                return False
            return len(levels) > 1 and not self._is_mostly_numbers(column)
        return 1 < len(levels) <= min(_MOST_LEVELS, max(2, self.count * _SHARE_OF_LEVELS)) and "" not in texts

    def _is_measure(self, column: str, measures: Sequence[str] | None, baselines: Sequence[str]) -> bool:
        if measures is not None:
            return column in measures or column in baselines or baseline_of(column) is not None
        texts = {text.strip() for text in self.columns[column]}
        if any(_number(text) is None for text in texts - {""}):
            return self._is_mostly_numbers(column)  # its texts are refused when it is read
        if len(texts) == 1 and column not in baselines:
            self.notes.append(f"The column {column} is the same in every row, so it is left out.")
            return False
        return True

    def _is_mostly_numbers(self, column: str) -> bool:
        """Whether more than half of the cells are numbers, of too many levels for an axis: the texts are mistakes."""
        numbers = [text for text in map(str.strip, self.columns[column]) if _number(text) is not None]
        many = len(set(numbers)) > min(_MOST_LEVELS, max(2, self.count * _SHARE_OF_LEVELS))
        return many and len(numbers) > self.count / 2

    def _is_part(self, column: str) -> bool:
        name, colon, part = column.rpartition(":")
        return bool(colon) and part in _PARTS and name in self.columns

    def _all(self, names: Sequence[str]) -> list[str]:
        return [column for column in self.columns if canonical(column) in names]

    def _named(self, names: Sequence[str]) -> str | None:
        return next(iter(self._all(names)), None)

    def _texts(self, names: Sequence[str]) -> tuple[str, ...]:
        column = self._named(names)
        return () if column is None else tuple(text.strip() for text in self.columns[column])


def _cells(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise LandscapeError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
    except OSError as error:
        raise LandscapeError(f"{path} cannot be read ({error.strerror or error}). Pass a CSV file.") from error
    if len(rows) < 2:
        raise LandscapeError(f"{path} has no rows. Expected a header and one row per net.")
    header = [name.strip() for name in rows[0]]
    for separator in ";\t":
        if len(header) == 1 and separator in header[0]:
            raise LandscapeError(
                f"{path}: the cells are separated by {separator!r}. Expected commas, and decimal points."
            )
    for name in header:
        if not name or header.count(name) > 1:
            raise LandscapeError(f"{path}: the column {name!r} is named twice or not at all. Give each its own name.")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise LandscapeError(f"{path}, row {number}: {len(row)} cells, and the header has {len(header)}.")
    return header, rows[1:]


def _numbers(name: str, texts: list[str], path: str) -> np.ndarray:
    """Return a column as numbers, NaN for an empty cell; infinity is a gap too, since it has no place in a mean."""
    values = []
    for number, text in enumerate(texts, 2):
        value = _number(text.strip()) if text.strip() else float("nan")
        if value is None:
            raise LandscapeError(
                f"{path}, row {number}: {name} is {text.strip()!r}; expected a number or an empty cell."
            )
        values.append(value if np.isfinite(value) else float("nan"))
    return np.array(values)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
