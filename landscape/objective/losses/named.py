"""The losses that have a name: cross_entropy, binary_cross_entropy, mse."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from landscape.errors import TaskError
from landscape.objective.batches import Batch
from landscape.objective.losses.loss import Loss, entries_of, float64_sum, need_target
from landscape.objective.losses.predictions import Reading, as_logits, logits_of, wide

_FEW_CLASSES = 16  # below this number torch's kernel for the last axis is slow


def cross_entropy(reading: Reading) -> Loss:
    """Return the cross entropy of logits (N, C, ...) or (N, ..., C), with class indices or probabilities as targets."""

    def total(output: Any, batch: Batch) -> Tensor:
        target = reading.aligned(need_target(batch, "cross_entropy"))
        logits = as_logits(wide(logits_of(output)), reading.output, binary=False)
        if target.is_floating_point() and target.shape == logits.shape:
            return float64_sum(F.cross_entropy(logits, target.to(logits.dtype), reduction="none"))
        logits = reading.rows(logits, target)
        if target.is_floating_point() or logits.shape[:-1] != target.shape:
            raise misfit(logits, target)
        log_p = _log_softmax(logits.reshape(-1, logits.shape[-1]))
        target = target.reshape(-1).long()
        return float64_sum(F.nll_loss(log_p, target, reduction="none", ignore_index=reading.ignored))

    return Loss(
        "cross_entropy", total, lambda batch: classes_counted(batch, reading), True, per_sample=True, reading=reading,
        likelihood=reading.output == "logits",
    )  # fmt: skip


def misfit(logits: Tensor, target: Tensor) -> TaskError:
    """Return the error for targets that are no class indices for these logits."""
    hint = "Pass `loss='binary_cross_entropy'` for one logit per sample, or `loss='mse'` for regression."
    if not target.is_floating_point() and target.shape == (*logits.shape[:-1], 1) and logits.shape[-1] > 1:
        hint = f"Drop the last axis of the targets: target.squeeze({target.dim() - 1}). {hint}"
    if target.is_floating_point() and bool((target == target.round()).all()):
        hint = f"Make the class indices integers: target.long(). {hint}"
    return TaskError(
        f"cross_entropy needs a class index for each row of logits; the model returned shape {tuple(logits.shape)} for "
        f"{target.dtype} targets of shape {tuple(target.shape)}.\n{hint}"
    )


def classes_counted(batch: Batch, reading: Reading) -> int:
    """Return the number of predictions that a batch's class indices or probabilities ask for."""
    target = reading.aligned(batch.target)
    if not isinstance(target, Tensor):
        return batch.samples
    if target.is_floating_point():
        return target.numel() // target.shape[1] if target.dim() > 1 else batch.samples
    return int(reading.kept(target).sum())


def binary_cross_entropy(reading: Reading) -> Loss:
    """Return the binary cross entropy, the mean over all elements."""

    def total(output: Any, batch: Batch) -> Tensor:
        target = need_target(batch, "binary_cross_entropy")
        found = fitted(wide(logits_of(output)), target, "binary_cross_entropy")
        target = target.to(found.dtype)
        if reading.output == "probabilities":
            return float64_sum(F.binary_cross_entropy(found, target, reduction="none"))
        logits = as_logits(found, reading.output, binary=True)
        return float64_sum(F.binary_cross_entropy_with_logits(logits, target, reduction="none"))

    return Loss(
        "binary_cross_entropy", total, entries_of, True, per_sample=True, reading=reading,
        likelihood=reading.output == "logits",
    )  # fmt: skip


def squared_error() -> Loss:
    """Return the squared error, the mean over all elements."""

    def total(output: Any, batch: Batch) -> Tensor:
        target = need_target(batch, "mse")
        prediction = fitted(wide(logits_of(output)), target, "mse")
        return float64_sum((prediction - target.to(prediction.dtype)).square())

    return Loss("mse", total, entries_of, True, per_sample=True)


def fitted(output: Tensor, target: Tensor, name: str) -> Tensor:
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


def _log_softmax(rows: Tensor) -> Tensor:
    """Return log p over the last axis, shape (N, C): the same bits as torch's, and fast for few classes too.

    torch's kernel for the last axis works in whole vector registers. For ten classes it takes nine times as long.
    """
    if rows.shape[-1] < _FEW_CLASSES:
        return F.log_softmax(rows.T.contiguous(), dim=0).T
    return F.log_softmax(rows, dim=-1)
