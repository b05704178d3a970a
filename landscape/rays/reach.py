"""Which cutoffs the loss reaches inside the cap: if few rays reach a cutoff, its basin is nearly the whole ball."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from landscape.objective import Objective
from landscape.rays.entry_directions import AnyMetric, random_directions
from landscape.rays.march import cap_of

RAYS = 16  #: most rays that are tried
MOST = 0.9  #: share of the rays that has to reach a suggested cutoff
_SHARES = np.array([1 / 8, 1 / 4, 1 / 2, 1.0])  # radii that are tried, over the cap
_SECONDS = 5.0  # after this time no further ray begins
_LOW, _HIGH = (0.05, 0.25), (0.25, 0.75)  # where suggested cutoffs lie between the centre and what most rays reach


@dataclass(frozen=True)
class Reach:
    """How high the criterion rises along random rays, up to the cap.

    Attributes:
        centre: the criterion at the trained point.
        cap: the largest radius that was tried, in metric units.
        highest: the largest value along each ray, shape (rays,); infinite if the loss was NaN or infinite.
        seconds: time of an evaluation; NaN if it was not measured.
    """

    centre: float
    cap: float
    highest: np.ndarray
    seconds: float = math.nan

    def count(self, cutoff: float) -> int:
        """Return how many of the rays reach a cutoff inside the cap."""
        return int((self.highest >= cutoff).sum())

    def enough(self, cutoff: float) -> bool:
        """Return whether most rays reach a cutoff inside the cap."""
        return self.count(cutoff) >= MOST * len(self.highest)

    def suggested(self) -> tuple[float, ...]:
        """Return a low and a high cutoff, round numbers that most rays reach; none if no cutoff is reached so often.

        >>> Reach(0.0, 1.0, np.array([2.0, 2.2, 2.4])).suggested()
        (0.3, 1.0)
        """
        fewest = math.ceil(MOST * len(self.highest))
        top = float(np.sort(self.highest)[-fewest])
        if math.isinf(top):
            finite = self.highest[np.isfinite(self.highest)]
            top = float(finite.max()) if len(finite) else self.centre + max(1.0, abs(self.centre))
        rise = top - self.centre
        if rise <= 0:
            return ()
        return tuple(roundest(self.centre + low * rise, self.centre + high * rise) for low, high in (_LOW, _HIGH))


def reach(
    objective: Objective,
    metric: AnyMetric,
    *,
    criterion: str = "loss",
    max_radius: float | None = None,
    seed: int = 0,
    rays: int = RAYS,
) -> Reach | None:
    """Evaluate the criterion at an eighth, a quarter, a half and all of the cap, along uniform random rays.

    A search looks at other points of a ray too, so more rays may cross a cutoff than are counted here. The radii of a
    large model are right to about 1e-4, since the exact length of its directions would take as long as their points.

    Args:
        objective: the loss around the trained point.
        metric: the unit of the cap.
        criterion, max_radius, seed: as for :func:`landscape.basin_radii`.
        rays: how many at most; after 5 seconds no further ray begins, and no further point of a ray if points
            run one at a time.

    Returns:
        how high each ray rises, or None if there is no cap.
    """
    cap = cap_of(max_radius, metric)
    if math.isinf(cap):
        return None
    directions = random_directions(objective, metric, seed, rough=True)
    centre, block = objective.centre_of(criterion), max(1, objective.plan.lanes // len(_SHARES))
    # a slow point can take all the time that there is: the cap says most, so it comes first, and alone
    groups = [_SHARES] if objective.plan.lanes > 1 else [_SHARES[i : i + 1] for i in range(len(_SHARES) - 1, -1, -1)]
    started, spent, evaluations, highest = time.perf_counter(), 0.0, 0, []
    with objective.running():
        for first in range(0, rays, block):
            steps = directions.steps(list(range(first, min(first + block, rays))))
            heights = np.full(len(steps), -np.inf)
            for shares in groups:
                began = time.perf_counter()
                rows = np.repeat(np.arange(len(steps)), len(shares))
                radii = np.tile(cap * shares, len(steps))
                values = objective.along(steps, radii, rows=rows, criterion=criterion).values
                values = np.where(np.isfinite(values), values, np.inf).reshape(len(steps), -1)
                heights = np.maximum(heights, values.max(axis=1))
                spent, evaluations = spent + time.perf_counter() - began, evaluations + len(rows)
                if time.perf_counter() - started > _SECONDS:
                    break
            highest.extend(heights.tolist())
            if time.perf_counter() - started > _SECONDS:
                break
    return Reach(centre, cap, np.array(highest), spent / max(evaluations, 1))


def roundest(low: float, high: float) -> float:
    """Return the number of fewest digits strictly between two numbers, near their middle.

    >>> roundest(0.0, 0.1), roundest(11.02, 11.1), roundest(0.3, 1.1)
    (0.05, 11.06, 0.7)
    """
    middle = (low + high) / 2
    candidates = (float(f"{middle:.{digits}g}") for digits in range(1, 17))
    return next((value for value in candidates if low < value < high), middle)
