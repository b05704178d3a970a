"""The growing tables of a run: what each pilot, group and round has found, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from landscape.results import Islands
from landscape.results.islands import GroupRow, PilotRow, RoundRow
from landscape.volume.annealing.groups import Walked
from landscape.volume.annealing.party import ISLANDS, WIDEST

_ROWS: dict[str, Any] = {"pilots": PilotRow, "groups": GroupRow, "rounds": RoundRow}
BY_GROUP = {"forwards": ISLANDS, "backwards": ISLANDS, "log_radii": ISLANDS * WIDEST}  #: numbers that a group adds


@dataclass
class Tables:
    """The rows of :class:`landscape.results.Islands`, and its arrays with one row per group."""

    pilots: list[PilotRow] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    rounds: list[RoundRow] = field(default_factory=list)
    forwards: list[np.ndarray] = field(default_factory=list)
    backwards: list[np.ndarray] = field(default_factory=list)
    log_radii: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, past: Islands) -> Tables:
        """Return the tables of an earlier run."""
        rows = {name: [kind(*row) for row in getattr(past, name).tolist()] for name, kind in _ROWS.items()}
        return cls(**rows, **{name: list(getattr(past, name)) for name in BY_GROUP})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return them as arrays, by name."""
        widths = {**{name: len(kind._fields) for name, kind in _ROWS.items()}, **BY_GROUP}
        return {name: np.array(getattr(self, name)).reshape(-1, width) for name, width in widths.items()}

    @property
    def evaluations(self) -> float:
        """Full passes over the data that all that is done has cost."""
        return sum(row.evaluations for row in self._done)

    @property
    def calls(self) -> int:
        """The same in calls of the function."""
        return int(sum(row.calls for row in self._done))

    @property
    def _done(self) -> list[PilotRow | GroupRow | RoundRow]:
        return [*self.pilots, *self.groups, *(row for row in self.rounds if row.whole)]

    def pilot_of(self, cutoff: int) -> PilotRow | None:
        """Return the pilot of a cutoff; None if it has not found a schedule."""
        return next((row for row in self.pilots if row.cutoff == cutoff), None)

    def rounds_of(self, cutoff: int) -> list[RoundRow]:
        """Return the rounds of a cutoff that have begun, in order."""
        return [row for row in self.rounds if row.cutoff == cutoff]

    def groups_of(self, row: RoundRow) -> list[GroupRow]:
        """Return the groups of a round that are done."""
        return [group for group in self.groups if group[:2] == row[:2]]

    def spent_on(self, row: RoundRow) -> float:
        """Return the passes that a whole round has cost."""
        return sum((group.evaluations for group in self.groups_of(row)), row.evaluations)

    def keep(self, group: GroupRow, walked: Walked) -> None:
        """Add a group that is done."""
        self.groups.append(group)
        for name in BY_GROUP:
            getattr(self, name).append(getattr(walked, name))
