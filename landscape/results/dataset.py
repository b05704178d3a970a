"""A result as an xarray ``Dataset``: named axes, a unit and a description on each variable, settings as attributes.

All of it can be written to netCDF: settings are flat, ``config_seed`` for ``config["seed"]``, and texts where netCDF
has no type for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from landscape.errors import MissingExtraError
from landscape.results.units import MEASURE, TEXT, resolved, unit_of

if TYPE_CHECKING:  # optional, and slow to import
    import xarray

Layout = Mapping[str, tuple[str, str]]  #: field -> (its axes, separated by spaces; its unit)
#: of results that hold several measures of one net
PER_MEASURE: Layout = {
    "values": ("measure", MEASURE),
    "standard_errors": ("measure", MEASURE),
    "passes": ("measure", "passes"),
    "seconds": ("measure", "seconds"),
}


class Variable(NamedTuple):
    """One variable of a dataset: its axes, its values and its unit."""

    axes: tuple[str, ...]
    values: np.ndarray
    unit: str

    def split(self, axis: str, into: tuple[str, str], sizes: tuple[int, int]) -> Variable:
        """Return the variable with one axis as two."""
        place = self.axes.index(axis)
        shape = (*self.values.shape[:place], *sizes, *self.values.shape[place + 1 :])
        return Variable((*self.axes[:place], *into, *self.axes[place + 1 :]), self.values.reshape(shape), self.unit)

    def transposed(self) -> Variable:
        """Return the variable with its axes in reverse order."""
        return Variable(self.axes[::-1], self.values.T, self.unit)


@dataclass(frozen=True)
class Contents:
    """What a dataset is made of.

    Attributes:
        variables: by name.
        coordinates: the values along an axis, by the name of the axis, and further labels along it.
        attributes: everything that is no array, nested as it is.
        about: what a variable is, by name.
        criterion: which criterion cutoffs are in; None if unknown.
    """

    variables: Mapping[str, Variable]
    coordinates: Mapping[str, Variable] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    criterion: str | None = None


def laid_out(values: Mapping[str, Any], layout: Layout) -> dict[str, Variable]:
    """Return fields as variables; an array that the layout does not know gets axes named after itself."""
    variables = {}
    for name, value in values.items():
        array = np.asarray(value)
        axes, unit = layout.get(name, ("", "1"))
        names = tuple(axes.split())
        if len(names) != array.ndim:
            names = tuple(f"{name}_{axis}" for axis in range(array.ndim))
        variables[name] = Variable(names, array, unit)
    return variables


def axis_sizes(layout: Layout, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return how long each axis is, from the shapes of the arrays alone.

    >>> axis_sizes({"radii": ("direction cutoff", "metric units")}, {"radii": (200, 2), "unknown": (5,)})
    {'direction': 200, 'cutoff': 2}
    """
    named = {name: layout.get(name, ("", ""))[0].split() for name in shapes}
    return {
        axis: int(size)
        for name, axes in named.items()
        if len(axes) == len(shapes[name])
        for axis, size in zip(axes, shapes[name], strict=True)
    }


def along_axis(series: Mapping[str, Any], axis: str) -> dict[str, Variable]:
    """Return the columns of a table as variables along one axis; names lose the unit that they end in, if it is nats.

    >>> list(along_axis({"bound_nats": [1.0], "verdict": ["settled"]}, "cutoff"))
    ['bound', 'verdict']
    """
    return {
        name.removesuffix("_nats"): Variable((axis,), np.asarray(values), unit_of(name, values))
        for name, values in series.items()
    }


def to_dataset(contents: Contents) -> xarray.Dataset:
    """Return an xarray Dataset.

    Raises:
        MissingExtraError: if xarray is not installed.
    """
    try:
        import xarray  # inside, because xarray is optional and slow to import
    except ImportError as error:
        raise MissingExtraError("xarray", "notebook", "to_xarray()") from error

    def arrays(variables: Mapping[str, Variable]) -> dict[str, xarray.Variable]:
        return {
            name: xarray.Variable(each.axes, each.values, _about(contents, name, each.unit))
            for name, each in variables.items()
        }

    return xarray.Dataset(
        arrays(contents.variables), arrays(contents.coordinates), dict(flat_attributes(contents.attributes))
    )


def _about(contents: Contents, name: str, unit: str) -> dict[str, str]:
    told = {} if unit == TEXT else {"units": resolved(unit, contents.criterion)}
    return {**told, "description": contents.about[name]} if contents.about.get(name) else told


def flat_attributes(attributes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield attributes with types that netCDF has: numbers and texts.

    A dict becomes several, a truth value 0 or 1, None the text ``none``, texts in a list one text. Other lists become
    JSON.

    >>> dict(flat_attributes({"config": {"seed": 0, "cap": None}, "exact": True, "notes": ["one", "two"]}))
    {'config_seed': 0, 'config_cap': 'none', 'exact': 1, 'notes': 'one; two'}
    """
    for key, value in attributes.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat_attributes(value, f"{name}_")
        elif isinstance(value, bool):
            yield name, int(value)
        elif value is None:
            yield name, "none"
        elif isinstance(value, str | int | float):
            yield name, value
        else:
            yield name, _as_text(value)


def _as_text(values: Sequence[Any]) -> str:
    if all(isinstance(value, str) for value in values):
        return "; ".join(values)
    return json.dumps(values)
