"""What a report reads of one results file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from landscape.errors import StoreError
from landscape.results import Result
from landscape.store import Store, readable_results


@dataclass(frozen=True)
class Contents:
    """One results file.

    Attributes:
        path: as the caller wrote it.
        about: what :meth:`landscape.Store.describe` says of the file and of each result.
        results: the results that can be read, by name.
        unknown: the kind of each result that this version does not know, by name.
        damaged: what is wrong with each result that cannot be read, by name.
    """

    path: str
    about: Mapping[str, Any]
    results: Mapping[str, Result]
    unknown: Mapping[str, str]
    damaged: Mapping[str, str]

    def config(self, name: str) -> Mapping[str, Any]:
        """Return the configuration of a result; empty if it has none."""
        described: Mapping[str, Any] = self.about["results"].get(name, {}).get("config", {})
        return described


def read_contents(given: str | os.PathLike[str] | Store) -> Contents:
    """Return what a file holds.

    Raises:
        StoreError: if it is no results file.
    """
    if not isinstance(given, str | os.PathLike | Store):
        raise StoreError(f"a report is of results files such as run.h5, got a {type(given).__name__}.")
    store = given if isinstance(given, Store) else Store(given)
    about = store.describe()
    readable, damaged = readable_results(store)
    return Contents(
        path=str(store.path.name if isinstance(given, Store) else os.fspath(given)),
        about=about,
        results={name: result for name, result in readable.items() if result is not None},
        unknown={name: about["results"][name]["kind"] for name, result in readable.items() if result is None},
        damaged=damaged,
    )
