"""What torch allocates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def most_allocated(work: Callable[[], object]) -> int:
    """Return the largest number of bytes that torch holds at a time beyond those at the start."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    results: Any = profile.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())
