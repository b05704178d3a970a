"""Two starts in learnt coordinates: do chains from elsewhere end where the rays of a proposal say that the volume is?

Coordinates that slopes have taught can hide most of a body, for instance behind walls on one side of theta. Then the
weights of the rays look even, and the verdict ``reliable`` would be wrong. So chains are sent out under the law that
rays of the basin have, m(phi) over uniform ones: from rays drawn by their weights, and from the longest uniform rays.
If the weights tell the truth, the first are at home already, and the others end there too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.rays import RandomDirections
from landscape.rays.streams import Purpose, stream
from landscape.results import Check, Cost, Radii, Volume, VolumeEstimate
from landscape.volume.annealing.islands import difference
from landscape.volume.body.points import normals, sphere
from landscape.volume.body.star_body import StarBody
from landscape.volume.proposals.from_slopes import SlopeDirections
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.measure import Measure

_CHAINS, _MOVES = 32, 8  # from each start
_UNIFORM = 256  # rays, among which the longest are the second start
_MOST_SHRINKS = 40  # then a chain stays where it is
_ERRORS, _SAME = 3.0, 1.0  # standard errors, and nats, that may be chance


def with_second_start(
    volume: Volume, objective: Objective, radii: Radii, rays: SlopeDirections, measure: Measure
) -> Volume:
    """Return the volume, ``reliable`` only where chains from two starts agree with its weights; with their cost.

    Args:
        volume: of these rays.
        objective: the loss around the trained point.
        radii: of the rays.
        rays: their directions.
        measure: what the volume measures.
    """
    rows, spent = list(volume.results), Cost(0.0, 0, 0.0)
    for column, row in enumerate(rows):
        if row.verdict != "reliable":
            continue
        body = StarBody.of(objective, rays.metric, radii, row.cutoff, measure)
        with objective.running():
            shift, error = _shift(body, rays, volume.log_weights[:, column], column)
        rows[column] = _judged(row, shift, max(_ERRORS * error, _SAME))
        spent += Cost(body.spent.evaluations, body.spent.calls, 0.0)
    return replace(volume, results=tuple(rows), cost=volume.cost + spent)


def _judged(row: VolumeEstimate, shift: float, most: float) -> VolumeEstimate:
    """Return a reliable estimate with the condition on its second start, and as a bound if that fails."""
    words = f"chains in the learnt coordinates end {shift:+,.2f} nats away in log-weight; {most:,.2f} may be chance"
    check = Check("second start", shift, most, abs(shift) <= most, words)
    if check.met:
        return replace(row, checks=(*row.checks, check))
    reason = f"{words[0].upper()}{words[1:]}, so these coordinates hide a part of the basin: pass `estimator='auto'`"
    return replace(
        row,
        verdict="lower bound",
        interval=(row.bound, row.upper_bound),
        reasons=(*row.reasons, reason),
        checks=(*row.checks, check),
    )


def _shift(body: StarBody, rays: SlopeDirections, log_weights: np.ndarray, column: int) -> tuple[float, float]:
    """Return by how much log-weights at the ends of the chains differ most from those of the rays, and its error."""
    like = body.objective.theta
    random = stream(Purpose.SECOND_START, rays.seed, column)
    drawn = w.resample(log_weights, float(random.random()))
    some = drawn[np.sort(random.choice(len(drawn), min(_CHAINS, len(drawn)), replace=False))]
    uniform = _phi(body, RandomDirections(rays.metric, rays.seed, like), range(_UNIFORM))
    longest = np.argsort(-body.points_at(uniform).effective_log_radius, kind="stable")[: len(some)]
    starts = torch.cat([_phi(body, rays, some), uniform[torch.as_tensor(longest)]])
    chains = _Chains(body, rays, sphere(rays.preconditioner.invert(starts)))
    home = chains.log_weights[: len(some)].copy()
    for step in range(1, _MOVES + 1):
        chains.move(stream(Purpose.SECOND_START, rays.seed, column, step=step))
    ends = np.split(chains.log_weights, [len(some)])
    return max(
        (difference(end, home) for end in ends), key=lambda found: abs(found[0]) / max(found[1], _SAME / _ERRORS)
    )


def _phi(body: StarBody, rays: SlopeDirections | RandomDirections, indices: Sequence[int] | np.ndarray) -> Tensor:
    """Return directions in metric coordinates, unit vectors of shape (k, n), float64."""
    phi = body.metric.scope.gather(rays.steps([int(index) for index in indices])).double()
    return sphere(phi if body.metric.scale is None else phi / body.metric.scale.double())


class _Chains:
    """Directions y on the unit sphere of the learnt coordinates, with the log-weights of their rays."""

    def __init__(self, body: StarBody, rays: SlopeDirections, y: Tensor) -> None:
        self._body, self._map = body, rays.preconditioner
        self._y, self.log_weights = y, self._weigh(y)

    def _weigh(self, y: Tensor) -> np.ndarray:
        """Return log m(phi) + log |det A| - n log |A y|, shape (k,)."""
        x = self._map.apply(y)
        lengths = torch.linalg.vector_norm(x, dim=1)
        points = self._body.points_at(x / lengths[:, None])
        log_rho = points.effective_log_radius - lengths.log().cpu().numpy()
        return self._body.dimension * log_rho + self._map.log_determinant

    def move(self, random: np.random.Generator) -> None:
        """Move every chain once by elliptical slice sampling (Murray, Adams & MacKay 2010).

        With z normal and y = z / |z| rays of the basin have the law of z, weighted by the weight of the ray. |z| does
        not matter, so it is drawn afresh.
        """
        count = len(self._y)
        z = self._y * torch.linalg.vector_norm(normals(random, self._y), dim=1, keepdim=True)
        across = normals(random, self._y)
        level = self.log_weights + np.log1p(-random.random(count))
        angle = 2 * math.pi * random.random(count)
        low, high = angle - 2 * math.pi, angle.copy()
        active = np.arange(count)
        for _ in range(_MOST_SHRINKS):
            chosen = torch.as_tensor(active, device=z.device)
            turn = torch.as_tensor(angle[active], device=z.device)[:, None]
            y = sphere(z[chosen] * torch.cos(turn) + across[chosen] * torch.sin(turn))
            weights = self._weigh(y)
            inside = weights > level[active]
            rows = active[inside]
            self._y[torch.as_tensor(rows, device=z.device)] = y[torch.as_tensor(inside, device=z.device)]
            self.log_weights[rows] = weights[inside]
            active = active[~inside]
            if not len(active):
                break
            below = active[angle[active] < 0]
            above = active[angle[active] >= 0]
            low[below], high[above] = angle[below], angle[above]
            angle[active] = low[active] + (high - low)[active] * random.random(len(active))
