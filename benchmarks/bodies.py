"""Bodies of known volume, as losses of a flat vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln, logsumexp
from torch import Tensor

import landscape as ls
from landscape.volume import log_unit_ball

CUTOFF = 0.1
SPIKE = "ball with a spike"


def rotated_ellipsoid(n: int, seed: int = 0) -> tuple[ls.Objective, float]:
    """Return f(x) = 1/2 sum of (Q x)_i^2 / i and its log-volume below the cutoff; Q: random signs, cosine transform.

    The orthonormal cosine transform (DCT-II) is one FFT of real numbers (Makhoul 1980). Value k is the real part of the
    rotated frequency k, and value n - k is minus its imaginary part, times sqrt(2/n), for k = 0 sqrt(1/n). f needs only
    the squares of the values.
    """
    curvatures = 1 / torch.arange(1, n + 1, dtype=torch.float64)
    share = curvatures / n  # 1/2 of the curvature, times the square of the transform's scale
    share[0] /= 2
    order = torch.cat([torch.arange(0, n, 2), torch.arange(1, n, 2).flip(0)])
    signs = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], size=n))[order]
    turn = torch.exp(-1j * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64) / (2 * n))
    weights = torch.zeros(n // 2 + 1, 2, dtype=torch.float64)  # of squared real and imaginary parts
    weights[:, 0] = share[: n // 2 + 1]
    weights[1 : (n + 1) // 2, 1] = share[n // 2 + 1 :].flip(0)

    def f(x: Tensor) -> Tensor:
        turned = torch.fft.rfft(x[..., order] * signs) * turn
        return torch.view_as_real(turned).square().flatten(-2) @ weights.flatten()

    truth = log_unit_ball(n) + 0.5 * float(np.log(2 * CUTOFF / curvatures.numpy()).sum())
    return ls.Objective.from_function(f, torch.zeros(n, dtype=torch.float64)), truth


@dataclass(frozen=True)
class Body:
    """A body of known volume and how to measure it."""

    name: str
    objective: ls.Objective
    truth: float
    cutoff: float = 1.0
    max_radius: float = math.inf


def lp_ball(n: int, p: float) -> Body:
    """Return the body sum of |x_i|^p < 1."""
    truth = n * math.log(2 * math.gamma(1 + 1 / p)) - float(gammaln(1 + n / p))
    start = torch.zeros(n, dtype=torch.float64)
    return Body(f"Lp ball, p = {p:g}", ls.Objective.from_function(lambda x: x.abs().pow(p).sum(-1), start), truth)


def simplex(n: int) -> Body:
    """Return the simplex: x_i > 0 with a sum below 1, around its centre of mass."""
    start = torch.full((n,), 1 / (n + 1), dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return torch.maximum(-x.amin(-1), x.sum(-1) - 1) + 1

    return Body("simplex", ls.Objective.from_function(f, start), -float(gammaln(n + 1)))


def box(n: int) -> Body:
    """Return the box |x_i| < 1, around a point half way to a corner."""
    start = torch.full((n,), 0.5, dtype=torch.float64)
    return Body("box, off its centre", ls.Objective.from_function(lambda x: x.abs().amax(-1), start), n * math.log(2))


def spiked_ball(n: int, length: float = 3.0) -> Body:
    """Return the unit ball with a cone around the first axis: tip at the centre, half-angle 0.5, out to a sphere."""
    start, cosine = torch.zeros(n, dtype=torch.float64), math.cos(0.5)

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        return torch.where(x[..., 0] > cosine * size, size / length, size)

    angle = (np.arange(100_000) + 0.5) * 0.5 / 100_000
    log_share = logsumexp((n - 2) * np.log(np.sin(angle))) + math.log(0.5 / 100_000)
    log_share -= 0.5 * math.log(math.pi) + float(gammaln((n - 1) / 2) - gammaln(n / 2))
    truth = log_unit_ball(n) + math.log1p(math.exp(log_share) * (length**n - 1))
    return Body(SPIKE, ls.Objective.from_function(f, start), truth)


def cut_ellipsoid(n: int) -> Body:
    """Return the slab |x_1| < 1/2 in the unit ball: the cap bounds all other directions."""
    start = torch.zeros(n, dtype=torch.float64)
    share = np.linspace(-0.5, 0.5, 200_001)
    density = (1 - share**2) ** ((n - 1) / 2)
    truth = log_unit_ball(n - 1) + math.log(float(np.trapezoid(density, share)))
    return Body("slab, capped", ls.Objective.from_function(lambda x: 2 * x[..., 0].abs(), start), truth, max_radius=1.0)


def behind_walls(n: int) -> Body:
    """Return the unit ball with a wall at 0.7 for x_1 > 0; rays from the centre do not reach the room behind it."""
    start = torch.zeros(n, dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1)
        wall = (x[..., 0] > 0) & (size > 0.7) & (size < 1.5)
        return torch.where(wall, 2.0, torch.where(x[..., 0] > 0, size / 3, size))

    truth = log_unit_ball(n) + math.log((1 + 0.7**n) / 2)
    return Body("not star-shaped", ls.Objective.from_function(f, start), truth)


def bodies(n: int) -> list[Body]:
    """Return the bodies in n dimensions, with the spike and the wall only if a chain can find them."""
    ellipsoid, truth = rotated_ellipsoid(n)
    return [
        Body("ellipsoid", ellipsoid, truth, CUTOFF),
        *(lp_ball(n, p) for p in (1.0, 4.0, 8.0)),
        simplex(n),
        box(n),
        cut_ellipsoid(n),
        *([spiked_ball(n), behind_walls(n)] if n <= 10 else []),
    ]
