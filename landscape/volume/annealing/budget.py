"""How much a run of annealed chains may cost, turned once into a number of chains and temperatures."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Chains, Cost
from landscape.volume.annealing.pilot import wanted

FEW_CHAINS, MANY_CHAINS = 16, 32
FEWEST, MOST = 4, 100_000  # temperatures
PILOTS = 2 / 3  # of a budget: what the pilots may use up where rays can take the place of chains
FEWEST_RAYS, MOST_RAYS = 100, 10_000  # rays in the place of chains
_TENTH = 0.1
_MOVE = 0.6  # of what the pilot spends at a target: the rest goes into finding out how to move
_MIXING = 4.0  # how much longer than with independent draws it takes to settle: a rule of thumb
_WRITTEN = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?)?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """A limit on seconds or on full passes over the data; the other is infinite.

    Attributes:
        seconds: wall-clock time.
        passes: full passes over the data.
    """

    seconds: float = math.inf
    passes: float = math.inf

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Return the budget that a text such as ``300s``, ``5min``, ``1h`` or ``20000`` (passes) names.

        Raises:
            LandscapeError: where it names none, or nothing.

        >>> Budget.parse("5min"), Budget.parse(20000)
        (Budget(seconds=300.0, passes=inf), Budget(seconds=inf, passes=20000.0))
        """
        match = _WRITTEN.fullmatch(str(text).strip())
        amount = float(match[1]) if match else 0.0
        if match is None or not 0 < amount < math.inf:
            raise LandscapeError(
                f"Invalid budget {str(text)!r}: expected a time such as 5min, or a number of passes over the data such "
                "as 20000."
            )
        unit = match[2]
        return cls(passes=amount) if unit is None else cls(seconds=amount * _SECONDS[unit[0].lower()])

    def used(self, cost: Cost) -> float:
        """Return the share of it that is spent."""
        return max(cost.seconds / self.seconds, cost.evaluations / self.passes)

    def left(self, cost: Cost, least: float = 0.0) -> float:
        """Return the full passes over the data that the rest of it is good for, at the speed so far.

        Args:
            cost: what is spent.
            least: share of the budget that counts as left in any case.
        """
        whole = self.passes if math.isfinite(self.passes) else self.seconds * cost.evaluations / max(cost.seconds, 1e-9)
        return max(1 - self.used(cost), least) * whole

    def rays(self, cost: Cost, each: float) -> int:
        """Return how many rays the rest of it is good for, or a tenth of it where less is left; none where too few.

        It depends on what is spent alone, and on no clock: a run that is continued comes to the same number.

        Args:
            cost: what is spent.
            each: full passes over the data that a ray takes.

        >>> Budget(passes=10_000).rays(Cost(7_000, 0, 1.0), 5.0), Budget(passes=10_000).rays(Cost(10_500, 0, 1.0), 5.0)
        (600, 200)
        """
        count = int(self.left(cost, _TENTH) / max(each, 1.0))
        return min(count, MOST_RAYS) if count >= FEWEST_RAYS else 0

    def plan(self, pilot: Chains) -> tuple[int, int]:
        """Return how many chains, and temperatures for the run of full effort, the rest of the budget is good for.

        A temperature of a chain costs what it cost the pilot, and the runs of half and of full effort take 1.5 K of
        them for each cutoff. With gains of standard deviation L / K, L the length of the pilot's path, the log-weights
        at half effort vary by 2 L² / K if every draw is new. There are 32 chains where that leaves enough temperatures
        to settle, and otherwise 16, the fewest that a verdict ``reliable`` takes, with twice the temperatures.

        Args:
            pilot: the chains after the pilots of all cutoffs.
        """
        ways = [_way(pilot, column) for column in range(len(pilot.cutoffs))]
        move = sum(cost for _, cost in ways)
        left = self.left(pilot.cost)
        needed = 2 * _MIXING * max(length for length, _ in ways) ** 2
        for chains in (MANY_CHAINS, FEW_CHAINS):
            temperatures = left / (1.5 * chains * max(move, 1.0))
            if temperatures >= needed:
                break
        return chains, int(np.clip(temperatures, FEWEST, MOST))


def _way(pilot: Chains, column: int) -> tuple[float, float]:
    """Return the length of the path of one cutoff, and evaluations for one chain at one temperature, mean along it."""
    names = ("log_weight_increment_sd", "evaluations", "hmc_gain", "outer_radius")
    increment_sd, spent, flown, outer_radius = (pilot.column(name, column, "pilot") for name in names)
    grown, spent = np.isfinite(outer_radius), np.nan_to_num(spent)
    if grown.any():  # what another path taught before is not taken; little is tried at a target
        increment_sd = np.minimum(increment_sd[grown], [wanted(i, "growth") for i in range(int(grown.sum()))])
        spent = spent[grown]
    else:
        spent = np.where(flown > 0, _MOVE, 1.0) * spent
    length = float(increment_sd.sum())
    return length, float((increment_sd * spent).sum() / length) if length > 0 else float(spent.mean())
