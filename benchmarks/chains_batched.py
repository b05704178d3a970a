"""A move of 32 chains in one batch beside the same moves one chain at a time: python -m benchmarks.chains_batched"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

import landscape as ls
from benchmarks.bodies import CUTOFF, rotated_ellipsoid
from benchmarks.nets import mlp
from benchmarks.timing import paired
from landscape.rays import make_metric
from landscape.volume.annealing.moves import hmc_move, slice_move
from landscape.volume.annealing.points import sphere, typical
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import normals, stream
from landscape.volume.annealing.targets import RadiusTarget
from landscape.volume.ray_weights.measure import make_measure

CHAINS = 32


def body_of(objective: ls.Objective, metric: str, rise: float, first_step: float) -> StarBody:
    """Return the basin below a rise over the centre."""
    made = make_metric(metric, objective.theta, objective.scope)
    settings = {"max_radius": math.inf, "rtol": 1e-4, "step_ratio": 2.0, "first_step": first_step}
    centre = objective.centre
    return StarBody(
        objective,
        made,
        make_measure(objective, made),
        criterion="loss",
        cutoff=centre + rise,
        centre=centre,
        **settings,
    )


def cases() -> Iterator[tuple[str, StarBody]]:
    """Yield bodies: an ellipsoid, and a net of the size of the swiss-roll nets with its 200 points."""
    yield "ellipsoid, n = 2,000", body_of(rotated_ellipsoid(2000)[0], "identity", CUTOFF, 1.0)
    torch.manual_seed(0)
    inputs = torch.randn(200, 2)
    net = ls.Objective(mlp([2, 32, 32, 32, 2]), (inputs, (inputs[:, 0] > 0).long()), "cross_entropy")
    yield f"MLP, n = {net.dimension:,}", body_of(net, "filter", 0.1, 0.1)


def lines() -> Iterator[str]:
    """Yield the table."""
    torch.set_num_threads(1)
    yield f"{CHAINS} chains in one batch beside one at a time, a move each, medians of pairs of runs."
    yield "`python -m benchmarks.chains_batched`"
    yield ""
    yield "| body | move | batch, ms | one by one, ms | times faster (range) |"
    yield "|---|---|---|---|---|"
    for name, body in cases():
        streams = [stream(0, chain, 0, 0) for chain in range(CHAINS)]
        phi = sphere(normals(streams, torch.empty(CHAINS, body.dimension, dtype=torch.float64)))
        with body.objective.running():
            points = body.points_at(phi)
            guess, power = typical(points.log_radius), 0.5 * body.dimension
            target = RadiusTarget(body, power, guess)

            def move(kind: str, rows: list[int], body: StarBody = body, points=points, target=target) -> None:
                chosen = [stream(1, row, 0, 0) for row in rows]
                some = points.take(rows)
                if kind == "slice":
                    slice_move(body, some, target.power, 0.5, chosen, target.guess)
                else:
                    hmc_move(target, some, 0.01, 5, chosen)

            for kind in ("slice", "hmc"):
                pair = paired(
                    lambda kind=kind: [move(kind, [row]) for row in range(CHAINS)],
                    lambda kind=kind: move(kind, list(range(CHAINS))),
                    runs=7,
                )
                a, b = (1000 * sorted(times)[len(times) // 2] for times in (pair.a, pair.b))
                low, high = pair.spread
                yield f"| {name} | {kind} | {b:,.0f} | {a:,.0f} | {pair.ratio:.1f} ({low:.1f} to {high:.1f}) |"


if __name__ == "__main__":
    print("\n".join(lines()))
