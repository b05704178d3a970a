"""Paired timings: two calls in turn, so that a drift in the speed of the machine affects both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Seconds of A and of B, run in turn, and the ratio pair by pair."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of A / B over the pairs."""
        return statistics.median(x / y for x, y in zip(self.a, self.b, strict=True))

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio."""
        ratios = [x / y for x, y in zip(self.a, self.b, strict=True)]
        return min(ratios), max(ratios)


def seconds(call: Callable[[], object]) -> float:
    """Return the wall-clock time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def paired(a: Callable[[], object], b: Callable[[], object], *, runs: int = 9, warmup: int = 2) -> Pair:
    """Time A and B in turn, the order swapped each time."""
    for _ in range(warmup):
        a(), b()
    first, second = [], []
    for run in range(runs):
        if run % 2:
            second.append(seconds(b))
            first.append(seconds(a))
        else:
            first.append(seconds(a))
            second.append(seconds(b))
    return Pair(tuple(first), tuple(second))
