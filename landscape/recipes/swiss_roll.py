"""Two interleaved spirals and the six-layer network of Huang et al. (2019), trained in seconds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from landscape.recipes.training import Settings, Trained, fit
from landscape.task import Task

WIDTHS = (2, 23, 16, 26, 32, 28, 31, 1)
TRAIN_POINTS = 200
TEST_POINTS = 2000
LOSS = "binary_cross_entropy"
SETTINGS = Settings(steps=4000, learning_rate=0.0125, drops=(0.5, 0.8), clip=8.0)
_TRAIN, _TEST = 0, 1  # streams of the generator


def points(seed: int, count: int, stream: int = _TRAIN) -> tuple[Tensor, Tensor]:
    """Return ``count`` points, shape (count, 2), and their classes 0 and 1, shape (count,), both float32.

    Angle a = sqrt(U) · 600°; class 0 at (-1.5 a cos a, 1.5 a sin a) + 0.5 · N(0, 1), class 1 at its exact negation,
    half of the points each (Huang et al. 2019).
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, stream]))
    angle = np.sqrt(rng.random(count // 2)) * np.deg2rad(600)
    spiral = 1.5 * angle[:, None] * np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    half = spiral + 0.5 * rng.standard_normal((count // 2, 2))
    inputs = torch.from_numpy(np.concatenate([half, -half])).float()
    return inputs, torch.cat([torch.zeros(count // 2), torch.ones(count // 2)])


def network(seed: int) -> nn.Sequential:
    """Return the ReLU network with one logit, 3,614 parameters, torch's own initialisation from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(WIDTHS):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def task(seed: int = 0) -> Task:
    """Return the task that a checkpoint of this recipe belongs to."""
    return Task(network(seed), points(seed, TRAIN_POINTS), LOSS, name=f"swiss-roll, seed {seed}")


def train(seed: int = 0, *, steps: int | None = None, progress: bool = False) -> Trained:
    """Train the network on 200 points by full-batch Adam, and test it on 2,000 others.

    The learning rate is 0.0125, a tenth of it after half of the steps and a hundredth after four fifths; the global
    gradient norm is clipped at 8.

    Raises:
        TaskError: where the loss becomes NaN.
    """
    settings = SETTINGS if steps is None else SETTINGS.with_steps(steps)
    record = {"recipe": "swiss-roll", "args": {"seed": seed}}
    return fit(task(seed), points(seed, TEST_POINTS, _TEST), settings, record, seed=seed, progress=progress)
