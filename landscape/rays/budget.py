"""What a run may cost: a time, or a number of full passes over the data; and uniform rays for a share of it.

A time is a deadline. Stages end once the time is over. A stage that is then in the middle of something is cut soon
after, between two batches of a pass, and what is not whole is lost.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from landscape import distributed
from landscape.errors import LandscapeError, OutOfBudget
from landscape.objective.deadline import deadline
from landscape.results import NOTHING, Cost, OnProgress, Progress, Radii

RAYS = 1 / 4  #: share of a budget that uniform rays may cost
FEWEST_RAYS = 16  # that are measured for more than the share, if the budget has room for them
_GRACE = 1.1  # of a time: when no batch of a pass may begin any more
_PASSES = 30.0  # over the data that settle a grid by one ray and measure one more
_FINE = 60.0  # seconds up to which a proposed time is a multiple of 5 s

_TEXT = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?)?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class TooLittleTime(LandscapeError):
    """A time was over before anything could be measured."""


@dataclass(frozen=True)
class Budget:
    """A limit on seconds or on full passes over the data; the other one is infinite.

    Attributes:
        seconds: wall-clock time.
        passes: full passes over the data.
    """

    seconds: float = math.inf
    passes: float = math.inf

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Return the budget of a text such as ``300s``, ``5min``, ``1h`` or ``20000`` (passes).

        Raises:
            LandscapeError: if the text is no budget, or a budget of nothing.

        >>> Budget.parse("5min"), Budget.parse(20000)
        (Budget(seconds=300.0, passes=inf), Budget(seconds=inf, passes=20000.0))
        """
        match = _TEXT.fullmatch(str(text).strip())
        amount = float(match[1]) if match else 0.0
        if match is None or not 0 < amount < math.inf:
            raise LandscapeError(f"Invalid budget {str(text)!r}: expected a time such as 5min, or a number of passes.")
        unit = match[2]
        return cls(passes=amount) if unit is None else cls(seconds=amount * _SECONDS[unit[0].lower()])

    def times(self, factor: float) -> Self:
        """Return a budget of so many times as much."""
        return replace(self, seconds=factor * self.seconds, passes=factor * self.passes)

    def used(self, cost: Cost) -> float:
        """Return the share of the budget that is spent."""
        return max(cost.seconds / self.seconds, cost.evaluations / self.passes)

    def passes_at(self, speed: float) -> float:
        """Return the budget in passes, if a time is spent at so many passes a second."""
        return self.passes if math.isfinite(self.passes) else self.seconds * speed

    def deadline(self, late: float = 0.0) -> AbstractContextManager[None]:
        """Return a context in which no batch of a pass begins once a time is over by a tenth.

        Args:
            late: seconds of the time that are gone already.
        """
        return deadline(_GRACE * self.seconds - late)


def speed_of(cost: Cost, before: Cost = NOTHING) -> float:
    """Return the passes a second that were made since an earlier cost.

    >>> speed_of(Cost(900.0, 9, 3.0), before=Cost(100.0, 1, 1.0))
    400.0
    """
    return (cost.evaluations - before.evaluations) / max(cost.seconds - before.seconds, 1e-9)


class _Enough(Exception):
    """The rays have cost what they may."""


def radii_within(
    budget: Budget,
    share: float,
    measure: Callable[[OnProgress[Radii]], Radii],
    on_progress: OnProgress[Radii] | None = None,
    known: Radii | None = None,
) -> Radii:
    """Return the rays that a measurement finishes before a share of a budget is spent; at least 16, if it has so many.

    A budget in passes cuts the rays at one ray, whatever the size of the blocks in which they are measured. There 16
    rays are measured whatever they cost. If the budget is a time, they end with it.

    Args:
        budget, share: what the rays may cost.
        measure: calls :func:`landscape.basin_radii` with the ``on_progress`` that it gets.
        on_progress: called after every block of rays too.
        known: rays of an earlier run that the measurement continues.

    Raises:
        TooLittleTime: if a time is over before the first ray is finished.

    >>> import torch
    >>> from landscape.objective import Objective
    >>> from landscape.rays import basin_radii
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> rays = radii_within(
    ...     Budget(passes=2_000),
    ...     1 / 4,
    ...     lambda call: basin_radii(bowl, [1.0], metric="identity", directions=9_000, on_progress=call),
    ... )
    >>> rays.cost.evaluations < 520
    True
    """
    latest: list[Radii] = [] if known is None else [known]
    started = time.perf_counter()

    def report(progress: Progress[Radii]) -> None:
        latest[:] = [progress.snapshot()]
        if on_progress is not None:
            on_progress(progress)
        used = distributed.from_first(lambda: budget.used(latest[0].cost))
        late = used >= 1 and math.isfinite(budget.seconds)
        if late or (used >= share and progress.done >= FEWEST_RAYS):
            raise _Enough

    try:
        with budget.deadline():
            radii = measure(report)
    except _Enough:
        (radii,) = latest
    except OutOfBudget as cut:
        if not latest:
            raise too_little_time(cut.passes, time.perf_counter() - started) from None
        (radii,) = latest
    return _affordable(radii, budget, share)


def too_little_time(passes: float, seconds: float) -> TooLittleTime:
    """Return the error that says what the first ray costs and which budget has room for it.

    Args:
        passes: over the data that were finished.
        seconds: that they took.

    >>> print(too_little_time(10.0, 20.0))
    The budget was used up before one ray was finished: 10 passes over the data took 20 s. The first rays take about 30.
    Pass `budget=2min`, or a longer one.
    """
    each = seconds / max(passes, 1.0)
    # a command may count the time in which it loads as half of the budget
    wanted = 2 * _PASSES * each
    proposed = f"{5 * math.ceil(wanted / 5)}s" if wanted <= _FINE else f"{math.ceil(wanted / 60)}min"
    took = f"{passes:,.0f} passes over the data took" if passes >= 1 else "one pass over the data takes more than"
    return TooLittleTime(
        f"The budget was used up before one ray was finished: {took} {seconds:.3g} s. The first rays take about "
        f"{_PASSES:.0f}.\nPass `budget={proposed}`, or a longer one."
    )


def _affordable(radii: Radii, budget: Budget, share: float) -> Radii:
    """Return the first rays, up to the one at which a budget in passes is spent."""
    measured = int(np.argmin(np.append(radii.done, False)))  # the first that is not
    if math.isfinite(budget.passes):
        spent = radii.pilot.evaluations + np.cumsum(radii.evaluations[:measured])
        enough = 1 + int(np.searchsorted(spent, share * budget.passes))
        measured = min(measured, max(enough, FEWEST_RAYS))
    return radii if measured == radii.directions else radii.first(measured)
