"""Losses as sums over samples, so that batches of any size add up exactly.

A mean over batches is biased if the last batch is smaller. Here every loss returns the total of a batch. The objective
adds the totals in float64 and divides once by the number of terms.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import TaskError
from landscape.objective.batches import Batch

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse", "model")
IGNORED_CLASS = -100  #: targets of this class are left out, as in torch
_FEW_CLASSES = 16  # below this number torch's kernel for the last axis is slow
_ALIASES = {"mean_squared_error": "mse", "bce": "binary_cross_entropy"}


@dataclass(frozen=True)
class Loss:
    """A loss as a total over one batch.

    Attributes:
        name: its name in :data:`LOSSES`, or the name of the user's function followed by ``()``.
        total: (output, batch) -> sum of the batch's terms, a float64 scalar.
        count: batch -> number of terms; the loss is the sum of totals over the sum of counts.
        nonnegative: whether no term can be below zero, which makes early stopping exact.
        per_sample: whether the terms of a sample depend on that sample alone, so that batches may be cut and joined.
    """

    name: str
    total: Callable[[Any, Batch], Tensor]
    count: Callable[[Batch], int]
    nonnegative: bool
    per_sample: bool


def make_loss(loss: str | Callable[..., Any]) -> Loss:
    """Return the loss called ``loss``, or wrap a callable of (output, target).

    - ``cross_entropy``: logits (N, C, ...) or (N, ..., C), with class indices (-100 is left out) or probabilities.
    - ``binary_cross_entropy``: logits; the mean over all elements.
    - ``mse``: the mean over all elements.
    - ``model``: the ``.loss`` of the output.
    - a callable of (output, target): returns one term per sample, shape (N,), or the batch mean, shape (). If the batch
      has no target, it gets the batch itself.

    Raises:
        TaskError: for an unknown name.
    """
    if callable(loss):
        name = f"{getattr(loss, '__name__', type(loss).__name__)}()"  # the brackets tell it from our own names
        return Loss(name, _from_callable(loss), _samples, nonnegative=False, per_sample=False)
    name = _ALIASES.get(loss, loss)
    if name == "cross_entropy":
        return Loss(name, _cross_entropy, _classes_counted, nonnegative=True, per_sample=True)
    if name == "binary_cross_entropy":
        return Loss(name, _binary_cross_entropy, _elements, nonnegative=True, per_sample=True)
    if name == "mse":
        return Loss(name, _squared_error, _elements, nonnegative=True, per_sample=True)
    if name == "model":
        return Loss(name, _model_loss, _samples, nonnegative=False, per_sample=False)
    near = difflib.get_close_matches(str(loss), [*LOSSES, *_ALIASES], n=1)
    hint = f" Did you mean {_ALIASES.get(near[0], near[0])}?" if near else ""
    raise TaskError(
        f"the loss {loss!r} is not known.{hint} Pass one of {', '.join(LOSSES)}, a function of (output, target) in "
        "Python, or --loss pkg.mod:function."
    )


def kl_from(output: Any, batch: Batch, *, binary: bool) -> Loss:
    """Return the KL divergence from the predictions in ``output`` as a loss on this one batch.

    KL(p0 | p) = sum_k p0_k (log p0_k - log p_k) for each prediction, with p0 the prediction of the trained model.
    Predictions whose target is left out do not count. If ``binary``, or if the model has a single logit, the logits are
    independent. If logits have more than two dimensions, the shape of the target tells the class axis. Without a target
    it is taken to be the last axis.
    """
    reference = _wide(logits_of(output))
    rows = _class_last(reference, batch.target)
    binary = binary or rows.dim() < 2 or rows.shape[-1] == 1
    if not binary:
        reference = F.log_softmax(rows, dim=-1)
    count = reference.numel() if binary else reference.numel() // reference.shape[-1]
    left_out = None if binary else _left_out(reference, batch.target)
    if left_out is not None:
        count -= int(left_out.sum())

    def total(moved: Any, moved_batch: Batch) -> Tensor:
        logits = _wide(logits_of(moved))
        if binary:
            # in logits z: p0 (z0 - z) + softplus(z) - softplus(z0)
            terms = torch.sigmoid(reference) * (reference - logits) + F.softplus(logits) - F.softplus(reference)
        else:
            log_p = F.log_softmax(_class_last(logits, moved_batch.target), dim=-1)
            terms = (reference.exp() * (reference - log_p)).sum(-1)
        if left_out is not None:
            terms = terms.masked_fill(left_out, 0.0)
        return _sum(terms.clamp_min(0.0))  # rounding can leave a term just below zero

    return Loss("kl", total, lambda _: count, nonnegative=True, per_sample=True)


def check_targets(loss: Loss, output: Any, first: Batch, batches: tuple[Batch, ...]) -> None:
    """Refuse targets for which a loss is not defined: torch fails late, and may leave a GPU unusable.

    Args:
        loss: the loss.
        output: the model's output on ``first``, which tells the number of classes.
        first: one batch.
        batches: all batches.

    Raises:
        TaskError: for class indices outside the classes of the model, and for targets that are not probabilities.
    """
    if loss.name not in ("cross_entropy", "binary_cross_entropy"):
        return
    rows = _class_last(logits_of(output), first.target)
    for target in (batch.target for batch in batches if isinstance(batch.target, Tensor) and batch.target.numel()):
        left_out = _left_out(rows, first.target)
        indices = left_out is not None and loss.name == "cross_entropy"
        known = target[target != IGNORED_CLASS] if indices else target
        most = rows.shape[-1] - 1 if indices else 1
        low, high = (known.min().item(), known.max().item()) if known.numel() else (0, 0)
        if not (low >= 0 and high <= most):
            kind = "class indices" if indices else "probabilities"
            raise TaskError(
                f"{loss.name} takes {kind} from 0 to {most} for this model, and the targets run from {low:g} to "
                f"{high:g}.\nRenumber or scale the targets; for one logit per sample pass "
                "`loss='binary_cross_entropy'`, for regression `loss='mse'`."
            )


def _left_out(rows: Tensor, target: Any) -> Tensor | None:
    """Return which rows, shape (..., C), have the ignored class as target; None if the targets are not classes."""
    if not isinstance(target, Tensor) or target.is_floating_point() or target.shape != rows.shape[:-1]:
        return None
    return target == IGNORED_CLASS


def logits_of(output: Any) -> Tensor:
    """Return the tensor of predictions in a model's output: itself, its ``.logits``, or the first of a tuple.

    Raises:
        TaskError: if the output holds no predictions.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise TaskError(
            f"the loss needs a tensor of predictions, and the model returned {type(output).__name__} without .logits.\n"
            "Pass a forward function that returns the predictions: Task(..., forward=lambda model, batch: ...)."
        )
    return logits


