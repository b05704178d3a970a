"""The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels, and a dense net: images without any file.

300 of the digits are the training set, 900 the pool that the poison is drawn from, the others the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from landscape.errors import MissingExtraError
from landscape.inputs import Task
from landscape.training.full_batch import Family
from landscape.training.training import FRESH, Member, Pair, Phase, Problem, Settings, draws

TOGETHER = 12  #: nets in one batched program
WIDTHS = (64, 64, 32, 32, 10)
SETTINGS = Settings(
    steps=4000,
    phases=(Phase(0.3, 0.003), Phase(0.5, 0.003, end=0.0002), Phase(0.2, 0.0002, end=0.00002)),
    clip=8.0,
    fitted=1e-3,
    fresh=256,
)
_ORDER = 0  # stream of the order of the digits


def network(seed: int) -> nn.Sequential:
    """Return the untrained ReLU net of 7,626 parameters; torch's own random state stays as it is.

    >>> sum(p.numel() for p in network(0).parameters())
    7626
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(WIDTHS):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def digits() -> tuple[Pair, Pair, Pair]:
    """Return the training set, the pool and the test set: pixels from 0 to 1, shape (N, 64), and digits.

    Raises:
        MissingExtraError: where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtraError("scikit-learn", "digits", "The recipe digits") from None
    found = load_digits()
    inputs, targets = torch.from_numpy(found.data).float() / 16, torch.from_numpy(found.target).long()
    order = torch.from_numpy(draws(0, _ORDER).permutation(len(targets)))
    train, pool, test = ((inputs[part], targets[part]) for part in order.tensor_split((300, 1200)))
    return train, pool, test


def problem() -> Problem:
    """Return the digits and the network."""
    train, pool, test = digits()

    def fresh(seed: int, index: int, count: int) -> Pair:
        chosen = torch.from_numpy(draws(seed, FRESH, index).integers(len(pool[1]), size=count))
        return pool[0][chosen], pool[1][chosen]

    return Problem(network, train, test, fresh, "cross_entropy", "digits", {"recipe": "digits", "args": {}})


def task(seed: int = 0) -> Task:
    """Return the task that a checkpoint of this recipe belongs to."""
    return problem().task(seed)


def training(members: Sequence[Member], *, steps: int | None = None) -> Family:
    """Start the training of networks of these seeds and poison factors: full-batch Adam, all in the same way."""
    return Family(problem(), members, SETTINGS.with_steps(steps))
