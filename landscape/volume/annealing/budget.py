"""The budget of a run of annealed chains, turned once into a number of chains and temperatures."""

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
PILOTS = 2 / 3  # share of a budget that the pilots may use up if rays can take the place of chains
FEWEST_RAYS, MOST_RAYS = 100, 10_000  # rays in the place of chains
_LEFT_FOR_RAYS = 0.1  # share of a budget that rays in the place of chains may use in any case
_MOVE = 0.6  # share of the pilot's cost at a target that moves take; the rest goes into finding out how to move
_MIXING = 4.0  # a rule of thumb: with chains it takes so much longer to settle than with independent draws
_WORK = 1.5  # half and full effort over full effort
_TEXT = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?)?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


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

    def used(self, cost: Cost) -> float:
        """Return the share of the budget that is spent."""
        return max(cost.seconds / self.seconds, cost.evaluations / self.passes)

    def left(self, cost: Cost, least: float = 0.0) -> float:
        """Return how many full passes over the data are left, at the speed so far.

        Args:
            cost: spent so far.
            least: share of the budget that counts as left in any case.
        """
        whole = self.passes if math.isfinite(self.passes) else self.seconds * cost.evaluations / max(cost.seconds, 1e-9)
        return max(1 - self.used(cost), least) * whole

    def rays(self, cost: Cost, each: float) -> int:
        """Return how many rays the rest of the budget pays for, but at least a tenth of it; 0 if these are too few.

        It depends on the cost alone and not on a clock, so a continued run comes to the same number.

        Args:
            cost: spent so far.
            each: full passes over the data per ray.

        >>> Budget(passes=10_000).rays(Cost(7_000, 0, 1.0), 5.0), Budget(passes=10_000).rays(Cost(10_500, 0, 1.0), 5.0)
        (600, 200)
        """
        count = int(self.left(cost, _LEFT_FOR_RAYS) / max(each, 1.0))
        return min(count, MOST_RAYS) if count >= FEWEST_RAYS else 0

    def plan(self, pilot: Chains) -> tuple[int, int]:
        """Return the number of chains, and of temperatures K at full effort, that the rest of the budget pays for.

        A temperature of a chain costs as much as in the pilot, and half and full effort take 1.5 K of them per cutoff.
        The gains have the standard deviation L / K, with L the length of the pilot's path. So the log-weights at half
        effort have the variance 2 L² / K if every draw is new. There are 32 chains if that leaves enough temperatures
        to settle. Otherwise there are 16, the fewest for a verdict ``reliable``, and twice the temperatures.

        Args:
            pilot: the chains after the pilots of all cutoffs.
        """
        paths = [_length_and_cost(pilot, cutoff) for cutoff in range(len(pilot.cutoffs))]
        cost = sum(cost for _, cost in paths)
        left = self.left(pilot.cost)
        needed = 2 * _MIXING * max(length for length, _ in paths) ** 2
        for chains in (MANY_CHAINS, FEW_CHAINS):
            temperatures = left / (_WORK * chains * max(cost, 1.0))
            if temperatures >= needed:
                break
        return chains, int(np.clip(temperatures, FEWEST, MOST))


def _length_and_cost(pilot: Chains, cutoff: int) -> tuple[float, float]:
    """Return the length of the path of one cutoff, and evaluations per chain and temperature, averaged along it."""
    names = ("log_weight_increment_sd", "evaluations", "hmc_gain", "outer_radius")
    increment_sd, evaluations, hmc_gain, outer_radius = (pilot.column(name, cutoff, "pilot") for name in names)
    evaluations, by_growth = np.nan_to_num(evaluations), np.isfinite(outer_radius)
    if by_growth.any():  # steps on an earlier path do not count; the pilot tries little at a target
        limits = [wanted(step, "growth") for step in range(int(by_growth.sum()))]
        increment_sd, evaluations = np.minimum(increment_sd[by_growth], limits), evaluations[by_growth]
    else:
        evaluations = np.where(hmc_gain > 0, _MOVE, 1.0) * evaluations
    length = float(increment_sd.sum())
    return length, float((increment_sd * evaluations).sum() / length) if length > 0 else float(evaluations.mean())
