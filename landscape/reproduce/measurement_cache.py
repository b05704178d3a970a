"""The measurements of the study, kept in its results file, so that a run that was killed does not repeat them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from landscape.reproduce.nets import Net
from landscape.results import Result
from landscape.results.base import plain
from landscape.store import Store

Measured = TypeVar("Measured", bound=Result)


class MeasurementCache:
    """Measurements by name in a results file; with the same settings on the same weights, none is repeated.

    Args:
        store: the file.
        report: called with the name of a measurement before it is made.
    """

    def __init__(self, store: Store, report: Callable[[str], None] = lambda name: None) -> None:
        self.store, self.report = store, report
        self._stored = set(store.names())

    def get(
        self, kind: str, net: Net, settings: Mapping[str, Any], measure: Callable[..., Measured], *subject: Any
    ) -> Measured:
        """Return ``measure(*subject, **settings)``, from the file if it holds that already.

        Args:
            kind: what is measured, the first part of its name in the file.
            net: on which net.
            settings: keyword arguments.
            measure: the function.
            subject: its first arguments; the net's objective by default.
        """
        name = f"{kind}-{net.name}"
        described = net.objective.describe()
        asked = {**settings, "theta_hash": described["theta_hash"], "data_hash": described["data_hash"]}
        asked = json.loads(json.dumps(plain(asked)))
        if name in self._stored:
            stored: Any = self.store[name]
            if stored.config.get("asked") == asked:
                return stored
        self.report(name)
        measured: Any = measure(*(subject or (net.objective,)), **settings)
        measured = replace(measured, config={**measured.config, "asked": asked})
        self.store[name] = measured
        self._stored.add(name)
        return measured
