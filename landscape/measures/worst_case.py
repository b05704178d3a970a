"""Worst-case sharpness: how much the loss rises at the worst point of a ball around the trained one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from landscape.measures.ascent import Ball, Function, Peak, climb
from landscape.measures.draws import Draws
from landscape.measures.reading import Reading, rise_reading
from landscape.measures.registry import measure
from landscape.measures.slopes import Slopes
from landscape.measures.top_pair import known_direction
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram, evaluating
from landscape.objective.evaluate import GRADIENT_COST
from landscape.results.sharpness import LOWER_BOUND, UNKNOWN

GRADIENTS = 20  #: of each search, at most, as in the source
_AT = "at points of the ball"


@measure(
    "worst-case-l2",
    larger="sharper",
    closed_form=True,
    core=True,
    rho=0.25,
    invariant=("permutation",),
    adaptive=("relu-rescaling",),
    after="lambda-max",
)
def worst_case_l2(objective: Objective, draws: Draws) -> Reading:
    """Return the mean over batches of the largest L(w + d) - L(w) on that batch, with |d / c| <= rho, c of the metric.

    On a quadratic with its minimum at w it is rho² / 2 · the largest eigenvalue of C H C. A search finds it
    (:mod:`landscape.measures.ascent`), so the value is a lower bound. It depends on the batch size. Batches count by
    their number of terms. A weight with c = 0 stays where it is.

    Source: Andriushchenko, Croce, Müller, Hein & Flammarion 2023. Departure: they search by Auto-PGD (Croce & Hein
    2020) with 20 steps. This search has as many gradients and follows Krylov spaces. It starts along the gradient of
    each batch. If gradients are left at a peak, it starts again along the top eigenvector of C H C. The vector must be
    known: ``lambda-max`` is taken in the same run, or the file holds it (``config["top_eigenvector"]``).
    """
    return _over_batches(draws, "l2", known_direction(draws))


@measure(
    "worst-case-linf",
    larger="sharper",
    closed_form=True,
    core=True,
    rho=0.002,
    invariant=("permutation",),
    adaptive=("relu-rescaling",),
)
def worst_case_linf(objective: Objective, draws: Draws) -> Reading:
    """Return the same as ``worst-case-l2`` with |d_i| <= rho c_i for each weight.

    On a quadratic with its minimum at w and H >= 0 entrywise it is rho² / 2 · c' H c.
    """
    return _over_batches(draws, "linf")


def _over_batches(draws: Draws, norm: str, top: Tensor | None = None) -> Reading:
    """Return the mean of the largest rise on each batch, weighted by the number of terms."""
    objective = draws.objective
    ball = Ball(draws.needed_rho(), norm)
    program = objective.program
    filled = [batch for batch, count in enumerate(program.counts) if count]
    rises: list[float] = []
    for batch in filled:
        if rises and draws.left() <= 0:
            break
        rises.append(highest_rise(draws, ball, draws.scale, [batch], top).rise)
    value = float(np.average(rises, weights=[program.counts[batch] for batch in filled[: len(rises)]]))
    size = max(batch.samples for batch in program.batches) if isinstance(program, ModelProgram) else 1
    about = {"norm": norm, "gradients": GRADIENTS, "batch_size": size, "top_eigenvector": top is not None}
    reading = rise_reading(np.array(rises), value, 0.0, draws, **about)
    if len(rises) < len(filled):
        draws.cut = True
        reason = f"the budget ended after {len(rises)} of {len(filled)} batches. Pass a larger `budget=...`"
        return replace(reading, verdict=UNKNOWN, reasons=(*reading.reasons, reason))
    return replace(reading, verdict=reading.verdict or LOWER_BOUND)


def highest_rise(draws: Draws, ball: Ball, scale: Tensor, batches: Sequence[int], top: Tensor | None = None) -> Peak:
    """Return the highest point found for the loss on these batches, at w + scale · u with u in the ball.

    ``top`` is a direction of u, shape (n,), along which a search may begin again (:func:`ascent.climb`).
    """
    objective = draws.objective
    theta, counts = objective.theta, objective.program.counts

    def noise(index: int) -> Tensor:
        return draws.noise(index).to(theta) * (scale != 0)

    with objective.running():
        zero = theta.new_zeros(objective.dimension)
        peak = climb(loss_around(objective, scale, batches), ball, zero, GRADIENTS, noise, top)
    share = sum(counts[batch] for batch in batches) / sum(counts)
    draws.charge((GRADIENT_COST * peak.gradients + peak.values) * share, peak.gradients + peak.values)
    return peak


def loss_around(objective: Objective, scale: Tensor, batches: Sequence[int]) -> Function:
    """Return the loss on some batches at w + scale · u, as a function of u; call it while the objective is running.

    Args:
        objective: the loss.
        scale: of each entry in scope, shape (n,).
        batches: their numbers.
    """
    program, theta, scope = objective.program, objective.theta, objective.scope
    terms = float(sum(program.counts[batch] for batch in batches))

    def at(u: Tensor) -> Tensor:
        return scope.scatter(scale * u, theta.new_zeros(1, len(theta))).add_(theta)

    slopes = Slopes(objective)

    def slope(u: Tensor) -> tuple[float, Tensor]:
        value, gradient = slopes.at(at(u)[0], batches)
        return value, scale * gradient

    def value(u: Tensor) -> float:
        points, total = at(u), 0.0
        for batch in batches:
            with evaluating(program, batch, _AT):
                total += float(program.totals(points, batch)[0])
        return total / terms

    return Function(value, slope)
