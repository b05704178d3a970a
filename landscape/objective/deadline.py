"""A deadline for passes over the data: no batch of a pass begins after it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from landscape import distributed
from landscape.errors import OutOfBudget

BUDGET = "2min"  #: of a volume, by default

_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let no batch begin in this block once so many seconds are over. An earlier deadline around it stays.

    Args:
        seconds: from now on; infinite for no deadline.

    >>> with deadline(60.0), deadline(3600.0):
    ...     50 < seconds_left() <= 60
    True
    """
    token = _until.set(min(_until.get(), time.perf_counter() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def seconds_left() -> float:
    """Return the seconds until the deadline on the first rank, on all ranks; infinite if there is none.

    >>> seconds_left()
    inf
    """
    until = _until.get()
    return until if math.isinf(until) else distributed.from_first(lambda: until - time.perf_counter())


def check_deadline(*, together: bool) -> None:
    """End the work of a batch that would begin after the deadline.

    Args:
        together: whether all ranks begin this batch together. Otherwise a rank stops alone, and the exchange of results
            that follows stops the others.

    Raises:
        OutOfBudget: if the deadline is over.
    """
    until = _until.get()
    if math.isinf(until):
        return
    if seconds_left() <= 0 if together else time.perf_counter() >= until:
        raise OutOfBudget
