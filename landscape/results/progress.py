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
        done: what is measured: rays, points of a slice, hits, or hundredths of a budget.
        total: what is wanted, in the same unit.
        snapshot: returns the partial result of this moment, which ``resume`` accepts.
        words: what is going on, and what is known so far, in a few words.
        news: whether the partial result has grown since the last call. If not, it is not to be asked for.
    """

    done: int
    total: int
    snapshot: Callable[[], Partial]
    words: str = ""
    news: bool = True


OnProgress = Callable[[Progress[Partial]], None]  #: what a measurement calls after each block of work
