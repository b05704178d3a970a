"""The decision boundary of a net with two inputs, and the distance of the training points from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.results import Boundary, Cost

EXTENT = 18.0  #: half the side of the square that is mapped, in units of the inputs
FARTHEST = 20.0  #: largest distance at which a boundary is searched, in units of the inputs
NEAREST = 1e-4  #: smallest distance
_STEPS = 64  #: distances from the smallest to the largest, in even ratios of 1.21
_BISECTIONS = 16
_AT_ONCE = 2**16  #: points evaluated together


def measure_boundary(
    logit: Callable[[Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    *,
    pixels: int = 301,
    extent: float = EXTENT,
    angles: int = 64,
) -> Boundary:
    """Return the logits on a square, and the distance of each training point to the nearest change of the logit's sign.

    From each point the net is evaluated along ``angles`` evenly spaced directions, outwards at radii in even ratios.
    The nearest change of sign is then bisected. The distance to a straight boundary is at most 1/cos(π/angles) times
    too large. An island may be missed if it is narrower than the gap between directions, or than a fifth of its
    distance. So a margin is an upper bound.

    Args:
        logit: points, shape (k, 2) -> logit of class 1, shape (k,).
        inputs: the training points, shape (N, 2).
        targets: their classes, 0 or 1, shape (N,).
        pixels: points along each side of the square.
        extent: half the side of the square.
        angles: number of directions.

    >>> points = torch.tensor([[2.0, 0.0], [-1.0, 5.0]])
    >>> boundary = measure_boundary(lambda x: x[:, 0], points, torch.tensor([1.0, 1.0]), pixels=3)
    >>> boundary.margin.round(3), boundary.logit[0]
    (array([ 2., -1.]), array([-18.,   0.,  18.], dtype=float32))
    """
    started = time.perf_counter()
    side = np.linspace(-extent, extent, pixels)
    square = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    values = _evaluate(logit, torch.from_numpy(square).float())
    own = _evaluate(logit, inputs) > 0
    distance, calls = _distance(logit, inputs, own, angles)
    right = (own == (targets > 0.5)).numpy()
    count = len(inputs)
    return Boundary(
        x=side,
        y=side,
        logit=values.reshape(pixels, pixels).numpy(),
        inputs=inputs.numpy(),
        targets=targets.numpy(),
        margin=np.where(right, distance, -distance),
        config={"pixels": pixels, "extent": extent, "angles": angles, "farthest": FARTHEST},
        cost=Cost((len(square) + calls) / count, len(square) + calls, time.perf_counter() - started),
    )


def _distance(logit: Callable[[Tensor], Tensor], inputs: Tensor, own: Tensor, angles: int) -> tuple[np.ndarray, int]:
    """Return the distance of each point to the nearest change of sign, shape (N,), and the points evaluated."""
    turn = torch.arange(angles) * (2 * math.pi / angles)
    directions = torch.stack([turn.cos(), turn.sin()], dim=1)
    radii = torch.logspace(math.log10(NEAREST), math.log10(FARTHEST), _STEPS)
    inner = torch.full((len(inputs), angles), FARTHEST)
    outer = torch.full((len(inputs), angles), FARTHEST)
    unmet, calls = torch.arange(len(inputs)), 0
    for step, radius in enumerate(radii):  # outwards, until each point has met the boundary in some direction
        other = _changed(logit, inputs[unmet], own[unmet], directions, radius.expand(len(unmet), angles))
        calls += other.numel()
        inner[unmet] = torch.where(other, radii[step - 1] if step else 0.0, inner[unmet])
        outer[unmet] = torch.where(other, radius, outer[unmet])
        unmet = unmet[~other.any(1)]
        if not len(unmet):
            break
    for _ in range(_BISECTIONS):
        middle = (inner + outer) / 2
        other = _changed(logit, inputs, own, directions, middle)
        calls += other.numel()
        outer, inner = torch.where(other, middle, outer), torch.where(other, inner, middle)
    return outer.min(1).values.double().numpy(), calls


def _changed(
    logit: Callable[[Tensor], Tensor], inputs: Tensor, own: Tensor, directions: Tensor, radii: Tensor
) -> Tensor:
    """Return where the class differs from the class of the point itself, shape (N, angles)."""
    points = inputs[:, None] + radii[..., None] * directions
    return (_evaluate(logit, points.reshape(-1, 2)) > 0).view(radii.shape) != own[:, None]


def _evaluate(logit: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([logit(part) for part in points.split(_AT_ONCE)])


def logit_of(model: Any) -> Callable[[Tensor], Tensor]:
    """Return the logit of class 1 of a net that has one output."""
    return lambda points: model(points)[:, 0]
