"""The KL divergence from the trained model's predictions, as a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import ObjectiveError
from landscape.objective.batches import Batch
from landscape.objective.losses.loss import Loss
from landscape.objective.losses.predictions import Reading, as_logits, check_output, wide


def reading_for_kl(loss: Loss) -> Reading:
    """Return what a loss says about the predictions.

    Raises:
        ObjectiveError: if it does not say what the output is.
    """
    if not loss.reading.output:
        raise ObjectiveError(
            f"the criterion 'kl' compares probabilities, and the loss {loss.name} does not say what the output is.\n"
            "Pass `output='logits'`, `output='probabilities'` or `output='log-probabilities'`; for plain numbers "
            "`criterion='rise'`."
        )
    return loss.reading


def kl_from(output: Any, batch: Batch, reading: Reading) -> Loss:
    """Return the KL divergence from the predictions in ``output`` as a loss on this one batch.

    KL(p0 | p) = sum_k p0_k (log p0_k - log p_k) for each prediction, with p0 the prediction of the trained model.
    Predictions whose target is left out do not count. If the reading is ``binary``, or if the model has a single logit,
    the logits are independent. If logits have more than two dimensions, the shape of the target tells the class axis.
    Without a target it is taken to be the last axis.

    Raises:
        TaskError: if the output is said to be probabilities, and is not.
    """
    target = reading.aligned(batch.target)
    reference = wide(reading.predictions(output))
    if reading.output != "logits":
        check_output(reference, target, reading)
    rows = reading.rows(reference, target)
    binary = reading.kind == "binary" or rows.dim() < 2 or rows.shape[-1] == 1
    reference = as_logits(reference if binary else rows, reading.output, binary=binary)
    if not binary:
        reference = F.log_softmax(reference, dim=-1)
    count = reference.numel() if binary else reference.numel() // reference.shape[-1]
    left_out = None if binary else reading.left_out(reference, target)
    if left_out is not None:
        count -= int(left_out.sum())

    def total(moved: Any, moved_batch: Batch) -> Tensor:
        logits = wide(reading.predictions(moved))
        if binary:
            logits = as_logits(logits, reading.output, binary=True)
            # in logits z: p0 (z0 - z) + softplus(z) - softplus(z0)
            terms = torch.sigmoid(reference) * (reference - logits) + F.softplus(logits) - F.softplus(reference)
        else:
            moved_rows = reading.rows(logits, reading.aligned(moved_batch.target))
            log_p = F.log_softmax(as_logits(moved_rows, reading.output, binary=False), dim=-1)
            terms = (reference.exp() * (reference - log_p)).sum(-1)
        if left_out is not None:
            terms = terms.masked_fill(left_out, 0.0)
        # rounding can leave a term just below zero
        return terms.clamp_min(0.0).sum(dtype=torch.float64)

    return Loss("kl", total, lambda _: count, nonnegative=True, per_sample=True, reading=reading)
