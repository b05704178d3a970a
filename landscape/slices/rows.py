"""Inner products and combinations of long rows, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.objective.holding import HERE, Holding

_PIECE = 2**20  # entries in float64 at a time


def gram(first: Tensor, second: Tensor, holding: Holding = HERE) -> np.ndarray:
    """Return the inner products of rows, shape (k, l), always in float64; ``holding`` says if ranks hold parts."""
    total = torch.zeros(len(first), len(second), dtype=torch.float64)
    for one, two in zip(first.split(_PIECE, dim=1), second.split(_PIECE, dim=1), strict=True):
        total += (one.double() @ two.double().T).cpu()
    return holding.total(total).numpy()


def row_lengths(vectors: Tensor) -> np.ndarray:
    """Return the Euclidean length of each row, shape (k,)."""
    return np.sqrt(np.diag(gram(vectors, vectors)))


def combine(weights: np.ndarray, rows: Tensor) -> Tensor:
    """Return weights @ rows, (k, l) @ (l, D) -> (k, D), summed in float64."""
    mix = torch.from_numpy(np.ascontiguousarray(weights)).to(rows.device)
    return torch.cat([(mix @ piece.double()).to(rows) for piece in rows.split(_PIECE, dim=1)], dim=1)


def orthogonal_part(vector: Tensor, axis: Tensor, holding: Holding = HERE) -> Tensor:
    """Return the part of ``vector`` that is orthogonal to ``axis``."""
    products = gram(axis[None], torch.stack([vector, axis]), holding)[0]
    return vector - float(products[0] / products[1]) * axis


def norm(vector: Tensor, holding: Holding = HERE) -> float:
    """Return the Euclidean length of a vector."""
    if holding.ranks == 1:
        return vector.double().norm().item()
    return float(holding.total(vector.double().square().sum()).sqrt())
