"""Make a loss out of a name or a callable, and check that the targets suit it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from landscape.errors import TaskError, keeps_running
from landscape.objective.batches import Batch
from landscape.objective.losses.loss import Loss, float64_sum, one, samples_of
from landscape.objective.losses.named import binary_cross_entropy, cross_entropy, misfit, squared_error
from landscape.objective.losses.predictions import OUTPUTS, SUM_TOLERANCE, Reading, logits_of
from landscape.objective.losses.torch_losses import torch_loss

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse", "model")
_ALIASES = {"mean_squared_error": "mse", "bce": "binary_cross_entropy"}


def make_loss(loss: str | Callable[..., Any], *, output: str | None = None, next_token: bool = False) -> Loss:
    """Return the loss called ``loss``, or wrap a callable of (output, target).

    - ``cross_entropy``: logits (N, C, ...) or (N, ..., C), with class indices (-100 is left out) or probabilities.
    - ``binary_cross_entropy``: logits; the mean over all elements.
    - ``mse``: the mean over all elements.
    - ``model``: the ``.loss`` of the output, or an output of one number.
    - torch's own losses: divided by what torch divides them by (:mod:`landscape.objective.losses.torch_losses`).
    - a callable of (output, target): returns one term per sample, shape (N,), or the batch mean, shape (). If the batch
      has no target, it gets the batch itself.

    Args:
        loss: the name or the callable.
        output: what the predictions are, one of :data:`landscape.objective.losses.predictions.OUTPUTS`; by default what
            the loss says.
        next_token: whether position i of the output predicts entry i + 1 of the targets.

    Raises:
        TaskError: for an unknown name, and for an ``output`` that the loss contradicts.
    """
    if output is not None and output not in OUTPUTS:
        raise TaskError(f"the output {output!r} is not known. Pass one of {', '.join(OUTPUTS)}.")
    if callable(loss):
        own = torch_loss(loss, next_token=next_token)
        if own is None:
            function: Any = loss
            while isinstance(function, partial):
                function = function.func
            name = f"{getattr(function, '__name__', type(function).__name__)}()"  # brackets tell it from our own names
            return _hidden(name, value_of(loss), Reading(output or ""))
        if output is not None and own.reading.output not in ("", output):
            raise TaskError(
                f"{own.name} takes {own.reading.output}, and the output is said to be {output}. Pass another loss, or "
                f"`output='{own.reading.output}'`."
            )
        return replace(own, reading=replace(own.reading, output=own.reading.output or output or ""))
    name = _ALIASES.get(loss, loss)
    if name == "cross_entropy":
        return cross_entropy(Reading(output or "logits", "classes", next_token=next_token))
    if name == "binary_cross_entropy":
        return binary_cross_entropy(Reading(output or "logits", "binary"))
    if name == "mse":
        return replace(squared_error(), reading=Reading(output or ""))
    if name == "model":
        return _hidden(name, value_of(loss), Reading(output or ""))
    near = difflib.get_close_matches(str(loss), [*LOSSES, *_ALIASES], n=1)
    hint = f" Did you mean {_ALIASES.get(near[0], near[0])}?" if near else ""
    raise TaskError(
        f"the loss {loss!r} is not known.{hint} Pass one of {', '.join(LOSSES)}, or a function of (output, target), as "
        "`loss='pkg.mod:function'`."
    )


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
    reading = loss.reading
    if loss.opaque or (loss.name != "binary_cross_entropy" and not (reading.kind == "classes" and reading.output)):
        return
    try:
        rows = reading.rows(logits_of(output), reading.aligned(first.target))
    except TaskError:
        if loss.name in LOSSES:
            raise
        return  # a function of the user takes what it needs out of the output
    for target in (batch.target for batch in batches if isinstance(batch.target, Tensor) and batch.target.numel()):
        left_out = reading.left_out(rows, reading.aligned(first.target))
        indices = left_out is not None and reading.kind == "classes"
        if reading.kind == "classes" and not indices and (not target.is_floating_point() or target.dim() < rows.dim()):
            raise misfit(rows, first.target)
        known = target[reading.kept(target)] if indices else target
        most = rows.shape[-1] - 1 if indices else 1
        low, high = (known.min().item(), known.max().item()) if known.numel() else (0, 0)
        slack = 0 if indices else SUM_TOLERANCE
        if not (low >= -slack and high <= most + slack):
            kind = "class indices" if indices else "probabilities"
            odd = known[(known < 0) | (known > most)].unique().tolist() if indices else []
            hint = f"\nTo leave {odd[0]} out: torch.nn.CrossEntropyLoss(ignore_index={odd[0]})" if len(odd) == 1 else ""
            other = "for class indices pass `loss='cross_entropy'`"
            if loss.name != "binary_cross_entropy":
                other = "for one logit per sample pass `loss='binary_cross_entropy'`"
            raise TaskError(
                f"{loss.name} takes {kind} from 0 to {most} for this model, and the targets run from {low:g} to "
                f"{high:g}.\nRenumber or scale the targets; {other}, for regression `loss='mse'`." + hint
            )


def divided_by(loss: Loss, given: str | Callable[..., Any], count: Callable[[Batch], float]) -> Loss:
    """Return a loss whose terms are hidden, with its value on a batch weighted by ``count``.

    A count of 1 for every batch means that the value is a sum: then the loss is the sum over all data.
    """
    made = _hidden(loss.name, value_of(given), loss.reading, count)
    made = replace(made, per_sample=loss.per_sample, likelihood=loss.likelihood)
    return replace(made, count=samples_of, summed=True, likelihood=False) if count is one else made


def _hidden(
    name: str,
    value: Callable[[Any, Batch], Tensor],
    reading: Reading,
    count: Callable[[Batch], float] = samples_of,
) -> Loss:
    """Return the loss whose mean over a batch is ``value``, or whose terms are, one per sample."""

    def total(output: Any, batch: Batch) -> Tensor:
        mean = value(output, batch)
        if mean.numel() == 1:
            return mean.reshape(()).double() * count(batch)
        if mean.shape != (batch.samples,):
            raise TaskError(
                f"the loss returned shape {tuple(mean.shape)} for a batch of {batch.samples} samples; it must return "
                f"one term per sample, shape ({batch.samples},), or the mean, shape ()."
            )
        return float64_sum(mean)

    return Loss(name, total, count, nonnegative=False, per_sample=False, reading=reading, opaque=True)


def value_of(given: str | Callable[..., Any]) -> Callable[[Any, Batch], Tensor]:
    """Return what a user's function says on (output, batch), or the output's own ``.loss`` for the name ``model``."""
    if not callable(given):
        return lambda output, batch: own_loss(output)

    run = keeps_running(given)

    def value(output: Any, batch: Batch) -> Tensor:
        said = run(output, batch.raw if batch.target is None else batch.target)
        if not isinstance(said, Tensor):
            raise TaskError(
                f"the loss returned {type(said).__name__}; it must return a tensor: one term per sample, or the mean."
            )
        return said if said.is_floating_point() else said.double()

    return value


def own_loss(output: Any) -> Tensor:
    """Return the ``.loss`` of a model's output, or the output itself if it is one number.

    Raises:
        TaskError: if there is none.
    """
    value = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(output, Tensor) and output.numel() == 1:
        return output
    if not isinstance(value, Tensor):
        raise TaskError(
            f"the loss 'model' takes the .loss of the output, and the model returned {type(output).__name__} without "
            "one.\nAdd the array labels to the data, or pass `loss='cross_entropy'`. For a causal language model the "
            "labels are the input_ids again, with -100 at padding."
        )
    return value
