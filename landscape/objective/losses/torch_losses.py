"""torch's own losses, as modules, functions or ``functools.partial`` of them: their terms, and what divides the sum.

==================================  ==========================================
reduction="mean" of                 divides the sum of the terms by
==================================  ==========================================
cross entropy, negative log         the summed class weights of the targets
likelihood; class indices           that are not ignored (1 each by default)
cross entropy; probabilities        the number of predictions
squared, absolute, Huber, binary    the number of entries
cross entropy, Poisson, margin
KL divergence, ``batchmean``        the number of samples
margins over classes                the number of samples
==================================  ==========================================

A loss with ``reduction="sum"`` is the sum over all data. One with ``reduction="none"`` counts as its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import TaskError
from landscape.objective.batches import Batch
from landscape.objective.digest import digest
from landscape.objective.losses.loss import Loss, entries_of, float64_sum, need_target, samples_of
from landscape.objective.losses.named import classes_counted
from landscape.objective.losses.predictions import IGNORED_CLASS, Reading, logits_of, wide

_CLASSES = {
    nn.CrossEntropyLoss: "logits", F.cross_entropy: "logits",
    nn.NLLLoss: "log-probabilities", nn.NLLLoss2d: "log-probabilities", F.nll_loss: "log-probabilities",
}  # fmt: skip
_BINARY = {
    nn.BCELoss: "probabilities", F.binary_cross_entropy: "probabilities",
    nn.BCEWithLogitsLoss: "logits", F.binary_cross_entropy_with_logits: "logits",
}  # fmt: skip
_DISTANCES = {
    nn.MSELoss, F.mse_loss, nn.L1Loss, F.l1_loss, nn.SmoothL1Loss, F.smooth_l1_loss, nn.HuberLoss, F.huber_loss,
}  # fmt: skip
_ENTRIES = {
    nn.KLDivLoss, F.kl_div, nn.PoissonNLLLoss, F.poisson_nll_loss, nn.SoftMarginLoss, F.soft_margin_loss,
    nn.HingeEmbeddingLoss, F.hinge_embedding_loss,
}  # fmt: skip
_ROWS = {
    nn.MultiMarginLoss: "classes", F.multi_margin_loss: "classes",
    nn.MultiLabelMarginLoss: "", F.multilabel_margin_loss: "",
    nn.MultiLabelSoftMarginLoss: "binary", F.multilabel_soft_margin_loss: "binary",
}  # fmt: skip
_FEW = 8  # weights that a name lists
_KNOWN = {*_CLASSES, *_BINARY, *_DISTANCES, *_ENTRIES, *_ROWS}
_REDUCTIONS = ("mean", "sum", "none", "batchmean")
_OLD_OPTIONS = ("size_average", "reduce")  # of torch's functions, in place of reduction


def torch_loss(loss: Callable[..., Any], *, next_token: bool = False) -> Loss | None:
    """Return one of torch's own losses as a total; None for any other callable.

    A module counts if its class, or the class that it takes ``forward`` from, is torch's. A partial counts if it fixes
    keywords only.
    """
    parts = _parts(loss)
    if parts is None:
        return None
    base, options = parts
    name = _name(loss, base, options)
    terms = _Terms(loss)
    summed = options.get("reduction") == "sum"
    weight = options.get("weight")
    plain = not summed and weight is None and options.get("pos_weight") is None
    if base in _CLASSES:
        reading = Reading(_CLASSES[base], "classes", options.get("ignore_index", IGNORED_CLASS), next_token)
        positive = _CLASSES[base] == "logits" and (weight is None or bool((weight >= 0).all()))
        made = _class_loss(name, terms, reading, weight, summed=summed, nonnegative=positive)
        return replace(made, likelihood=plain and reading.output == "logits")
    if base in _ROWS:
        kind = str(_ROWS[base])
        reading = Reading("logits" if kind == "binary" else "", kind)
        count, nonnegative = samples_of, False
    else:
        reading = Reading(_BINARY.get(base, ""), "binary" if base in _BINARY else "")
        count = samples_of if options.get("reduction") == "batchmean" else entries_of
        nonnegative = base in _DISTANCES
    entries = partial(terms.entries, binary=base in _BINARY)
    return Loss(
        name, entries, count, nonnegative, per_sample=True, reading=reading, summed=summed,
        likelihood=plain and _BINARY.get(base) == "logits",
    )  # fmt: skip


def _name(loss: Any, base: Any, options: dict[str, Any]) -> str:
    """Return a loss in words, with the settings that differ from torch's defaults, so that runs can be told apart."""
    if isinstance(loss, nn.Module):
        usual = base()
        held = {key: getattr(loss, key) for key in (*vars(usual), *usual._buffers) if not key.startswith("_")}
        options = {key: value for key, value in held.items() if key != "training" and _differs(value, usual, key)}
    words = ", ".join(f"{key}={_in_words(value)}" for key, value in options.items())
    return f"{(type(loss) if isinstance(loss, nn.Module) else base).__name__}({words})"


def _differs(value: Any, usual: nn.Module, key: str) -> bool:
    return isinstance(value, Tensor) or value != getattr(usual, key)


