"""Linear changes of coordinates that make a density on the sphere rounder, learnt from its scores.

Let phi have a density exp(-U) on the unit sphere of R^n. Its *score* is n phi + ∇U, with ∇U tangent at phi. Over the
density the second moment of the score is close to that of the curvature, n + Hess U (the score identity). So directions
in which scores are large are narrow, and a map shrinks them by the square root of the ratio.

:class:`Stretch` shrinks a few directions of any kind, and coordinates that are narrow still. :class:`Scaling` shrinks
coordinates alone, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

_WIDE = 3.0  # a direction counts if its scores are so many times as large, squared, as those of all others
_ONE_SCORE = 0.25  # and if no single score holds more than this share of its moment
_FEWEST = 100  # scores, below which nothing is learnt
_TINY = 1e-300
_KEPT = 0.9  # share of what is known that stays as scores are added
_RENEWED = 10  # additions of scores between two scalings: a schedule keeps each of them


class LinearChange(Protocol):
    """A as a change of coordinates x = A y."""

    def apply(self, y: Tensor) -> Tensor:
        """Return A y for each row y, shape (k, n)."""

    def transpose_apply(self, force: Tensor) -> Tensor:
        """Return A' f for each row f, shape (k, n)."""

    def invert(self, x: Tensor) -> Tensor:
        """Return A^-1 x for each row x, shape (k, n)."""

    def rounded(self) -> LinearChange:
        """Return a map that is nearly A and faster to apply."""


class Lessons(Protocol):
    """What scores teach."""

    def add(self, scores: Tensor) -> None:
        """Take in scores, shape (k, n)."""

    def learn(self, old: LinearChange | None) -> LinearChange | None:
        """Return the map that they teach, or the old one if there is little news; None if they teach none."""


@dataclass(frozen=True)
class Stretch:
    """A = (1 + V (diag(a) - 1) V') diag(s).

    Attributes:
        vectors: V, orthonormal columns, shape (n, k).
        lengths: a, positive, shape (k,).
        scale: s, positive, shape (n,); None for ones.

    >>> axis = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    >>> half = Stretch(axis, torch.tensor([0.5], dtype=torch.float64))
    >>> half.apply(torch.ones(1, 2, dtype=torch.float64)).tolist()
    [[0.5, 1.0]]
    >>> half.invert(half.apply(torch.ones(1, 2, dtype=torch.float64))).tolist()
    [[1.0, 1.0]]
    """

    vectors: Tensor
    lengths: Tensor
    scale: Tensor | None = None

    def rounded(self) -> Stretch:
        """Return it with V in float32: twice as fast, and off by 1e-7 of the vectors that it is applied to."""
        return replace(self, vectors=self.vectors.float())

    def apply(self, y: Tensor) -> Tensor:
        """Return A y for each row y, shape (k, n)."""
        return self._along(y if self.scale is None else y * self.scale, self.lengths)

    def transpose_apply(self, force: Tensor) -> Tensor:
        """Return A' f for each row f, shape (k, n)."""
        f = self._along(force, self.lengths)
        return f if self.scale is None else f * self.scale

    def invert(self, x: Tensor) -> Tensor:
        """Return A^-1 x for each row x, shape (k, n)."""
        y = self._along(x, 1 / self.lengths)
        return y if self.scale is None else y / self.scale

    def _along(self, x: Tensor, lengths: Tensor) -> Tensor:
        vectors = self.vectors
        along = (x.to(vectors.dtype) @ vectors) * (lengths - 1).to(vectors.dtype)
        return x + along @ vectors.T


@dataclass(frozen=True)
class Symmetric:
    """A symmetric A, whole.

    Attributes:
        matrix, inverse: A and A^-1, shape (n, n).
    """

    matrix: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, vectors: Tensor, lengths: Tensor) -> Symmetric:
        """Return the A with these eigenvectors, shape (n, n), and eigenvalues, positive, shape (n,)."""
        return cls((vectors * lengths) @ vectors.T, (vectors / lengths) @ vectors.T)

    def rounded(self) -> Symmetric:
        """Return it with A in float32."""
        return replace(self, matrix=self.matrix.float())

    def apply(self, y: Tensor) -> Tensor:
        """Return A y for each row y, shape (k, n)."""
        return (y.to(self.matrix.dtype) @ self.matrix).to(y)

    def transpose_apply(self, force: Tensor) -> Tensor:
        """Return A' f for each row f, shape (k, n)."""
        return self.apply(force)

    def invert(self, x: Tensor) -> Tensor:
        """Return A^-1 x for each row x, shape (k, n)."""
        return x @ self.inverse


