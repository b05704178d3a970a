"""The path from uniform directions to r^n as the pilot found it, frozen, so that the weights stay unbiased.

A production run takes K targets at equal distances along the pilot's path, so each step has about the same divergence.
Whatever a move needs is interpolated between pilot steps. The run uses other random numbers than the pilot, and never
changes the schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.volume.annealing.pilot import TRAJECTORIES, PilotStep, TrajectorySettings, wanted
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.targets import RadiusTarget, Ray, SoftTarget, Target


@dataclass(frozen=True)
class Move:
    """A target on the way, and how to move under it.

    Attributes:
        target: the density.
        hmc: whether by Hamiltonian trajectories; otherwise by slices.
        step, time: of a leapfrog step and of a trajectory.
        width: of a slice's arc, radians.
        trajectories: settings of the trajectories.
        resampling: whether chains with little weight may give way to others.
    """

    target: Target
    hmc: bool
    step: float
    time: float
    width: float
    trajectories: TrajectorySettings
    resampling: bool = False


class Schedule:
    """The K + 1 frozen targets of one run, from uniform directions to r^n.

    Args:
        body: whose radius it is.
        ray: where the soft path reads a ray.
        pilot_steps: what the pilot learnt, all on one path.
        count: K.
    """

    def __init__(self, body: StarBody, ray: Ray, pilot_steps: list[PilotStep], count: int) -> None:
        self._body, self._ray, self._pilot_steps = body, ray, pilot_steps
        steps = [min(step.log_weight_increment_sd, wanted(i, step.path)) for i, step in enumerate(pilot_steps)]
        length = np.cumsum(steps)
        rows = np.arange(len(pilot_steps))
        if length[-1] > 0:
            self._places = np.interp(np.linspace(0, length[-1], count + 1), length, rows)
        else:
            self._places = np.linspace(0, rows[-1], count + 1)
        self._places[-1] = rows[-1]
        names = ("step", "time", "width", "hmc_gain", "slice_gain")
        self._table = {name: _smooth(self._column(name)[1:]) for name in names}
        self._guess = {name: self._column(name) for name in ("log_radius", "log_radius_spread")}

    def __len__(self) -> int:
        return len(self._places) - 1

    def move(self, k: int) -> Move:
        """Return the k-th target and how to move there."""
        place, known = self._places[k], np.arange(len(self._pilot_steps))
        at = {name: float(np.interp(place, known[1:], row)) for name, row in self._table.items()}
        t = float(np.interp(place, known, self._column("inverse_temperature")))
        path = self._pilot_steps[0].path
        if path != "radius":
            outer_radius = self._outer_radius(place) if path == "growth" else None
            penalty = self._penalty(place) if outer_radius is None else self._pilot_steps[0].penalty
            target: Target = SoftTarget(self._body, self._ray, penalty, t, outer_radius)
            return Move(target, True, at["step"], at["time"], 0.0, TRAJECTORIES[path], path == "growth")
        guess = {name: float(np.interp(place, known, row)) for name, row in self._guess.items()}
        target = RadiusTarget(self._body, t * self._body.dimension, (guess["log_radius"], guess["log_radius_spread"]))
        hmc = at["step"] > 0 and at["hmc_gain"] >= at["slice_gain"]
        return Move(target, hmc, at["step"], at["time"], at["width"], TRAJECTORIES[path])

    def _column(self, name: str) -> np.ndarray:
        return np.array([getattr(step, name) for step in self._pilot_steps])

    def _outer_radius(self, place: float) -> float:
        return float(np.exp(np.interp(place, np.arange(len(self._pilot_steps)), np.log(self._column("outer_radius")))))

    def _penalty(self, place: float) -> float:
        """Return b at a place between pilot steps: linear up to the first increase, then linear in log b."""
        row = self._column("penalty")
        if place < 1:
            return float(place * row[1])
        return float(np.exp(np.interp(place, np.arange(1, len(row)), np.log(row[1:]))))


def _smooth(row: np.ndarray) -> np.ndarray:
    """Return the median of each value and its two neighbours on either side, which removes outliers."""
    return np.array([np.median(row[max(i - 2, 0) : i + 3]) for i in range(len(row))])