def accuracy_counts(loss: Loss, output: Any, batch: Batch) -> tuple[int, int]:
    """Return the numbers of right and of all predictions of a batch; (0, 0) if the targets are not classes."""
    right, known = right_from(loss, output, batch)
    return int(right(output)), known


def right_from(loss: Loss, output: Any, batch: Batch) -> tuple[Callable[[Any], Tensor], int]:
    """Return a function that counts the right predictions in any output on this batch, and the number of predictions.

    One logit per sample is right if its sign agrees with a target of 0 or 1. The function consists of tensor operations
    only, so it can count at many points at once. If the targets are not classes, both numbers are 0.
    """
    target = batch.target
    none = (lambda _: torch.zeros((), dtype=torch.int64)), 0
    if not isinstance(target, Tensor) or loss.name == "mse":
        return none
    logits = logits_of(output)
    if loss.name == "binary_cross_entropy" or (loss.name != "cross_entropy" and logits.numel() == target.numel()):
        if not bool(((target == 0) | (target == 1)).all()):
            return none
        positive = target == 1
        return lambda moved: ((logits_of(moved).reshape(target.shape) > 0) == positive).sum(), target.numel()
    if target.is_floating_point() and target.shape == logits.shape:
        likeliest = target.argmax(1)
        return lambda moved: (logits_of(moved).argmax(1) == likeliest).sum(), likeliest.numel()
    left_out = _left_out(_class_last(logits, target), target)
    if left_out is None:
        return none
    counted = ~left_out
    return (
        lambda moved: ((_class_last(logits_of(moved), target).max(-1).indices == target) & counted).sum(),
        int(counted.sum()),
    )


def _class_last(logits: Tensor, target: Any) -> Tensor:
    """Return logits with the class axis last; torch puts it second, transformers puts it last.

    The shape of class indices tells which axis it is. Probabilities have the shape of the logits, and then it is the
    second axis, as in torch. Without a target it is taken to be the last.

    >>> _class_last(torch.zeros(2, 10, 5), torch.zeros(2, 5)).shape
    torch.Size([2, 5, 10])
    """
    if not isinstance(target, Tensor) or logits.dim() <= 2:
        return logits
    probabilities = target.is_floating_point() and target.shape == logits.shape
    second = probabilities or logits.shape[:1] + logits.shape[2:] == target.shape
    return logits.movedim(1, -1) if second else logits


