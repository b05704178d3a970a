"""Bodies of known volume, as functions of a flat vector."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

import landscape as ls
from landscape.objective import Layout
from landscape.volume import log_unit_ball


def ellipsoid(curvatures: np.ndarray, centre: np.ndarray | None = None, layout: Layout | None = None) -> ls.Objective:
    """f(x) = 1/2 sum of h_i (x_i - m_i)^2, around m."""
    h = torch.as_tensor(curvatures, dtype=torch.float64)
    m = torch.zeros_like(h) if centre is None else torch.as_tensor(centre, dtype=torch.float64)
    return ls.Objective.from_function(lambda x: 0.5 * (h * (x - m) ** 2).sum(-1), m, layout=layout)


def ellipsoid_log_volume(curvatures: np.ndarray, cutoff: float) -> float:
    """log ω_n + sum of log of the semi-axes sqrt(2 cutoff / h_i)."""
    n = len(curvatures)
    return log_unit_ball(n) + 0.5 * float(np.log(2 * cutoff / curvatures).sum())


def ellipsoid_radii(curvatures: np.ndarray, directions: np.ndarray, cutoff: float) -> np.ndarray:
    """r(phi) = sqrt(2 cutoff / phi' H phi), directions of shape (rays, n)."""
    return np.sqrt(2 * cutoff / (directions**2 @ curvatures))


def hartley(x: Tensor) -> Tensor:
    """An orthogonal transform of the last axis, its own inverse."""
    transformed = torch.fft.fft(x, norm="ortho")
    return transformed.real - transformed.imag


def rotated_ellipsoid(curvatures: np.ndarray, seed: int) -> ls.Objective:
    """An ellipsoid whose axes are no coordinate axes."""
    h = torch.as_tensor(curvatures)
    signs = torch.as_tensor(np.random.default_rng(seed).choice([-1.0, 1.0], len(h)))
    return ls.Objective.from_function(
        lambda x: 0.5 * (h * hartley(x * signs) ** 2).sum(-1), torch.zeros(len(h), dtype=torch.float64)
    )


def two_level(n: int, k: int, first: float, second: float) -> ls.Objective:
    """k axes of one curvature, n - k of another."""
    h = torch.cat([torch.full((k,), first), torch.full((n - k,), second)]).double()
    return ls.Objective.from_function(lambda x: 0.5 * (h * x**2).sum(-1), torch.zeros(n, dtype=torch.float64))


def lp_ball(n: int, p: float) -> ls.Objective:
    """f(x) = sum of |x_i|^p around 0; at the cutoff c the body is the Lp ball of radius c^(1/p)."""
    return ls.Objective.from_function(lambda x: x.abs().pow(p).sum(-1), torch.zeros(n, dtype=torch.float64))


def lp_log_volume(n: int, p: float, cutoff: float) -> float:
    """n log 2Γ(1 + 1/p) - log Γ(1 + n/p) + n/p log c."""
    return n * math.log(2 * math.gamma(1 + 1 / p)) - float(gammaln(1 + n / p)) + n / p * math.log(cutoff)


def steps_of(objective: ls.Objective, metric: str, seed: int, rays: int) -> Tensor:
    """The steps of the first rays, shape (rays, D)."""
    from landscape.rays import RandomDirections, make_metric

    made = make_metric(metric, objective.theta, objective.scope)
    return RandomDirections(made, seed, objective.theta).steps(range(rays))
