"""What a run of islands says while it goes on: the stage, the share of the budget, the estimate and its trend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from landscape.results import Islands, OnProgress, Progress
from landscape.results.progress import nothing_new
from landscape.volume.annealing.verdict import rounds_of
from landscape.volume.ray_weights import statistics as w

_EVERY = 1.0  # seconds between words without news


@dataclass
class Teller:
    """Calls ``on_progress``: whenever there is news, and every second if there is none.

    Attributes:
        on_progress: what to call; None for nothing.
        stage: what is going on, in words.
        known: the estimate so far, in words.
    """

    on_progress: OnProgress[Islands] | None
    stage: str = "uniform rays"
    known: str = ""
    _told: float = -math.inf

    def tell(self, done: int, snapshot: Callable[[], Islands] | None = None) -> None:
        """Say how far the run has come, in hundredths of the budget; with a snapshot if there is news."""
        now = time.monotonic()
        if self.on_progress is not None and (snapshot is not None or now - self._told >= _EVERY):
            self._told = now
            words = "; ".join(part for part in (self.stage, self.known) if part)
            self.on_progress(Progress(done, 100, snapshot or nothing_new, words, news=snapshot is not None))

    def learn(self, islands: Islands, cutoff: int) -> None:
        """Put in words what the whole rounds of a cutoff say so far, and how far the last one has moved it."""
        self.known = f"cutoff {islands.cutoffs[cutoff]:g}" if len(islands.cutoffs) > 1 else ""
        values = [entry.value for entry in rounds_of(islands, cutoff)]
        if not values:
            return
        n, cap = islands.dimension, islands.max_radius
        capped = math.isfinite(cap) and not islands.of_probability
        numbers = [n * math.log(cap) - value if capped else w.log_unit_ball(n) + value for value in values]
        moved = f" ({numbers[-1] - numbers[-2]:+,.1f})" if len(numbers) > 1 else ""
        estimate = f"{numbers[-1]:,.1f} nats below the ball" if capped else f"log V {numbers[-1]:,.1f}"
        self.known = f"{self.known} {estimate}{moved}".strip()
