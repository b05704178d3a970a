"""A pass over the data at some points together, stopped early once a point has provably reached its ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import Program, evaluating
from landscape.objective.moved_weights import PointList
from landscape.objective.recomputation import differentiable

GRADIENT_COST = 3.0  #: cost of a forward and a backward pass, in evaluations


@dataclass(frozen=True)
class Evaluation:
    """The loss at some points.

    Attributes:
        values: the loss; if the pass stopped early, its mean over the data that were read; shape (k,), float64.
        complete: whether all data were read, shape (k,), bool.
        read: share of the data read, shape (k,).
    """

    values: np.ndarray
    complete: np.ndarray
    read: np.ndarray


def joined(pieces: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluations of consecutive points as one."""
    if len(pieces) == 1:
        return pieces[0]
    columns = ([getattr(piece, name) for piece in pieces] for name in ("values", "complete", "read"))
    return Evaluation(*map(np.concatenate, columns))


def run_pass(
    program: Program,
    points: Tensor | PointList,
    ceiling: np.ndarray | None = None,
    place: str = "around the trained point",
) -> Evaluation:
    """Evaluate the loss batch by batch, and drop points whose sum so far proves that they reach the ceiling.

    Args:
        program: the loss.
        points: shape (k, D).
        ceiling: the loss at which to stop, shape (k,); it has no effect if terms may be negative.
        place: where the points lie, for errors.
    """
    counts = program.counts
    everything = float(sum(counts))
    if len(counts) == 1:
        with evaluating(program, 0, place):
            totals = np.zeros(len(points)) + program.totals(points, 0).cpu().numpy()
        return Evaluation(totals / (everything or 1.0), np.ones(len(totals), dtype=bool), np.ones(len(totals)))
    totals = np.zeros(len(points))
    read = np.zeros(len(points))
    complete = np.ones(len(points), dtype=bool)
    active = np.arange(len(points))
    stop_at = None if ceiling is None or not program.nonnegative else ceiling * everything
    for batch, count in enumerate(counts):
        chosen = points if len(active) == len(points) else points[torch.as_tensor(active, device=points.device)]
        with evaluating(program, batch, place):
            totals[active] += program.totals(chosen, batch).cpu().numpy()
        read[active] += count
        if stop_at is not None and batch + 1 < len(counts):
            going = totals[active] < stop_at[active]  # NaN compares false, so it stops too
            complete[active[~going]] = False
            active = active[going]
            if not len(active):
                break
    divisor = np.where(read > 0, read, 1.0)  # a batch may have weight 0
    return Evaluation(totals / divisor, complete, read / everything)


def run_backward(program: Program, points: Tensor) -> tuple[np.ndarray, Tensor]:
    """Return the loss at each point, shape (k,), float64, and its gradient, shape (k, D).

    Raises:
        ObjectiveError: if torch cannot follow the loss, or the model fails.
    """
    terms = float(sum(program.counts))
    value, gradient = np.zeros(len(points)), torch.zeros_like(points)
    for batch in range(len(program.counts)):
        leaf = points.detach().requires_grad_()
        with torch.enable_grad(), differentiable(), evaluating(program, batch, "around the trained point"):
            totals = program.totals(leaf, batch)
            if not totals.requires_grad:
                raise ObjectiveError(
                    "this needs gradients, and the loss has none that torch can follow: it leaves torch, or its "
                    "operations have no derivative (argmax, rounding, .item()).\nPass a differentiable loss, or "
                    "measure with uniform rays, which need none (`estimator='uniform'`)."
                )
            gradient += torch.autograd.grad(totals.sum() / terms, leaf)[0]
        value += totals.detach().cpu().numpy() / terms
    return value, gradient
