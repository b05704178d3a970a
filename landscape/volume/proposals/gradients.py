"""Squared gradients of single samples: a diagonal that costs one backward pass per sample and no second derivative."""

from __future__ import annotations

import numpy as np

from landscape.errors import CurvatureError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import split_batches
from landscape.objective.evaluate import run_backward
from landscape.rays.streams import sample_order


def squared_gradients(objective: Objective, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over samples of their squared gradients at theta, and its standard errors.

    It is the diagonal of the empirical Fisher matrix. Near a minimum of a likelihood it is like the diagonal of the
    curvature but for a factor, which goes to zero with the loss. Far from one it is not (Kunstner, Balles & Hennig
    2019).

    Args:
        objective: a model on data, whose samples do not act on each other.
        samples: number of samples drawn without replacement, at most all.
        seed: keys the draw.

    Returns:
        two arrays of shape (D,), float64.

    Raises:
        CurvatureError: if there are no single samples: a plain function, or a loss of whole batches.
    """
    program = objective.program
    if not isinstance(program, ModelProgram):
        raise CurvatureError(
            "squared gradients are those of single samples, and a plain function has none. Pass another proposal."
        )
    single = split_batches(program.batches, 1)
    if objective.describe()["batch_sizes"] is not None or any(batch.samples > 1 for batch in single):
        raise CurvatureError(
            "squared gradients are those of single samples, and here a loss is that of a whole batch (a callable loss, "
            "training mode, batch statistics, or data that cannot be cut). Pass another proposal."
        )
    order = sample_order(seed, len(single))[:samples]
    theta, squares = objective.theta[None], []
    with objective.running():
        for index in np.sort(order):
            one = program.with_batches((single[index],))
            if sum(one.counts):
                squares.append(run_backward(one, theta)[1][0].double().square())
    total = sum(squares[1:], squares[0])
    mean = total / len(squares)
    spread = sum(((square - mean).square() for square in squares), mean * 0) / max(len(squares) - 1, 1)
    errors = (spread / len(squares)).sqrt()
    return mean.cpu().numpy(), errors.cpu().numpy()
