"""How far a measurement has come, for those who show it or keep its partial result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from landscape.errors import LandscapeError

Partial = TypeVar("Partial")
PERCENT = "% of the budget"  #: the unit of what a budget limits


@dataclass(frozen=True)
class Progress(Generic[Partial]):
    """How far a measurement has come; ``on_progress`` gets one after each block of work.

    Attributes:
        done: what is measured: rays, points of a slice, hits, products, measures, or hundredths of a budget.
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


def nothing_new() -> Any:
    """Refuse to return a partial result: the ``snapshot`` of a :class:`Progress` without news."""
    raise LandscapeError("nothing has changed since the last partial result")


@contextmanager
def telling(
    progress: bool, on_progress: OnProgress[Partial] | None, unit: str, total: int
) -> Iterator[OnProgress[Partial]]:
    """Yield what a measurement calls after each block: it moves a bar, calls ``on_progress``, both or neither.

    Args:
        progress: whether to show a bar of tqdm: a widget in a notebook, a line on stderr elsewhere.
        on_progress: the caller's function.
        unit: of ``done`` and ``total``.
        total: what is wanted, for the bar before the first block.

    >>> told = []
    >>> with telling(False, told.append, "rays", 4) as tell:
    ...     tell(Progress(2, 4, nothing_new))
    >>> told[0].done
    2
    """
    call = on_progress or _ignore
    if not progress:
        yield call
        return
    from tqdm.auto import tqdm  # for speed alone: in a notebook it imports widgets

    alone = os.environ.get("RANK", "0") == "0"  # under torchrun, only the first rank shows a bar
    shown = {"bar_format": "{percentage:3.0f} % |{bar:20}| {desc}"} if unit == PERCENT else {"unit": f" {unit}"}
    with tqdm(total=total, disable=not alone, leave=False, **shown) as bar:

        def move(now: Progress[Partial]) -> None:
            bar.total = now.total
            put = bar.set_description_str if unit == PERCENT else bar.set_postfix_str
            put(now.words, refresh=now.done == bar.n)  # an update draws the bar only if it moves
            bar.update(now.done - bar.n)
            call(now)

        yield move


def _ignore(progress: Progress[Any]) -> None:
    """Tell nobody."""
