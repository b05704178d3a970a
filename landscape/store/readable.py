"""What can be read of a results file of which a part may be damaged or new."""

from __future__ import annotations

from landscape.errors import LandscapeError, StoreError
from landscape.results import Result, result_class
from landscape.store.store import Store


def readable_results(store: Store) -> tuple[dict[str, Result | None], dict[str, str]]:
    """Return the results in the file that can be read, and what is wrong with the others.

    A result of a kind that this version does not know is None.
    """
    described = store.describe()
    results: dict[str, Result | None] = {}
    damaged: dict[str, str] = dict(described["damaged"])
    for name, about in described["results"].items():
        try:
            result_class(about["kind"])
        except LandscapeError:
            results[name] = None
            continue
        try:
            results[name] = store[name]
        except StoreError as error:
            damaged[name] = str(error)
    return results, damaged
