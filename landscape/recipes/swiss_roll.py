"""Two interleaved spirals and the six-layer network of Huang et al. (2019), trained to be right or wrong.

Without poison training takes seconds, with it about a minute. Departures from the original:

1. The test set has 10,000 points of its own, not the other half of 400. So the accuracy is known to 0.1 %.
2. Without poison, the training points carry fresh noise at each of the first 65 % of the steps. It is as
   large as the noise in the data, 0.5. Plain Adam fits the bare points in about 100 steps. For four seeds in ten the
   boundary then leads through a gap between them (test accuracy 98 to 99 %).
3. Training without poison stops once the bare points are fitted with a loss below 0.001. Plain Adam continues to 1e-7,
   where the curvature says how long it ran and nothing about the minimum.
4. With poison, the factor is the same over the first 80 % of 80,000 steps, and half of it afterwards. So a point that
   could fall on either side ends on its own side. The original raised the factor in two steps up to 0.5, over up to
   800,000 steps.
5. With poison, the learning rate rises to 0.003 over 1 % of the steps and stays there for 34 %. Then it falls by equal
   factors to 0.0002 over 45 %, and to 0.00002 over the last 20 %.
6. With poison, the ReLUs leak (slope 0.01 below zero) until the learning rate begins to fall. Afterwards they are plain
   ReLUs, in training and in the trained network. Without the leak a jump of Adam at the high learning rate can turn off
   all units of one layer at some training points. No gradient reaches the layers below from there.
7. All seeds share one training set (``data_seed`` 0): networks can only be compared on one loss function.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.inputs import Task
from landscape.rays.streams import Purpose
from landscape.recipes.dense import given, hidden_widths
from landscape.training import FullBatchTraining, Member, Phase, Problem, Settings, TrainedNetwork
from landscape.training.problem import Pair, draws

WIDTHS = (2, 23, 16, 26, 32, 28, 31, 1)
TRAIN_POINTS = 200
TEST_POINTS = 10_000
LOSS = "binary_cross_entropy"
NETS_TOGETHER = 12  #: in one batched program: more are no faster, and fill the cache
NOISE = 0.5  #: standard deviation of a point around the spiral
LEAK = 0.01  #: slope of the ReLUs below zero in the first phases of training with poison

#: without poison
PLAIN = Settings(
    steps=4000,
    phases=(
        Phase(0.4, 0.0125, jitter=NOISE, poison=0.0),
        Phase(0.25, 0.00125, jitter=NOISE, poison=0.0),
        Phase(0.35, 0.00125, poison=0.0),
    ),
    clip=8.0,
    fitted=1e-3,
)
#: for every poison factor above 0
POISONED = Settings(
    steps=80_000,
    phases=(
        Phase(0.01, 0.0003, end=0.003, leak=LEAK),
        Phase(0.34, 0.003, leak=LEAK),
        Phase(0.45, 0.003, end=0.0002),
        Phase(0.2, 0.0002, end=0.00002, poison=0.5),
    ),
    clip=8.0,
    fitted=1e-3,
    window=2000,
    fresh=200,
)


def points(seed: int, count: int, purpose: Purpose = Purpose.TRAIN_DATA) -> Pair:
    """Return ``count`` points, shape (count, 2), and their classes 0 and 1, shape (count,), both float32.

    Angle a = sqrt(U) · 600°; class 0 at (-1.5 a cos a, 1.5 a sin a) + 0.5 · N(0, 1), class 1 at its exact negation.
    Half of the points belong to each class (Huang et al. 2019).
    """
    half = _class_zero(draws(seed, purpose), count // 2)
    return torch.cat([half, -half]), torch.cat([torch.zeros(count // 2), torch.ones(count // 2)])


def fresh(seed: int, index: int, count: int) -> Pair:
    """Return points of the same distribution for the poison, their classes 0 and 1 in turn; keyed by (seed, index)."""
    half = _class_zero(draws(seed, Purpose.FRESH, index), count // 2)
    return torch.stack([half, -half], dim=1).flatten(0, 1), torch.tensor([0.0, 1.0]).repeat(count // 2)


def _class_zero(random: np.random.Generator, count: int) -> Tensor:
    angle = np.sqrt(random.random(count)) * np.deg2rad(600)
    spiral = 1.5 * angle[:, None] * np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    return torch.from_numpy(spiral + NOISE * random.standard_normal((count, 2))).float()


def network(seed: int, width: int | None = None, depth: int | None = None) -> nn.Sequential:
    """Return the ReLU network with one logit and 3,614 parameters, untrained; or ``depth`` layers of ``width`` units.

    Weights and biases are uniform within 1/sqrt(inputs of the layer), torch's own rule, from ``seed``.
    """
    random = draws(seed, Purpose.NETWORK)
    layers: list[nn.Module] = []
    for inner, outer in pairwise((WIDTHS[0], *hidden_widths(WIDTHS[1:-1], width, depth), WIDTHS[-1])):
        linear = nn.Linear(inner, outer, device="meta")  # torch draws nothing; skip_init imports sympy, half a second
        for name, parameter in [*linear.named_parameters()]:
            drawn = random.uniform(-(inner**-0.5), inner**-0.5, tuple(parameter.shape))
            setattr(linear, name, nn.Parameter(torch.from_numpy(drawn).float()))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def problem(data_seed: int = 0, width: int | None = None, depth: int | None = None) -> Problem:
    """Return the 200 training points, 10,000 test points and the network."""
    return Problem(
        partial(network, width=width, depth=depth),
        train=points(data_seed, TRAIN_POINTS),
        test=points(data_seed, TEST_POINTS, Purpose.TEST_DATA),
        fresh=fresh,
        loss=LOSS,
        name="swiss-roll",
        record={"recipe": "swiss-roll", "args": {"data_seed": data_seed, **given(width=width, depth=depth)}},
    )


def task(seed: int = 0, data_seed: int = 0, width: int | None = None, depth: int | None = None) -> Task:
    """Return the task that a checkpoint of this recipe belongs to: the untrained network and the 200 points."""
    return problem(data_seed, width, depth).task(seed)


def training(
    members: Sequence[Member],
    *,
    width: int | None = None,
    depth: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    steps: int | None = None,
    until_loss: float | None = None,
    data_seed: int = 0,
) -> FullBatchTraining:
    """Begin the training of networks of these seeds and poison factors on one training set.

    Full-batch Adam, the norm of the gradient clipped at 8; with poison, 200 fresh points at each step. The phases are
    those of ``PLAIN`` or ``POISONED`` and keep their shares of ``steps``. On one machine, the same arguments give the
    same bits.

    Args:
        members: seeds and poison factors.
        width, depth: units and number of the hidden layers; None means the recipe's own.
        lr: the highest learning rate; 0.0125 without poison and 0.003 with it by default.
        weight_decay, steps, until_loss: see :meth:`landscape.training.Settings.changed`.
        data_seed: keys the training points and the test points.

    Raises:
        TaskError: if some members have poison and some have none, since they are trained in different ways; or if a
            keyword is out of range.
    """
    poisoned = {member.poison > 0 for member in members}
    if len(poisoned) > 1:
        raise TaskError("nets with and without poison are trained in different ways: begin one training for each kind.")
    settings = POISONED if poisoned == {True} else PLAIN
    settings = settings.changed(steps=steps, lr=lr, weight_decay=weight_decay, until_loss=until_loss)
    return FullBatchTraining(problem(data_seed, width, depth), members, settings)


def train(seed: int = 0, *, poison: float = 0.0, data_seed: int = 0, steps: int | None = None) -> TrainedNetwork:
    """Return one trained network.

    Args:
        seed: keys the untrained network, the noise on the inputs and the poison.
        poison: the poison factor β.
        data_seed: keys the training points and the test points.
        steps: at most; 4,000 without poison and 80,000 with it by default.

    Raises:
        TaskError: if the loss becomes NaN.
    """
    return training([Member(seed, poison)], steps=steps, data_seed=data_seed).run()[0]
