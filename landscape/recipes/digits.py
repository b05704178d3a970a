"""The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels, and a dense net: images without any file.

300 digits are the training set, 900 are the pool for the poison, and the others are the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from landscape.errors import MissingExtraError
from landscape.inputs import Task
from landscape.rays.streams import Purpose
from landscape.recipes.dense import given, hidden_widths
from landscape.training import FullBatchTraining, Member, Phase, Problem, Settings
from landscape.training.problem import Pair, SamplePool, draws

NETS_TOGETHER = 12  #: in one batched program
WIDTHS = (64, 64, 32, 32, 10)
SETTINGS = Settings(
    steps=4000,
    phases=(Phase(0.3, 0.003), Phase(0.5, 0.003, end=0.0002), Phase(0.2, 0.0002, end=0.00002)),
    clip=8.0,
    fitted=1e-3,
    fresh=256,
)


def network(seed: int, width: int | None = None, depth: int | None = None) -> nn.Sequential:
    """Return the untrained ReLU net of 7,626 parameters, or ``depth`` hidden layers of ``width`` units.

    Torch's own random state does not change.

    >>> sum(p.numel() for p in network(0).parameters())
    7626
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inner, outer in pairwise((WIDTHS[0], *hidden_widths(WIDTHS[1:-1], width, depth), WIDTHS[-1])):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def digits() -> tuple[Pair, Pair, Pair]:
    """Return the training set, the pool and the test set: pixels from 0 to 1, shape (N, 64), and digits.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtraError("scikit-learn", "digits", "The recipe digits") from None
    table = load_digits()
    inputs, targets = torch.from_numpy(table.data).float() / 16, torch.from_numpy(table.target).long()
    order = torch.from_numpy(draws(0, Purpose.TRAIN_DATA).permutation(len(targets)))
    train, pool, test = ((inputs[part], targets[part]) for part in order.tensor_split((300, 1200)))
    return train, pool, test


def problem(width: int | None = None, depth: int | None = None) -> Problem:
    """Return the digits and the network."""
    train, pool, test = digits()
    return Problem(
        partial(network, width=width, depth=depth),
        train=train,
        test=test,
        fresh=SamplePool(*pool).fresh,
        loss="cross_entropy",
        name="digits",
        record={"recipe": "digits", "args": given(width=width, depth=depth)},
    )


def task(seed: int = 0, width: int | None = None, depth: int | None = None) -> Task:
    """Return the task that a checkpoint of this recipe belongs to."""
    return problem(width, depth).task(seed)


def training(
    members: Sequence[Member],
    *,
    width: int | None = None,
    depth: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    steps: int | None = None,
    until_loss: float | None = None,
) -> FullBatchTraining:
    """Begin the training of networks of these seeds and poison factors: full-batch Adam, all in the same way.

    Args:
        members: seeds and poison factors.
        width, depth: units and number of the hidden layers; None means the recipe's own.
        lr: the highest learning rate; 0.003 by default.
        weight_decay, steps, until_loss: see :meth:`landscape.training.Settings.changed`.

    Raises:
        TaskError: if a keyword is out of range.
    """
    settings = SETTINGS.changed(steps=steps, lr=lr, weight_decay=weight_decay, until_loss=until_loss)
    return FullBatchTraining(problem(width, depth), members, settings)
