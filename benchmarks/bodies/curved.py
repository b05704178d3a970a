"""Curved bodies: funnels, products of two balls, and linear networks with their symmetry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import betaincinv, logsumexp
from torch import Tensor

import landscape as ls
from benchmarks.bodies.body import Body, Family, around_zero
from landscape.volume import log_unit_ball


def funnel(n: int) -> Body:
    """Return x_1^2 / 18 + e^(-x_1) (x_2^2 + ...) / 2 < 1: its width grows as e^(x_1 / 2) (Neal 2003).

    The loss depends on x_1 and on the distance from the first axis alone. So its volume is one integral over the angle
    to that axis.
    """

    def f(x: Tensor) -> Tensor:
        return x[..., 0].square() / 18 + 0.5 * x[..., 1:].square().sum(-1) * torch.exp(-x[..., 0])

    angles = (np.arange(2000) + 0.5) * math.pi / 2000
    along, across = torch.from_numpy(np.cos(angles)), torch.from_numpy(np.sin(angles))
    radii = _first_crossings(lambda r: f(torch.stack([r * along, r * across], -1)), len(angles), reach=10.0)
    log_density = (n - 2) * np.log(np.sin(angles))
    log_mean = logsumexp(log_density + n * np.log(radii)) - logsumexp(log_density)
    return Body(around_zero(f, n), log_unit_ball(n) + float(log_mean))


def _first_crossings(loss: Callable[[Tensor], Tensor], rays: int, reach: float) -> np.ndarray:
    """Return the radius at which the loss first reaches 1 along each ray, by small steps and bisection."""
    low, step, out = torch.zeros(rays, dtype=torch.float64), reach / 2000, torch.zeros(rays, dtype=torch.bool)
    for _ in range(2000):
        out |= loss(low + step) >= 1
        low = torch.where(out, low, low + step)
    high = low + step
    for _ in range(40):
        middle = (low + high) / 2
        inside = loss(middle) < 1
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low.numpy()


def two_balls(n: int, others: int, radius: float) -> Body:
    """Return the product of the unit ball in n dimensions and a ball of ``radius`` in ``others``."""

    def f(x: Tensor) -> Tensor:
        return torch.maximum(x[..., :n].square().sum(-1), x[..., n:].square().sum(-1) / radius**2)

    truth = log_unit_ball(n) + log_unit_ball(others) + others * math.log(radius)
    return Body(around_zero(f, n + others), truth)


def linear_net(width: int) -> Body:
    """Return (a . b - 1)^2 / 2 < 0.02 around a = b = 1 / sqrt(width), within a radius of 3; n = 2 width.

    With u = (a + b) / sqrt 2 and v = (a - b) / sqrt 2 it is a . b = (|u|^2 - |v|^2) / 2. Along a ray whose part w of
    the squared length is in v, and whose part in u has the cosine c with u at theta,
    a . b - 1 = c sqrt(2 - 2 w) r + (1 - 2 w) r^2 / 2. So the volume is an integral over w and c.
    """
    start = torch.full((2 * width,), 1 / math.sqrt(width), dtype=torch.float64)
    cutoff, cap = 0.02, 3.0

    def f(x: Tensor) -> Tensor:
        return 0.5 * ((x[..., :width] * x[..., width:]).sum(-1) - 1).square()

    quantiles = (np.arange(600) + 0.5) / 600
    in_v = betaincinv(width / 2, width / 2, quantiles)[:, None]
    angles = (np.arange(1200) + 0.5) * math.pi / 1200
    density = np.sin(angles) ** (width - 2)
    linear, square = np.cos(angles) * np.sqrt(2 - 2 * in_v), 0.5 - in_v + 0 * angles
    radii = np.full(linear.shape, cap)
    for level in (math.sqrt(2 * cutoff), -math.sqrt(2 * cutoff)):  # square r^2 + linear r = level
        with np.errstate(invalid="ignore", divide="ignore"):
            # the product of both roots is -level / square: no difference of near numbers in either
            half = -0.5 * (linear + np.copysign(np.sqrt(linear**2 + 4 * square * level), linear))
            for root in (half / square, -level / half):
                radii = np.where(root > 0, np.minimum(radii, root), radii)
    mean = ((radii ** (2 * width)).mean(0) * density).sum() / density.sum()
    truth = log_unit_ball(2 * width) + math.log(mean)
    return Body(ls.Objective.from_function(f, start), truth, cutoff, cap)


FAMILIES: dict[str, Family] = {"funnel": funnel, "two-balls": two_balls, "linear-net": linear_net}
