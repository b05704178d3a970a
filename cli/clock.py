"""When this command began. A budget of time is a deadline, so what comes before the first measurement counts too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_began: list[float] = []


@contextmanager
def running() -> Iterator[None]:
    """Run the clock while a command works, from before anything slow is imported."""
    _began[:] = [time.perf_counter()]
    try:
        yield
    finally:
        _began.clear()


def elapsed() -> float:
    """Return the seconds since the command began; 0 if none began through ``main``.

    >>> elapsed()
    0.0
    """
    return time.perf_counter() - _began[0] if _began else 0.0
