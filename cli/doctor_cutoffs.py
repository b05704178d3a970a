"""What ``landscape doctor`` says about cutoffs: which have a basin, which lie inside the cap, which to type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.rays import AnyMetric, Reach, reach


@dataclass(frozen=True)
class CutoffCheck:
    """The cutoffs of a run, tried along a few random rays.

    Attributes:
        criterion, centre: what reaches a cutoff, and its value at the trained point.
        cutoffs: those that were typed, or the default.
        seen: how far the rays rise inside the cap; None without a cap, or without a metric.
    """

    criterion: str
    centre: float
    cutoffs: tuple[float, ...]
    seen: Reach | None

    @classmethod
    def of(cls, objective: Objective, metric: AnyMetric | None, params: Mapping[str, Any]) -> CutoffCheck:
        """Try the cutoffs of a command line."""
        criterion = params["criterion"]
        settings = {"criterion": criterion, "max_radius": params["max_radius"], "seed": params["seed"]}
        seen = None if metric is None else reach(objective, metric, **settings)
        return cls(criterion, objective.centre_of(criterion), tuple(params["cutoffs"]), seen)

    @property
    def possible(self) -> list[float]:
        """The cutoffs above the centre: these have a basin."""
        return [cutoff for cutoff in self.cutoffs if cutoff > self.centre]

    @property
    def inside(self) -> list[float]:
        """The possible cutoffs that most rays reach inside the cap."""
        return [cutoff for cutoff in self.possible if self.seen is None or self.seen.enough(cutoff)]

    @property
    def suggested(self) -> tuple[float, ...]:
        """Cutoffs to type instead."""
        return (cutoff_above(self.centre),) if self.seen is None else self.seen.suggested()

    @property
    def better(self) -> Sequence[float]:
        """The cutoffs for the next command; empty if the cutoffs that were typed can stay."""
        return () if len(self.inside) == len(self.cutoffs) else self.inside or self.suggested

    def facts(self) -> dict[str, Any]:
        """Return the same as numbers."""
        cutoffs = [
            {
                "cutoff": cutoff,
                "possible": cutoff in self.possible,
                "rays_inside_cap": self.seen and self.seen.count(cutoff),
            }
            for cutoff in self.cutoffs
        ]
        tried = self.seen and len(self.seen.highest)
        return {"cutoffs": cutoffs, "rays_tried": tried, "suggested_cutoffs": list(self.suggested)}

    def words(self) -> str:
        """Return what holds for the cutoffs.

        Raises:
            LandscapeError: if a cutoff has no basin.
        """
        if len(self.possible) < len(self.cutoffs):
            wrong = _listed([cutoff for cutoff in self.cutoffs if cutoff not in self.possible])
            raise LandscapeError(
                f"{wrong}: not above the centre ({self.criterion} {self.centre:.4g}), so there is no basin. "
                f"{self.advice()}. Or type --criterion rise with a cutoff above 0"
            )
        words = (
            f"{_listed(self.possible)} (any above {self.centre:.4g} is possible under the criterion {self.criterion})"
        )
        if self.seen is None:
            return words
        counts = ", ".join(f"{self.seen.count(cutoff)} reach {cutoff:g}" for cutoff in self.possible)
        return f"{words}; inside the cap r = {self.seen.cap:g}, of {len(self.seen.highest)} random rays {counts}"

    def note(self) -> str | None:
        """Return what is wrong with cutoffs that few rays reach, or None."""
        few = [cutoff for cutoff in self.possible if cutoff not in self.inside]
        if not few:
            return None
        return f"few rays reach {_listed(few)}, so most of the ball of the cap is basin. {self.advice()}"

    def advice(self) -> str:
        """Say which cutoffs to type, and why these."""
        if not self.suggested:
            return (
                "Along most rays the loss does not rise above that of the centre, so it is no minimum. "
                "Check the weights, the data and the loss"
            )
        typed = " ".join(f"--cutoff {cutoff:g}" for cutoff in self.suggested)
        return f"Type {typed}" if self.seen is None else f"Type {typed}: most rays reach these inside the cap"


def cutoff_above(centre: float) -> float:
    """Return a round number well above the centre: 1, 2 or 5 times a power of ten, at least 1.5 times the centre.

    >>> cutoff_above(0.31), cutoff_above(0.7), cutoff_above(2.3)
    (0.5, 2.0, 5.0)
    """
    least = max(1.5 * centre, 1e-9)
    power = 10.0 ** math.floor(math.log10(least))
    return float(f"{next(step * power for step in (1, 2, 5, 10) if step * power >= least):.1g}")


def _listed(cutoffs: Sequence[float]) -> str:
    return ", ".join(f"{cutoff:g}" for cutoff in cutoffs)
