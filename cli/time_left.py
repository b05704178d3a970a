"""What is left of a budget of time: the command has taken some of it before the first measurement."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

from landscape.distributed import from_first
from landscape.rays.budget import Budget
from landscape_cli.clock import elapsed


def gone(budget: str) -> float:
    """Return the seconds of a time that the command has taken so far, at most half of it."""
    return min(from_first(elapsed), Budget.parse(budget).seconds / 2)


def remaining(budget: str) -> str:
    """Return what is left of a budget now.

    >>> remaining("1min"), remaining("5000")
    ('60.000s', '5000')
    """
    seconds = Budget.parse(budget).seconds
    return budget if math.isinf(seconds) else f"{seconds - gone(budget):.3f}s"


def deadline_of(budget: str) -> AbstractContextManager[None]:
    """Return the context in which a command measures until a time is over."""
    return Budget.parse(budget).deadline(gone(budget))