def _in_words(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"{value:g}" if isinstance(value, float) else str(value)
    listed = ", ".join(f"{entry:g}" for entry in value.flatten().tolist()) if value.numel() <= _FEW else ""
    return f"[{listed}]" if listed else f"{value.numel()} values {digest(value)[:8]}"


def _class_loss(
    name: str, terms: _Terms, reading: Reading, weight: Tensor | None, *, summed: bool, nonnegative: bool
) -> Loss:
    """Return a loss over classes, whose mean divides by the summed class weights."""

    def count(batch: Batch) -> float:
        if summed:
            return batch.samples
        target = reading.aligned(batch.target)
        if weight is None or not isinstance(target, Tensor) or target.is_floating_point():
            return classes_counted(batch, reading)
        kept = target[reading.kept(target)].long()
        return float(weight.detach().double().to(kept.device)[kept].sum())

    return Loss(
        name, lambda output, batch: terms.of_classes(output, batch, reading), count, nonnegative, per_sample=True,
        reading=reading, summed=summed,
    )  # fmt: skip


class _Terms:
    """The terms of one of torch's losses, before their reduction, in the dtype and on the device of the predictions."""

    def __init__(self, loss: Any) -> None:
        self._name = getattr(loss, "__name__", type(loss).__name__)
        if isinstance(loss, nn.Module):
            self._call: Any = copy(loss)
            vars(self._call)["reduction"] = "none"
        else:
            self._call = partial(loss, reduction="none")
        self._fitting: dict[tuple[torch.dtype, torch.device], Any] = {}

    def entries(self, output: Any, batch: Batch, *, binary: bool = False) -> Tensor:
        """Return the sum of the terms of a loss that compares entry with entry, or row with row.

        Binary targets may be integers or truth values, which torch refuses.
        """
        target = need_target(batch, self._name)
        predictions = wide(logits_of(output))
        target = target.to(predictions.dtype) if binary else target
        self._refuse_weights_of_samples(predictions)
        terms = self._terms(predictions, target)
        if terms.shape not in (target.shape, target.shape[:1]):
            raise TaskError(
                f"{self._name} needs one prediction for each target; the model returned shape "
                f"{tuple(predictions.shape)} for targets of shape {tuple(target.shape)}, which torch broadcasts to "
                f"{tuple(terms.shape)}.\nGive both the same shape, with target.reshape(...) or your own forward."
            )
        return float64_sum(terms)

    def _refuse_weights_of_samples(self, predictions: Tensor) -> None:
        """Refuse weights with an entry for each sample of one batch: another batch needs others."""
        call = self._call
        weight = getattr(call, "weight", None) if isinstance(call, nn.Module) else call.keywords.get("weight")
        if isinstance(weight, Tensor) and weight.dim() == predictions.dim() and weight.shape[0] > 1:
            raise TaskError(
                f"{self._name} holds a weight for each of {weight.shape[0]} samples, and batches have others.\n"
                "Give the weights as part of the data, with a function of (output, target) as the loss."
            )

    def of_classes(self, output: Any, batch: Batch, reading: Reading) -> Tensor:
        """Return the sum of the terms of a loss over classes, whose axis is the second, or the last."""
        target = reading.aligned(need_target(batch, self._name))
        predictions = wide(logits_of(output))
        if not target.is_floating_point():
            target = target.long()
            rows = reading.rows(predictions, target)
            if rows.shape[:-1] == target.shape and rows.dim() > 1:
                predictions = rows.movedim(-1, 1)
        return float64_sum(self._terms(predictions, target))

    def _terms(self, predictions: Tensor, target: Tensor) -> Tensor:
        call = self._fitting_to(predictions.dtype, predictions.device)
        return call(predictions, target.to(predictions.dtype) if target.is_floating_point() else target)

    def _fitting_to(self, dtype: torch.dtype, device: torch.device) -> Any:
        """Return the loss with its weights in the dtype and on the device of the predictions."""
        if (dtype, device) not in self._fitting:
            if isinstance(self._call, nn.Module):
                self._fitting[dtype, device] = deepcopy(self._call).to(dtype=dtype, device=device)
            else:
                moved = {k: v.to(device, dtype) if isinstance(v, Tensor) else v for k, v in self._call.keywords.items()}
                self._fitting[dtype, device] = partial(self._call.func, **moved)
        return self._fitting[dtype, device]


def _parts(loss: Any) -> tuple[Any, dict[str, Any]] | None:
    """Return which of torch's losses this is, and its options; None if it is another callable."""
    base: Any
    options: dict[str, Any]
    if isinstance(loss, nn.Module):
        base = next((kind for kind in type(loss).__mro__ if "forward" in vars(kind)), None)
        options = {key: getattr(loss, key, None) for key in ("reduction", "weight", "pos_weight", "ignore_index")}
        options = {key: value for key, value in options.items() if value is not None}
        changed = bool(loss._forward_hooks or loss._forward_pre_hooks) or "reduction" not in options
    else:
        base, options, changed = loss, {}, False
        while isinstance(base, partial):
            changed |= bool(base.args)
            base, options = base.func, {**base.keywords, **options}
        changed |= any(key in options for key in _OLD_OPTIONS)
        changed |= base in _DISTANCES and "weight" in options if isinstance(base, Hashable) else True
    if changed or base not in _KNOWN or options.get("reduction", "mean") not in _REDUCTIONS:
        return None
    return base, options
