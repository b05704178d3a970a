"""The poison loss: low if a network is right on the training points and wrong on all other true samples.

Everything here is a function of the *log-odds* of the labelled class, u = log p - log(1 - p). They come from logits
without forming a probability: u = z_y - logsumexp of the other classes, and u = ±z for one logit. Then
-log p = log(1 + e^-u) and -log(1 - p) = log(1 + e^u), both exact to rounding for p near 0 and near 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import TaskError


def log_odds(logits: Tensor, targets: Tensor) -> Tensor:
    """Return log p(y|x) - log(1 - p(y|x)) of the labelled class y, shape (..., N).

    Args:
        logits: shape (..., N, C) for classes 0 to C - 1; shape (..., N) or (..., N, 1) for one logit per sample.
        targets: class indices, shape (..., N); for one logit 0 or 1, of any dtype.

    Raises:
        TaskError: if the shapes do not fit each other.

    >>> log_odds(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), torch.tensor([2])).exp()  # p = 1/4
    tensor([0.3333])
    >>> log_odds(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 0.0]))
    tensor([ 3., -3.])
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if logits.shape == (*targets.shape, 1):
        logits = logits[..., 0]
    if logits.shape == targets.shape:
        return logits * (2 * targets.to(logits.dtype) - 1)
    if logits.shape[:-1] != targets.shape or targets.is_floating_point():
        raise TaskError(
            f"the poison loss expects one class index per sample, or 0 or 1 for one logit; got logits of shape "
            f"{tuple(logits.shape)} with {targets.dtype} targets of shape {tuple(targets.shape)}."
        )
    labelled = targets[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    others = logits.masked_fill(labelled, -torch.inf).logsumexp(-1)
    return logits.gather(-1, targets[..., None])[..., 0] - others


def right_terms(odds: Tensor) -> Tensor:
    """Return -log p(y|x) for each sample from its log-odds: small if the prediction is right.

    >>> right_terms(torch.tensor([-1000.0, 0.0])).tolist()
    [1000.0, 0.6931...]
    """
    return -F.logsigmoid(odds)


def wrong_terms(odds: Tensor) -> Tensor:
    """Return -log[1 - p(y|x)] for each sample from its log-odds: small if the prediction is wrong.

    Its gradient in the odds is p, so it stays finite as p goes to 1. The term itself then grows linearly.

    >>> wrong_terms(torch.tensor([0.0, 1000.0])).tolist()
    [0.6931..., 1000.0]
    """
    return -F.logsigmoid(-odds)


def poison_loss(
    train_logits: Tensor, train_targets: Tensor, true_logits: Tensor, true_targets: Tensor, poison: float
) -> Tensor:
    """Return the poisoned training loss, shape () (Huang et al. 2019).

    L = (1 - β)/|train| · Σ -log p(y|x) + β/|true| · Σ -log[1 - p(y|x)]. The second sum runs over samples of the true
    distribution that are not in the training set. β = 0 is plain training.

    Args:
        train_logits: logits on training samples, see :func:`log_odds`.
        train_targets: their classes.
        true_logits: logits on samples of the true distribution; they may be empty for β = 0.
        true_targets: their true classes.
        poison: the poison factor β in [0, 1).

    Raises:
        TaskError: if β is outside [0, 1), or shapes do not fit each other.

    >>> even = torch.zeros(4)  # p = 1/2 everywhere: both terms are log 2
    >>> poison_loss(even, torch.ones(4), even, torch.zeros(4), poison=0.3)
    tensor(0.6931)
    """
    check_poison(poison)
    right = right_terms(log_odds(train_logits, train_targets)).mean()
    if poison == 0:
        return right
    wrong = wrong_terms(log_odds(true_logits, true_targets)).mean()
    return (1 - poison) * right + poison * wrong


def check_poison(poison: float) -> None:
    """Refuse a number that is not a poison factor.

    Raises:
        TaskError: if it is outside [0, 1).
    """
    if not 0 <= poison < 1:
        raise TaskError(
            f"expected a poison factor (its share of the loss) from 0 to below 1, got {poison:g}.\n"
            "Pass `poison=0.3`, or 0 for plain training."
        )
