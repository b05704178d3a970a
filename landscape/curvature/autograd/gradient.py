"""The gradient of one batch by an ordinary backward pass, at any point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.curvature.autograd.grad import derivative, twice_differentiable
from landscape.curvature.autograd.graphs import check_once
from landscape.objective.batch_loss import Program, evaluating


def gradient_of(program: Program, point: Tensor, batch: int, moves: Sequence[bool], place: str) -> list[Tensor]:
    """Return the gradient of a batch's total by each tensor that moves.

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
    return [torch.zeros_like(leaf) if slope is None else slope for leaf, slope in zip(chosen, slopes, strict=True)]
