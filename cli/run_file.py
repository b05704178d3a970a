"""The results file of a command: opened for one run at a time, and never changed without being told to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from landscape import distributed
from landscape.errors import StoreError
from landscape.results import Hits, Islands, Line, Plane, Radii, Result
from landscape.store import Store, readable_results
from landscape_cli.text import amount

Growing = TypeVar("Growing", Radii, Hits, Line, Plane, Islands)
Stored = TypeVar("Stored", bound=Result)


@contextmanager
def open_store(params: Mapping[str, Any]) -> Iterator[Store | None]:
    """Open and lock the file of ``--out``, so that its faults show before anything expensive begins; None without."""
    if params["out"] is None:
        yield None
        return
    with distributed.file_of_rank(params["out"]) as path, Store(path, write=True) as store:
        yield store


def growing_result(
    store: Store | None, params: Mapping[str, Any], name: str, kind: type[Growing], noun: str, unit: str
) -> Growing | None:
    """Return the result in the file that this run continues, if there is one.

    Args:
        store: the file, or None.
        params: the options.
        name: name of the result in the file.
        kind: its class.
        noun: what to call it.
        unit: what its rows are.

    Raises:
        StoreError: if there is one and ``--resume`` was not typed.
    """
    stored = stored_result(store, params, name, kind)
    if stored is None or params["resume"]:
        return stored
    state = "a finished" if stored.done.all() else "an unfinished"
    raise StoreError(
        f"{params['out']} already holds {state} {noun} ({amount(int(stored.done.sum()), len(stored.done), unit)}).\n"
        "Type --resume to keep it and measure what is missing, --overwrite to start over, or another --out."
    )


def stored_result(store: Store | None, params: Mapping[str, Any], name: str, kind: type[Stored]) -> Stored | None:
    """Return what the file holds under a name; None if it holds nothing there, or is to be overwritten.

    Raises:
        StoreError: for options that contradict each other, or a result of another kind.
    """
    if params["resume"] and params["overwrite"]:
        raise StoreError("--resume keeps what is stored and --overwrite drops it. Type one of the two.")
    if store is None:
        if params["resume"] or params["overwrite"]:
            raise StoreError("--resume and --overwrite say what to do with the file of --out. Add --out run.h5.")
        return None
    if name not in store or params["overwrite"]:
        return None
    stored = store[name]
    if not isinstance(stored, kind):
        raise StoreError(f"{params['out']} holds something else under the name {name!r}. Write to another --out.")
    return stored


def known_results(store: Store) -> dict[str, Result | None]:
    """Return the results in the file; None for a kind that this version does not know.

    Raises:
        StoreError: if one of them is damaged.
    """
    results, damaged = readable_results(store)
    refuse_damaged(damaged)
    return results


def refuse_damaged(damaged: Mapping[str, str]) -> None:
    """Raise an error that says of each damaged result what is wrong, if there is one."""
    if damaged:
        raise StoreError("\n".join(damaged.values()))


def with_provenance(result: Stored, provenance: Mapping[str, str]) -> Stored:
    """Return the result with its origin, a checkpoint and a command, in its configuration."""
    return replace(result, config={**result.config, **provenance})  # type: ignore[attr-defined, call-arg]
