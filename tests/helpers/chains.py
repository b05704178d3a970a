"""Star bodies and moves on the sphere, as the chains of annealed runs use them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

import landscape as ls
from landscape.rays import make_metric
from landscape.results import Chains
from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.annealing.moves import Moved, hmc_move, slice_move
from landscape.volume.annealing.points import Points
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import stream
from landscape.volume.annealing.targets import RadiusTarget
from landscape.volume.ray_weights.measure import make_measure

STIFF = np.geomspace(1, 1e4, 12)  #: curvatures of a narrow ellipsoid
Move = Callable[[StarBody, Points, float, list[np.random.Generator]], Moved]


def body_of(
    objective: ls.Objective,
    cutoff: float,
    max_radius: float = math.inf,
    first_step: float = 0.2,
    preconditioner: LinearMap | None = None,
) -> StarBody:
    """The basin in the coordinates of the parameters, or in those of a preconditioner."""
    metric = make_metric("identity", objective.theta, objective.scope)
    return StarBody(
        objective,
        metric,
        make_measure(objective, metric),
        criterion="loss",
        cutoff=cutoff,
        centre=objective.centre,
        max_radius=max_radius,
        rtol=1e-5,
        step_ratio=2.0,
        first_step=first_step,
        preconditioner=preconditioner,
    )


def skew(n: int) -> LinearMap:
    """Two factors that do not commute, so that A is not symmetric."""
    rng = np.random.default_rng(0)
    linear_map = LinearMap.identity(torch.zeros(n))
    for _ in range(2):
        vectors = torch.from_numpy(np.linalg.qr(rng.normal(size=(n, 2)))[0])
        linear_map = linear_map.compose(vectors, torch.from_numpy(rng.uniform(0.3, 2.0, size=2)))
    return linear_map


def sliding(width: float) -> Move:
    return lambda body, points, power, streams: slice_move(body, points, power, width, streams)


def flying(radius: float, step: float, count: int) -> Move:
    def move(body: StarBody, points: Points, power: float, streams: list[np.random.Generator]) -> Moved:
        return hmc_move(RadiusTarget(body, power, (math.log(radius), math.inf)), points, step, count, streams)

    return move


MOVES = {
    "slice, whole circle": sliding(2 * math.pi),
    "slice, short arc": sliding(0.9),
    "hmc": flying(0.6, 0.15, 5),
    "hmc in steps that are often refused": flying(0.1, 0.4, 3),
}


def run_move(body: StarBody, move: Move, power: float, steps: int, start: np.ndarray) -> list[Points]:
    """The chains after every step. They start in the target, so that no step is spent on getting there."""
    with body.objective.running():
        points, kept = body.points_at(torch.from_numpy(start)), []
        for step in range(steps):
            points = move(body, points, power, [stream(11, chain, 0, step) for chain in range(len(start))]).points
            kept.append(points)
    return kept


def assert_same_chains(one: Chains, other: Chains) -> None:
    """Assert that two runs measured the same to the last bit, at the same cost."""
    for name, array in one.arrays().items():
        assert array.tobytes() == getattr(other, name).tobytes(), name
    assert {**one.attributes(), "cost": 0} == {**other.attributes(), "cost": 0}
    assert (one.cost.calls, one.cost.evaluations) == (other.cost.calls, other.cost.evaluations)
