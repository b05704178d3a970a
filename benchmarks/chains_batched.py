"""A move of 32 chains in one batch, next to the same moves one chain at a time.

python -m benchmarks.chains_batched
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

import landscape as ls
from benchmarks.bodies import build
from benchmarks.nets import mlp
from benchmarks.page import print_section
from benchmarks.timing import paired
from landscape.rays import make_metric
from landscape.volume.annealing.moves import hmc_move, slice_move
from landscape.volume.annealing.points import Points, sphere, typical
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import normals, stream
from landscape.volume.annealing.targets import RadiusTarget
from landscape.volume.ray_weights.measure import make_measure

CHAINS = 32


def body_of(objective: ls.Objective, metric: str, rise: float, first_step: float) -> StarBody:
    """Return the basin below a rise over the centre."""
    scale = make_metric(metric, objective.theta, objective.scope)
    return StarBody(
        objective,
        scale,
        make_measure(objective, scale),
        criterion="loss",
        cutoff=objective.centre + rise,
        centre=objective.centre,
        max_radius=math.inf,
        rtol=1e-4,
        step_ratio=2.0,
        first_step=first_step,
    )


def cases() -> Iterator[tuple[str, StarBody]]:
    """Yield bodies: an ellipsoid, and a net of the size of the swiss-roll nets with its 200 points."""
    yield "ellipsoid, n = 2,000", body_of(build("ellipsoid2000").objective, "identity", 0.1, 1.0)
    torch.manual_seed(0)
    inputs = torch.randn(200, 2)
    net = ls.Objective(mlp([2, 32, 32, 32, 2]), (inputs, (inputs[:, 0] > 0).long()), "cross_entropy")
    yield f"MLP, n = {net.dimension:,}", body_of(net, "filter", 0.1, 0.1)


def lines() -> Iterator[str]:
    """Yield the table."""
    torch.set_num_threads(1)
    yield f"{CHAINS} chains in one batch next to one chain at a time, one move each. Medians of paired runs."
    yield "`python -m benchmarks.chains_batched`"
    yield ""
    yield "| body | move | batch, ms | one by one, ms | times faster (range) |"
    yield "|---|---|---|---|---|"
    for name, body in cases():
        streams = [stream(0, chain, 0, 0) for chain in range(CHAINS)]
        phi = sphere(normals(streams, torch.empty(CHAINS, body.dimension, dtype=torch.float64)))
        with body.objective.running():
            points = body.points_at(phi)
            target = RadiusTarget(body, 0.5 * body.dimension, typical(points.log_radius))
            for kind in ("slice", "hmc"):
                pair = paired(
                    partial(move, kind, target, points, [[chain] for chain in range(CHAINS)]),
                    partial(move, kind, target, points, [list(range(CHAINS))]),
                    runs=7,
                )
                a, b = (1000 * sorted(times)[len(times) // 2] for times in (pair.a, pair.b))
                low, high = pair.spread
                yield f"| {name} | {kind} | {b:,.0f} | {a:,.0f} | {pair.ratio:.1f} ({low:.1f} to {high:.1f}) |"


def move(kind: str, target: RadiusTarget, points: Points, batches: list[list[int]]) -> None:
    """Make one move with the chains of each batch."""
    for chains in batches:
        streams, chosen = [stream(1, chain, 0, 0) for chain in chains], points.take(np.array(chains))
        if kind == "slice":
            slice_move(target.body, chosen, target.power, 0.5, streams, target.guess)
        else:
            hmc_move(target, chosen, 0.01, 5, streams)


if __name__ == "__main__":
    print_section(__doc__, lambda: list(lines()))
