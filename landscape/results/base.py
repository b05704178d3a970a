"""Frozen results: what was measured, how sure it is and what it cost.

Every result is a frozen dataclass whose fields are numpy arrays or plain values (numbers, strings, tuples, dicts).
That is all a store needs: :meth:`Result.arrays` and :meth:`Result.attributes` take it apart,
:meth:`Result.from_parts` puts it together again, and nothing here knows about files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, ClassVar, Self

import numpy as np

from landscape.errors import LandscapeError
from landscape.results.dataset import Contents, Layout, Variable, along_axis, axis_sizes, laid_out
from landscape.results.described import descriptions
from landscape.results.shown import Shown
from landscape.results.units import unit_of


@dataclass(frozen=True)
class Cost:
    """What a measurement cost.

    Attributes:
        evaluations: full passes over the data; a pass stopped early counts as the fraction that was read.
        calls: loss evaluations started, whether or not they were stopped early.
        seconds: wall-clock time.
    """

    evaluations: float
    calls: int
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.evaluations + other.evaluations, self.calls + other.calls, self.seconds + other.seconds)


NOTHING = Cost(0.0, 0, 0.0)  #: the cost of what has not begun


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """Base of all results: taken apart into arrays and attributes, and put together again.

    Two results are equal if they are of one class, their arrays agree bit for bit and their attributes agree. NaN
    equals NaN. The cost is an attribute, so two runs differ in their seconds: compare the fields that matter.
    """

    kind: ClassVar[str] = ""
    _layout: ClassVar[Layout] = {}  #: axes and unit of each array, and of each number that is a result
    _labels: ClassVar[Mapping[str, str]] = {}  #: axis -> the field with the labels along it
    _along: ClassVar[str] = ""  #: the axis along which a dataset holds the columns of the frame too
    _stored_elsewhere: ClassVar[tuple[str, ...]] = ()  #: fields that a dataset holds under another name
    _row_class: ClassVar[type | None] = None  #: whose docstring describes these columns
    _kinds: ClassVar[dict[str, type[Result]]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        Result._kinds[cls.kind] = cls
        for name in ("__repr__", "__eq__"):  # the decorator of the class would write its own in their place
            setattr(cls, name, getattr(cls, name))

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Result):
            return NotImplemented
        arrays, others = self.arrays(), other.arrays()
        return (
            arrays.keys() == others.keys()
            and all(_same_bits(array, others[name]) for name, array in arrays.items())
            and same_values(self.attributes(), other.attributes())
        )

    @classmethod
    def axis_sizes(cls, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Return how long each axis of :meth:`to_xarray` is, from the shapes of the arrays alone."""
        return axis_sizes(cls._layout, shapes)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the array fields by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}

    def attributes(self) -> dict[str, Any]:
        """Return the other fields by name as dicts, lists and scalars; infinities stay floats."""
        arrays = self.arrays()
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in arrays}

    def _variables(self) -> dict[str, Variable]:
        """Return the variables of :meth:`to_xarray`, but for the columns of the frame."""
        numbers = {name: getattr(self, name) for name in self._layout if hasattr(self, name)}
        return laid_out({**numbers, **self.arrays()}, self._layout)

    def _coordinates(self) -> dict[str, Variable]:
        """Return the labels along the axes of :meth:`to_xarray`."""
        return {
            axis: Variable((axis,), values := np.asarray(getattr(self, field)), unit_of(axis, values))
            for axis, field in self._labels.items()
        }

    def _contents(self) -> Contents:
        variables = self._variables()
        if self._along:
            variables |= along_axis(self._series() or {}, self._along)
        used = {*variables, *self._labels.values(), *self._stored_elsewhere}
        kept = {name: value for name, value in self.attributes().items() if name not in used}
        if "verdict" in variables:
            kept = {"verdict": ", ".join(dict.fromkeys(variables["verdict"].values.tolist())), **kept}
        return Contents(
            variables=variables,
            coordinates=self._coordinates(),
            attributes={"kind": self.kind, **kept},
            about=(descriptions(self._row_class) if self._row_class else {}) | descriptions(type(self)),
            criterion=self._criterion,
        )

    @property
    def _criterion(self) -> str | None:
        criterion: str | None = getattr(self, "config", {}).get("criterion")
        return criterion

    def to_dict(self) -> dict[str, Any]:
        """Return every field as strict JSON types: arrays as nested lists, infinity and NaN as None."""
        return finite({f.name: plain(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_parts(cls, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> Self:
        """Build the result from what :meth:`arrays` and :meth:`attributes` returned."""
        return cls(**arrays, **{name: cls._revive(name, value) for name, value in attributes.items()})

    @classmethod
    def _revive(cls, name: str, value: Any) -> Any:
        """Turn one attribute back into the type of its field."""
        if name in ("notes", "cutoffs"):
            return tuple(value)
        return Cost(**value) if name in ("cost", "pilot") else value


def max_radius_of(config: Mapping[str, Any]) -> float:
    """Return the cap on every radius that a configuration names; infinite without one."""
    cap = config.get("max_radius")
    return math.inf if cap is None else float(cap)


def result_class(kind: str) -> type[Result]:
    """Return the result class called ``kind`` (``"radii"``, ``"volume"``, ...)."""
    if kind not in Result._kinds:
        raise LandscapeError(
            f"this version of landscape does not know a result of kind {kind!r} (it knows {sorted(Result._kinds)}).\n"
            "The file was probably written by a newer version: pip install --upgrade landscape-lab"
        )
    return Result._kinds[kind]


def _same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two arrays agree in type, shape and every bit; any NaN equals any other."""
    if first.dtype.kind != "f" or second.dtype.kind != "f":
        return bool(np.array_equal(first, second)) and first.dtype.kind == second.dtype.kind
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    bits, other_bits = (np.where(np.isnan(array), np.nan, array).astype(array.dtype) for array in (first, second))
    return bits.tobytes() == other_bits.tobytes()


def same_values(first: Any, second: Any) -> bool:
    """Return whether two plain values agree, NaN with NaN."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same_values(value, second[key]) for key, value in first.items())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_values, first, second))
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return bool(first == second)


def plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists and Python scalars."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def finite(value: Any) -> Any:
    """Return ``value`` with None for infinity and NaN, for which JSON has no word."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
