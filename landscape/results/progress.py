"""How far a measurement has come, for those who show it or keep its partial result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from landscape.results.base import Result

Partial = TypeVar("Partial", bound=Result)


@dataclass(frozen=True)
class Progress(Generic[Partial]):
    """How far a measurement has come; ``on_progress`` gets one after each block of work.

    Attributes:
        done: what is measured: rays, points of a slice, or temperatures.
        total: what is wanted, in the same unit.
        snapshot: returns the partial result of this moment, which ``resume`` accepts.
    """

    done: int
    total: int
    snapshot: Callable[[], Partial]


OnProgress = Callable[[Progress[Partial]], None]  #: what a measurement calls after each block of work
