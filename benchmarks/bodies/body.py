"""A body of known volume, and what all kinds of bodies share: rotations, frames, and shares of the unit ball."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import erf, gammaln
from torch import Tensor

import landscape as ls

_DIGITS = 9  # decimal digits of a share of the ball


@dataclass(frozen=True)
class Body:
    """A body of known volume and how to measure it. Its metric is ``identity``.

    Attributes:
        objective: the loss around theta, in double precision. torch can differentiate it almost everywhere.
        truth: log-volume of the points that rays from theta reach below the cutoff, within ``max_radius``.
        cutoff: of the loss.
        max_radius: the cap; infinite without one.
        name: its name in the catalogue.
        kind: the class of bodies that it belongs to.
    """

    objective: ls.Objective
    truth: float
    cutoff: float = 1.0
    max_radius: float = math.inf
    name: str = ""
    kind: str = ""

    @property
    def n(self) -> int:
        """The dimension."""
        return self.objective.dimension


Family = Callable[..., Body]  #: builds the bodies of one family from their numbers, n first


def around_zero(f: Callable[[Tensor], Tensor], n: int) -> ls.Objective:
    """Return the objective of a function of n variables, around zero."""
    return ls.Objective.from_function(f, torch.zeros(n, dtype=torch.float64))


def rotation(n: int, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Return an orthonormal map that mixes all coordinates at the cost of two FFTs.

    It is H S H S' with random signs S and S' and the Hartley transform H, where
    (H x)_k = sum of x_j (cos + sin)(2 pi j k / n) / sqrt(n) is the real less the imaginary part of the FFT (Bracewell
    1983).
    """
    rng = np.random.default_rng(seed)
    first, second = (torch.from_numpy(rng.choice([-1.0, 1.0], size=n)) for _ in range(2))

    def hartley(x: Tensor) -> Tensor:
        frequencies = torch.fft.fft(x, norm="ortho")
        return frequencies.real - frequencies.imag

    return lambda x: hartley(second * hartley(first * x))


def frame(n: int, count: int, seed: int = 0) -> Tensor:
    """Return ``count`` orthonormal random vectors as columns, shape (n, count)."""
    vectors, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, count)))
    return torch.from_numpy(vectors)


def log_share_of_ball(n: int, low: ArrayLike, high: ArrayLike) -> float:
    """Return log of the share of the unit ball whose first coordinates are in [low_i, high_i].

        share = Γ(n/2 + 1) / (2 pi i) ∫ e^t t^-(n/2 + 1) product of [erf(high_i sqrt t) - erf(low_i sqrt t)] / 2  dt

    along a line Re t = c > 0. For (1 - s)^m, which is what the other coordinates leave at a squared length s of these,
    is m! / (2 pi i) ∫ e^(t (1 - s)) t^-(m + 1) dt. Under that integral the coordinates are independent normals. The sum
    over equal steps converges geometrically.

    Args:
        n: dimension of the ball, at least 3.
        low, high: bounds of the coordinates, shape (k,), possibly infinite.

    >>> round(math.exp(log_share_of_ball(3, [0.0, -math.inf], [math.inf, 0.0])), 9)
    0.25
    """
    low, high = np.broadcast_arrays(np.atleast_1d(low), np.atleast_1d(high))
    centre = n / 2 + 1
    step = math.sqrt(centre) / 8
    reach = centre * 10 ** (2 * _DIGITS / (n + 2)) + 10 * math.sqrt(centre)  # the integrand falls as |t|^-(n/2 + 1)
    t = centre + 1j * np.arange(math.ceil(reach / step)) * step  # the other half is its conjugate
    root = np.sqrt(t)
    product = np.ones_like(t)
    for bounds in zip(low, high, strict=True):
        below, above = (math.copysign(1.0, x) if math.isinf(x) else erf(x * root) for x in bounds)
        product *= (above - below) / 2
    exponent = t - centre * np.log(t)
    largest = exponent[0].real
    terms = (np.exp(exponent - largest) * product).real
    total = (terms.sum() - terms[0] / 2) * step / math.pi
    return float(gammaln(n / 2 + 1)) + largest + math.log(total)
