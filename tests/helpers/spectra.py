"""Symmetric matrices of known spectrum, as operators that count their products."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import Dense, Operator, Part


class Spectrum(Operator):
    """diag(values): products cost next to nothing, and the answer is known."""

    def __init__(self, values: np.ndarray, dtype: torch.dtype = torch.float64) -> None:
        super().__init__(len(values), dtype, torch.device("cpu"))
        self.values = torch.as_tensor(values, dtype=dtype)

    def _apply(self, vectors: Tensor) -> Tensor:
        return self.values[:, None] * vectors


def rotated(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A dense matrix with these eigenvalues and random eigenvectors."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


def dense(values: np.ndarray, dtype: torch.dtype = torch.float64, parts: tuple[Part, ...] = ()) -> Dense:
    return Dense(torch.as_tensor(rotated(values), dtype=dtype), parts)


def outliers(n: int, seed: int = 1) -> np.ndarray:
    """Nine outliers above a bulk around 0, like the Hessian of a trained classifier with ten classes."""
    bulk = np.random.default_rng(seed).normal(0.0, 0.3, n - 9)
    return np.concatenate([[30.0, 22.0, 15.0, 11.0, 8.0, 5.0, 4.0, 3.0, 2.5], bulk])


def decaying(n: int) -> np.ndarray:
    return np.exp(-np.arange(n) / 6.0)
