"""When this command began. A budget of time is a deadline, so what comes before the first measurement counts too."""

from __future__ import annotations

import time

_began: list[float] = []


def begin() -> None:
    """Start the clock, before anything slow is imported."""
    _began[:] = [time.perf_counter()]


def elapsed() -> float:
    """Return the seconds since then; 0 if the command was called by another program.

    >>> elapsed()
    0.0
    """
    return time.perf_counter() - _began[0] if _began else 0.0
