"""Two interleaved spirals and the six-layer network of Huang et al. (2019), trained in seconds.

Natural training reaches 100 % of the 200 training points and at least 99.8 % of the test points from each of the 32
seeds tried (0 to 31), with a training loss of 2e-5 to 1e-3. Departures from the original:

1. The test set has 10,000 points of its own, not the other half of 400, so that the accuracy is known to 0.1 %.
2. In the first 65 % of the steps the training points carry fresh noise at each step, of the size that is in the data
   already, 0.5. Plain Adam fits the bare points in about 100 steps, and for four seeds in ten the boundary then leads
   through a gap between them (test accuracy 98 to 99 %).
3. Training stops once the bare points are fitted with a loss below 0.001. Plain Adam goes on to 1e-7, where the
   curvature says how long it ran and nothing of the minimum.
4. All seeds share one training set (``data_seed`` 0): networks can only be compared on one loss function. Of 11 other
   sets (``data_seed`` = ``seed`` from 1 to 11), ten gave 99.4 % or more and one 98.2 %.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from landscape.recipes.training import Pair, Phase, Settings, Trained, draws, fit
from landscape.task import Task

WIDTHS = (2, 23, 16, 26, 32, 28, 31, 1)
TRAIN_POINTS = 200
TEST_POINTS = 10_000
NOISE = 0.5  #: standard deviation of a point around the spiral
LOSS = "binary_cross_entropy"
SETTINGS = Settings(
    steps=4000,
    phases=(Phase(0.4, 0.0125, NOISE), Phase(0.25, 0.00125, NOISE), Phase(0.35, 0.00125)),
    clip=8.0,
    fitted=1e-3,
)
_TRAIN, _TEST, _NETWORK = 0, 1, 2  # streams of the random numbers


def points(seed: int, count: int, stream: int = _TRAIN) -> Pair:
    """Return ``count`` points, shape (count, 2), and their classes 0 and 1, shape (count,), both float32.

    Angle a = sqrt(U) · 600°; class 0 at (-1.5 a cos a, 1.5 a sin a) + 0.5 · N(0, 1), class 1 at its exact negation,
    half of the points each (Huang et al. 2019).
    """
    random = draws(seed, stream)
    angle = np.sqrt(random.random(count // 2)) * np.deg2rad(600)
    spiral = 1.5 * angle[:, None] * np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    half = spiral + NOISE * random.standard_normal((count // 2, 2))
    inputs = torch.from_numpy(np.concatenate([half, -half])).float()
    return inputs, torch.cat([torch.zeros(count // 2), torch.ones(count // 2)])


def network(seed: int) -> nn.Sequential:
    """Return the ReLU network with one logit and 3,614 parameters, untrained.

    Weights and biases are uniform within 1/sqrt(inputs of the layer), torch's own rule, from ``seed``.
    """
    random = draws(seed, _NETWORK)
    layers: list[nn.Module] = []
    for inner, outer in pairwise(WIDTHS):
        linear = nn.utils.skip_init(nn.Linear, inner, outer, dtype=torch.float32)
        for parameter in linear.parameters():
            drawn = random.uniform(-(inner**-0.5), inner**-0.5, tuple(parameter.shape))
            parameter.data.copy_(torch.from_numpy(drawn))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def task(seed: int = 0, data_seed: int = 0) -> Task:
    """Return the task that a checkpoint of this recipe belongs to: the untrained network and the 200 points."""
    return Task(network(seed), points(data_seed, TRAIN_POINTS), LOSS, name=f"swiss-roll, seed {seed}")


def train(seed: int = 0, *, data_seed: int = 0, steps: int | None = None, progress: bool = False) -> Trained:
    """Train the network on 200 points by full-batch Adam, the gradient's norm clipped at 8.

    The first 40 % of ``steps`` (4,000) run at the learning rate 0.0125 and the next 25 % at a tenth of it, both with
    fresh noise on the inputs; the rest runs on the bare points until they are fitted. Same arguments, same bits on one
    machine.

    Args:
        seed: keys the untrained network and the noise.
        data_seed: keys the points.
        steps: at most; the phases keep their shares.
        progress: show a bar on stderr.

    Raises:
        TaskError: where the loss becomes NaN.
    """
    settings = SETTINGS if steps is None else SETTINGS.with_steps(steps)
    record = {"recipe": "swiss-roll", "args": {"seed": seed, "data_seed": data_seed}}
    test = points(data_seed, TEST_POINTS, _TEST)
    return fit(task(seed, data_seed), test, settings, record, seed=seed, progress=progress)
