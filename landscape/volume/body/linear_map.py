"""An invertible linear map, the identity plus a part of low rank. As a preconditioner it makes a basin rounder."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from landscape.objective.digest import digest


@dataclass(frozen=True)
class LinearMap:
    """A = 1 + L R'.

    Attributes:
        left, right: L and R, shape (n, k), float64; k may be 0.
        log_determinant: log |det A|.

    >>> axis = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    >>> half = LinearMap.identity(axis[:, 0]).compose(axis, torch.tensor([0.5], dtype=torch.float64))
    >>> half.apply(torch.ones(1, 2, dtype=torch.float64)).tolist(), round(half.log_determinant, 6)
    ([[0.5, 1.0]], -0.693147)
    >>> half.invert(half.apply(torch.ones(1, 2, dtype=torch.float64))).tolist()
    [[1.0, 1.0]]
    """

    left: Tensor
    right: Tensor
    log_determinant: float
    _dense: Tensor | None = field(init=False, default=None, repr=False)  # A itself, if that is cheaper to apply

    def __post_init__(self) -> None:
        n, k = self.left.shape
        if k > n // 2:  # L and R' cost more than the whole matrix
            dense = torch.addmm(torch.eye(n, dtype=self.left.dtype, device=self.left.device), self.left, self.right.T)
            object.__setattr__(self, "_dense", dense)

    @classmethod
    def identity(cls, like: Tensor) -> LinearMap:
        """Return A = 1 for n = len(like), on the device of ``like``."""
        no_columns = like.new_zeros(len(like), 0, dtype=torch.float64)
        return cls(no_columns, no_columns, 0.0)

    def apply(self, y: Tensor) -> Tensor:
        """Return A y for each row y, shape (k, n)."""
        return y + (y @ self.right) @ self.left.T if self._dense is None else y @ self._dense.T

    def transpose_apply(self, gradients: Tensor) -> Tensor:
        """Return A' g for each row g, shape (k, n). It turns gradients by x = A y into gradients by y."""
        if self._dense is None:
            return gradients + (gradients @ self.left) @ self.right.T
        return gradients @ self._dense

    def invert(self, x: Tensor) -> Tensor:
        """Return A^-1 x for each row x, shape (k, n)."""
        k = self.left.shape[1]
        inner = torch.eye(k, dtype=self.left.dtype, device=self.left.device) + self.right.T @ self.left
        return x - torch.linalg.solve(inner, self.right.T @ x.T).T @ self.left.T

    def compose(self, vectors: Tensor, stretch: Tensor) -> LinearMap:
        """Return A B with B = 1 + U (diag(stretch) - 1) U'.

        Args:
            vectors: U, orthonormal columns, shape (n, k).
            stretch: by how much B stretches along each of them, positive, shape (k,).
        """
        change = vectors * (stretch - 1)
        right = self.right + change @ (vectors.T @ self.right)
        return LinearMap(
            torch.cat([self.left, vectors], dim=1),
            torch.cat([right, change], dim=1),
            self.log_determinant + float(stretch.log().sum()),
        )

    def digest(self) -> str:
        """Return a hash of all that it depends on."""
        return digest(self.left, self.right)
