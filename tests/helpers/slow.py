"""Functions that take time by a clock of their own: tests of deadlines need not wait, and give the same on any load."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import landscape as ls

PASS = 0.3  #: seconds of the clock that a point takes by default


@dataclass
class Clock:
    """Seconds that pass only while a slow function is evaluated."""

    now: float = 1000.0


def slow_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock that stands still in the place of the one that budgets read."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def slow_bowl(clock: Clock, n: int = 4, *, lanes: int = 1, seconds: float = PASS, centre: float = 0.0) -> ls.Objective:
    """Return |x - centre|² as an objective of which every point takes some seconds of the clock."""

    def f(x: Tensor) -> Tensor:
        clock.now += seconds * (x.numel() // n)
        return (x - centre).square().sum(-1)

    return ls.Objective.from_function(f, torch.zeros(n, dtype=torch.float64), lanes=lanes)
