"""Causal language models: position i predicts entry i + 1 of the labels, which come as a copy of the inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch
from landscape.objective.losses.meanings import near_point, of_own_loss
from landscape.objective.losses.predictions import IGNORED_CLASS, Reading, logits_of
from landscape.objective.moved_weights import AnyPoint

_CLASS_NAMES = ("ForCausalLM", "LMHeadModel")  # ends of the names of such classes in transformers
NEXT_TOKEN = (
    "the model predicts the next token: position i of its output is compared with entry i + 1 of the labels, as in "
    "its own loss"
)
OWN_INPUTS = (
    "the targets are the model's own inputs. If it predicts the next token, give inputs[:, :-1] and targets[:, 1:]"
)


def predicts_next(
    program: ModelProgram, theta: AnyPoint, trained: Any, reading: Reading
) -> tuple[bool, tuple[str, ...]]:
    """Return whether the targets are labels of a causal language model that are not moved yet, and a note.

    transformers moves the labels inside the model's own loss. So that loss, at any point, is the cross entropy with
    labels moved by one. Labels that a user has moved already are those that follow the inputs.

    Args:
        program: the model and the first batch, running.
        theta: the trained point.
        trained: the model's output on the batch.
        reading: what the loss says about the predictions.
    """
    batch = program.batches[0]
    target = batch.target
    if reading.kind != "classes" or not isinstance(target, Tensor) or target.is_floating_point() or target.dim() < 2:
        return False, ()
    if logits_of(trained).shape[:-1] != target.shape:
        return False, ()
    copied, follows = _in_inputs(batch, target)
    labelled = isinstance(batch.raw, Mapping) and "labels" in batch.raw
    if follows or not (copied or labelled):
        return False, ()
    moves = _moves_labels(program, theta)
    if moves is None:
        moves = copied and type(program.model).__name__.endswith(_CLASS_NAMES)
        if not moves:
            return False, (OWN_INPUTS,) if copied else ()
    return moves, (NEXT_TOKEN,) if moves else ()


def _in_inputs(batch: Batch, target: Tensor) -> tuple[bool, bool]:
    """Return whether targets that are not left out are a copy of an input, and whether they follow one."""
    items = [*batch.inputs, *batch.named.values()]
    alike = [item for item in items if isinstance(item, Tensor) and item.shape == target.shape]
    alike = [item for item in alike if not item.is_floating_point()]
    known = target != IGNORED_CLASS
    copied = any(bool(((item == target) | ~known).all()) for item in alike)
    follows = any(bool(((item[:, 1:] == target[:, :-1]) | ~known[:, :-1]).all()) for item in alike)
    return copied, follows and not copied


def _moves_labels(program: ModelProgram, theta: AnyPoint) -> bool | None:
    """Return whether the model's own loss moves the labels by one position; None if it has no such loss."""
    batch = program.batches[0]
    named = {**batch.named, "labels": batch.target}
    try:
        if program.forward is None:
            if "labels" not in inspect.signature(program.model.forward).parameters:
                return None
            program = program.with_forward(lambda model, _: model(*batch.inputs, **named))
        same = of_own_loss(program.output(near_point(theta, program.pairs), 0), batch.target)
    except Exception:  # a model of another kind: the caller measures it without its own loss
        return None
    return None if same is None else same.next_token