def _cross_entropy(output: Any, batch: Batch) -> Tensor:
    logits, target = _wide(logits_of(output)), _need_target(batch, "cross_entropy")
    if target.is_floating_point() and target.shape == logits.shape:
        return _sum(F.cross_entropy(logits, target.to(logits.dtype), reduction="none"))
    logits = _class_last(logits, target)
    if target.is_floating_point() or logits.shape[:-1] != target.shape:
        raise TaskError(
            f"cross_entropy needs a class index for each row of logits; the model returned shape "
            f"{tuple(logits.shape)} for {target.dtype} targets of shape {tuple(target.shape)}.\n"
            "Pass `loss='binary_cross_entropy'` for one logit per sample, or `loss='mse'` for regression."
        )
    log_p = _log_softmax(logits.reshape(-1, logits.shape[-1]))
    return _sum(F.nll_loss(log_p, target.reshape(-1).long(), reduction="none", ignore_index=IGNORED_CLASS))


def _log_softmax(rows: Tensor) -> Tensor:
    """Return log p over the last axis, shape (N, C): the same bits as torch's, and fast for few classes too.

    torch's kernel for the last axis works in whole vector registers. For ten classes it takes nine times as long.
    """
    if rows.shape[-1] < _FEW_CLASSES:
        return F.log_softmax(rows.T.contiguous(), dim=0).T
    return F.log_softmax(rows, dim=-1)


def _binary_cross_entropy(output: Any, batch: Batch) -> Tensor:
    target = _need_target(batch, "binary_cross_entropy")
    logits = _fit(_wide(logits_of(output)), target, "binary_cross_entropy")
    return _sum(F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none"))


def _squared_error(output: Any, batch: Batch) -> Tensor:
    target = _need_target(batch, "mse")
    prediction = _fit(_wide(logits_of(output)), target, "mse")
    return _sum((prediction - target.to(prediction.dtype)).square())


def _model_loss(output: Any, batch: Batch) -> Tensor:
    value = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    if not isinstance(value, Tensor):
        raise TaskError(
            f"the loss 'model' takes the .loss of the output, and the model returned {type(output).__name__} without "
            "one.\nMake sure that the batch contains the labels, or pass `loss='cross_entropy'`."
        )
    return _terms_or_mean(value, batch)


def _from_callable(function: Callable[..., Any]) -> Callable[[Any, Batch], Tensor]:
    def total(output: Any, batch: Batch) -> Tensor:
        value = function(output, batch.raw if batch.target is None else batch.target)
        if not isinstance(value, Tensor):
            raise TaskError(
                f"the loss returned {type(value).__name__}; it must return a tensor: one term per sample, or the mean."
            )
        return _terms_or_mean(value, batch)

    return total


def _terms_or_mean(value: Tensor, batch: Batch) -> Tensor:
    """Return the total of a batch from one term per sample, or from their mean."""
    if value.numel() == 1:
        return value.reshape(()).double() * batch.samples
    if value.shape != (batch.samples,):
        raise TaskError(
            f"the loss returned shape {tuple(value.shape)} for a batch of {batch.samples} samples; it must return one "
            f"term per sample, shape ({batch.samples},), or the mean, shape ()."
        )
    return _sum(value)


def _wide(logits: Tensor) -> Tensor:
    """Return half-precision predictions as float32: a loss in bfloat16 has only two digits."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _sum(terms: Tensor) -> Tensor:
    return terms.sum(dtype=torch.float64)


def _need_target(batch: Batch, name: str) -> Tensor:
    if isinstance(batch.target, Tensor):
        return batch.target
    raise TaskError(
        f"the loss {name!r} compares with a target, and the batch ({type(batch.raw).__name__}) carries none.\n"
        "Give batches (inputs, target), or a dict with the key labels, or your own forward and loss."
    )


def _fit(output: Tensor, target: Tensor, name: str) -> Tensor:
    """Return ``output`` in the target's shape: (N, 1) against (N,) would otherwise broadcast to (N, N)."""
    if output.shape == target.shape:
        return output
    alike = [size for size in output.shape if size > 1] == [size for size in target.shape if size > 1]
    flat = output.shape[:1] == target.shape[:1] and min(output.dim(), target.dim()) == 2
    # never between (N, H, W, C) and (N, C, H, W), which would reorder the entries
    if output.numel() == target.numel() and (alike or flat):
        return output.reshape(target.shape)
    raise TaskError(
        f"{name} needs one prediction for each target; the model returned shape {tuple(output.shape)} for targets of "
        f"shape {tuple(target.shape)}. Check the targets, or pass `loss='cross_entropy'` for class indices."
    )


def _samples(batch: Batch) -> int:
    return batch.samples


def _elements(batch: Batch) -> int:
    return batch.target.numel() if isinstance(batch.target, Tensor) else batch.samples


def _classes_counted(batch: Batch) -> int:
    target = batch.target
    if not isinstance(target, Tensor):
        return batch.samples
    if target.is_floating_point():
        return target.numel() // target.shape[1] if target.dim() > 1 else batch.samples
    return int((target != IGNORED_CLASS).sum())