@dataclass
class Scores:
    """The latest scores of some particles, and the map that they teach.

    Attributes:
        most: how many scores are kept.
        rank: largest number of directions of a map.
    """

    most: int
    rank: int
    _kept: list[Tensor] = field(default_factory=list)
    _fresh: int = 0

    def add(self, scores: Tensor) -> None:
        """Keep scores, shape (k, n), and forget the oldest."""
        self._kept.append(scores)
        self._fresh += len(scores)
        while sum(map(len, self._kept)) - len(self._kept[0]) >= self.most:
            self._kept.pop(0)

    def learn(self, old: LinearChange | None) -> LinearChange | None:
        """Return the map that the kept scores teach, or the old one if there is little news.

        Directions come from one half of the scores and their moments from the other, so that chance alone makes no
        direction look narrow.
        """
        if self._fresh < self.most / 3 or sum(map(len, self._kept)) < _FEWEST:
            return old
        self._fresh = 0
        first = torch.cat([scores[0::2] for scores in self._kept])
        second = torch.cat([scores[1::2] for scores in self._kept])
        n = first.shape[1]
        k = min(self.rank, len(first) // 2, n - 1)
        moments, combined = torch.linalg.eigh(first @ first.T)
        vectors = first.T @ combined[:, -k:] / moments[-k:].clamp(min=_TINY).sqrt()
        vectors, _ = torch.linalg.qr(vectors)
        squared = (second @ vectors).square()
        along = squared.mean(0)
        others = (second.square().sum(1).mean() - along.sum()) / (n - k)
        ratio = along / torch.clamp(others, min=float(n))
        narrow = (ratio > _WIDE) & _shared(squared) & torch.isfinite(ratio)
        directions = Stretch(vectors[:, narrow].contiguous(), ratio[narrow] ** -0.5)
        scale = _scale_of(directions.transpose_apply(torch.cat(self._kept)))
        return replace(directions, scale=scale) if scale is not None or narrow.any() else None


def _scale_of(scores: Tensor) -> Tensor | None:
    """Return the lengths that scores of shape (k, n) teach for coordinates, shape (n,); None if none is narrow."""
    squared = scores.square()
    moments = squared.mean(0)
    ratio = moments / moments.median().clamp(min=float(scores.shape[1]))
    ratio = torch.where(_shared(squared) & torch.isfinite(ratio), ratio, 1.0)
    return ratio.clamp(min=1.0).rsqrt() if bool((ratio > _WIDE).any()) else None


def _shared(squared: Tensor) -> Tensor:
    """Return where no single one of some squares, shape (k, m), holds much of their sum, shape (m,)."""
    return squared.amax(0) < _ONE_SCORE * squared.sum(0)


@dataclass(frozen=True)
class Scaling:
    """A = diag(a).

    Attributes:
        lengths: a, positive, shape (n,).
    """

    lengths: Tensor

    def rounded(self) -> Scaling:
        """Return itself: it is fast."""
        return self

    def apply(self, y: Tensor) -> Tensor:
        """Return A y for each row y, shape (k, n)."""
        return y * self.lengths

    def transpose_apply(self, force: Tensor) -> Tensor:
        """Return A' f for each row f, shape (k, n)."""
        return force * self.lengths

    def invert(self, x: Tensor) -> Tensor:
        """Return A^-1 x for each row x, shape (k, n)."""
        return x / self.lengths


@dataclass
class ScoreVariances:
    """The variance of each coordinate of the latest scores, and the scaling a_i = (1 + variance_i / n)^(-1/2).

    Particles that have not gone far have scores with a mean. The mean says where they drift, and nothing of how narrow
    the body is, so it is taken off. Older scores count less.
    """

    _weight: float = 0.0
    _sum: Tensor | float = 0.0
    _squares: Tensor | float = 0.0
    _fresh: int = 0

    def add(self, scores: Tensor) -> None:
        """Take in scores, shape (k, n)."""
        self._weight = _KEPT * self._weight + 1
        self._sum = _KEPT * self._sum + scores.mean(0)
        self._squares = _KEPT * self._squares + scores.square().mean(0)
        self._fresh += 1

    def learn(self, old: LinearChange | None) -> LinearChange | None:
        """Return the scaling that they teach; the old one if there is little news."""
        if self._fresh < _RENEWED:
            return old
        self._fresh = 0
        mean, square = torch.as_tensor(self._sum) / self._weight, torch.as_tensor(self._squares) / self._weight
        variance = (square - mean.square()).clamp(min=0.0)
        return Scaling((1 + variance / len(variance)).rsqrt())
