"""The results file of a command."""

from __future__ import annotations

from landscape.errors import LandscapeError
from landscape.results import Result, result_class
from landscape.store import Store


def known_results(store: Store) -> dict[str, Result | None]:
    """Return the results in the file; None for a kind that this version does not know."""
    results: dict[str, Result | None] = {}
    for name, about in store.describe()["results"].items():
        try:
            result_class(about["kind"])
        except LandscapeError:
            results[name] = None
        else:
            results[name] = store[name]
    return results
