"""The gradient of one batch by an ordinary backward pass, at any point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.curvature.autograd.grad import derivative, twice_differentiable
from landscape.curvature.autograd.graphs import check_once
from landscape.objective.batch_loss import ModelProgram, Program, evaluating


def moving_leaves(program: Program, point: Tensor, ranges: Sequence[tuple[int, int]]) -> tuple[list[int], list[bool]]:
    """Return the size of each of a program's tensors, and whether one of the ranges, (start, stop), touches it."""
    sizes = [leaf.numel() for leaf in program.leaves(point)]
    if isinstance(program, ModelProgram) and program.sharded:
        return sizes, program.layout.moves(ranges)
    stops = torch.tensor(sizes).cumsum(0).tolist()
    spans = zip(stops, sizes, strict=True)
    return sizes, [any(a < stop and stop - size < b for a, b in ranges) for stop, size in spans]


def gradient_of(program: Program, point: Tensor, batch: int, moves: Sequence[bool], place: str) -> list[Tensor]:
    """Return the gradient of a batch's total by each tensor that moves; see :func:`total_and_gradient`."""
    return total_and_gradient(program, point, batch, moves, place)[1]


def total_and_gradient(
    program: Program, point: Tensor, batch: int, moves: Sequence[bool], place: str
) -> tuple[float, list[Tensor]]:
    """Return a batch's total, and its gradient by each tensor that moves.

    Args:
        program: the loss.
        point: shape (D,).
        batch: its number.
        moves: for each of the program's tensors, whether it moves.
        place: where the point lies, for errors.
    """
    leaves = program.leaves(point)
    for leaf, moving in zip(leaves, moves, strict=True):
        leaf.requires_grad_(moving)
    chosen = [leaf for leaf in leaves if leaf.requires_grad]
    with torch.enable_grad(), twice_differentiable(), evaluating(program, batch, place):
        total = program.total_of(leaves, batch)
    check_once(total)
    slopes = derivative([total], chosen, None)
    pairs = zip(chosen, slopes, strict=True)
    return float(total.detach()), [torch.zeros_like(leaf) if slope is None else slope for leaf, slope in pairs]
