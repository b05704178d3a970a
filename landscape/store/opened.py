"""A results file for reading: each result as an xarray Dataset, and a table of what the file holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from landscape.errors import LandscapeError, MissingExtraError
from landscape.results import result_class
from landscape.results.table import Table, columns
from landscape.store.store import Store

if TYPE_CHECKING:  # optional, and slow to import
    import xarray

_LEFT = ("name", "kind", "axes", "verdict")
_UNKNOWN = "unknown to this version"


class ResultsFile(Mapping[str, "xarray.Dataset"]):
    """The results in a file by name, each as an xarray ``Dataset``; prints as a table of what is there.

    ``file["radii"]`` reads that result when it is asked for, so it sees the newest state of a run that still writes.
    ``xarray.DataTree.from_dict(dict(file))`` reads everything into one tree.

    Args:
        path: the file.

    Raises:
        StoreError: as for :class:`Store`: the file is missing, damaged, not ours, or of another format version.
        MissingExtraError: if xarray is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if find_spec("xarray") is None:
            raise MissingExtraError("xarray", "notebook", "landscape.open()")
        self._store = Store(path)
        self._store.names()  # refuses now what cannot be read

    def __getitem__(self, name: str) -> xarray.Dataset:
        return self._store[name].to_xarray()

    def get(self, name: str, default: Any = None) -> Any:
        """Return the result of this name, or the default if there is none."""
        if name not in self:
            return default
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._store

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store.names())

    def table(self) -> Table:
        """Return one line per result: its name, its kind, its axes with their sizes, how much is measured, verdicts."""
        described = self._store.describe()
        rows = [[name, about["kind"], *_cells(about)] for name, about in described["results"].items()]
        rows += [[name, "", "", "", "damaged"] for name in described["damaged"]]
        return columns(["name", "kind", "axes", "measured", "verdict"], rows, left=_LEFT)

    def __repr__(self) -> str:
        return f"{self._head}\n{self.table()}" if len(self) else self._head

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self._head)}</pre>\n{self.table().html() if len(self) else ''}"

    @property
    def _head(self) -> str:
        count = len(self)
        return f"<ResultsFile {self._store.path}: {count} {'result' if count == 1 else 'results'}>"

    def _ipython_key_completions_(self) -> list[str]:
        """Return what a session offers after ``file["``."""
        return self._store.names()


def open(path: str | os.PathLike[str]) -> ResultsFile:
    """Open a results file for reading: a mapping from names to xarray Datasets.

    ``landscape.Store(path)`` reads and writes the results themselves.

    Raises:
        StoreError: if there is no file, or it is not a results file that this version reads.
        MissingExtraError: if xarray is not installed.

    >>> import tempfile
    >>> import numpy as np
    >>> from landscape.results import NOTHING, Diagonal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store(f"{folder}/run.h5")["diagonal"] = Diagonal(np.arange(3.0), np.zeros(3), True, 3, {}, NOTHING)
    ...     data = open(f"{folder}/run.h5")["diagonal"]
    >>> data["values"].dims, data["values"].attrs["units"], data["values"].sum().item()
    (('entry',), 'loss per squared metric unit', 3.0)
    """
    return ResultsFile(path)


def _cells(about: Mapping[str, Any]) -> tuple[str, str, str]:
    try:
        sizes = result_class(about["kind"]).axis_sizes(
            {name: data["shape"] for name, data in about["datasets"].items()}
        )
    except LandscapeError:
        return "", "", _UNKNOWN
    rows = about["rows"]
    measured = "" if rows is None else f"{rows['done']:,} of {rows['total']:,}"
    return ", ".join(f"{axis} {size:,}" for axis, size in sizes.items() if size), measured, ", ".join(about["verdicts"])
