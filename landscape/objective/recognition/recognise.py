"""Find out on the first batch what a loss does not say: what it takes predictions for, and what it divides by.

A function of (output, target) is called on random predictions. The ``.loss`` of a model is read at a point near the
trained one. If the value is that of one of torch's losses, and of no other, the function means the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch, spread
from landscape.objective.losses.loss import Loss, entries_of
from landscape.objective.losses.make import divided_by, make_loss, value_of
from landscape.objective.losses.meanings import matches, near_point, of_own_loss, only_one
from landscape.objective.losses.named import classes_counted
from landscape.objective.losses.predictions import (
    Reading,
    as_probabilities,
    check_output,
    class_last,
    logits_of,
    sums_to_one,
)
from landscape.objective.losses.structure import tensors_of, with_tensors
from landscape.objective.moved_weights import FEW_OF_LARGE, AnyPoint, Point
from landscape.objective.recognition.language_models import predicts_next
from landscape.objective.recognition.weighting import telling_batch, weighting

_SEVERAL = 8  # values in [0, 1]; fewer may be logits


PROBABILITIES = (
    "the output's rows are at least 0 and sum to 1, as probabilities do, but they are read as logits. If the network "
    "ends in a softmax, pass `output='probabilities'`; then the loss must take them too, as cross_entropy does"
)
SIGMOIDS = (
    "all values of the output lie between 0 and 1, as probabilities do, but they are read as logits. If the network "
    "ends in a sigmoid, pass `output='probabilities'`; then the loss must take them too, as binary_cross_entropy does"
)
FIRST = (
    "the model returns {} things; the first, of shape {}, is read as the predictions. If they are another, pass "
    "forward=lambda model, batch: model(batch[0])[1]"
)
CLASS_AXIS = (
    "the classes of the output, shape {}, could lie on its second axis or on its last. The second is taken, as in "
    "torch; if it is the last, pass forward=lambda model, batch: model(...).movedim(-1, 1)"
)
NO_KIND = (
    "a row of the output may be one choice among classes, or several choices of yes or no. Neither the loss nor the "
    "targets say which. The criterion kl takes it as one choice among classes"
)


def recognised(
    loss: Loss,
    given: str | Callable[..., Any],
    output: str | None,
    program: ModelProgram,
    theta: AnyPoint,
    trained: Any,
    batches: tuple[Batch, ...],
    *,
    cut: bool,
    own: Reading | None = None,
) -> tuple[Loss, tuple[str, ...]]:
    """Return the loss with what could be found out about it, and notes for the user.

    Args:
        loss: the loss that :func:`make_loss` made of ``given``.
        given: what the user gave, a name or a callable.
        output: what the user says that the predictions are.
        program: the model and the first batch.
        theta: the trained point.
        trained: the model's output there.
        batches: all batches.
        cut: whether the data will run in more than one batch.
        own: what the model's own loss takes the logits of the first batch for, if that is known.
    """
    target = program.batches[0].target
    if loss.per_sample:
        with program.running():
            moves, notes = predicts_next(program, theta, trained, loss.reading)
        loss = make_loss(given, output=output, next_token=True) if moves else loss
        if not loss.reading.kind:
            loss = replace(loss, reading=_kind_by_shape(loss.reading, trained, target))
        return loss, (*notes, *_checked(loss, output, trained, target), *_others(trained))
    with program.running():
        first = program.batches[0]
        program, trained = _telling(program, theta, trained, batches)
        target = program.batches[0].target
        if callable(given):
            reading = _of_function(given, program.batches[0], trained)
        else:
            reading = own if own and program.batches[0] is first else _of_model(program, theta)
        if reading is None or _leaves_out_more(reading, trained, target, batches):
            reading, notes = _by_shape(loss.reading, program, theta, trained)
        else:
            loss, notes = replace(loss, likelihood=reading.output == "logits"), ()
    loss = replace(loss, reading=reading if output is None else replace(reading, output=output))
    notes += _checked(loss, output, trained, target)
    if not cut or _one_each(value_of(given), trained, program.batches[0]):
        return loss, notes
    if loss.reading.kind and output is None:
        return divided_by(loss, given, _terms_of(loss.reading)), notes
    with program.running():
        count, hidden = weighting(program, near_point(theta, program.pairs), value_of(given), batches)
    return divided_by(loss, given, count), (*notes, *hidden)


def _telling(
    program: ModelProgram, theta: AnyPoint, trained: Any, batches: tuple[Batch, ...]
) -> tuple[ModelProgram, Any]:
    """Return the program on a batch that shows which targets are left out, and the trained model's output on it."""
    telling = telling_batch(batches, program.batches[0])
    # of a large language model the predictions for a few samples fill a machine, in float64
    if isinstance(theta, Point) and telling.samples > FEW_OF_LARGE:
        telling = spread(telling, FEW_OF_LARGE)
    if telling is program.batches[0]:
        return program, trained
    other = program.with_batches((telling,))
    try:
        return other, other.output(theta, 0)
    except Exception:  # a model that cannot run on so few samples
        return program, trained


def _checked(loss: Loss, output: str | None, trained: Any, target: Any) -> tuple[str, ...]:
    """Check on the data what a user says that the output is; return a note if a loss of logits gets probabilities."""
    reading = loss.reading
    target = reading.aligned(target)
    if output is not None:
        check_output(reading.predictions(trained), target, reading)
        if not reading.kind:
            return (NO_KIND,)
    if reading.output != "logits" or not reading.kind:
        return ()
    predictions = reading.predictions(trained)
    if reading.kind == "binary":
        between = predictions.numel() >= _SEVERAL and bool(((predictions >= 0) & (predictions <= 1)).all())
        return (SIGMOIDS,) if between else ()
    rows = reading.rows(predictions, target)
    if loss.name == "cross_entropy" and rows is not predictions and predictions.shape[:-1] == target.shape:
        return (CLASS_AXIS.format(tuple(predictions.shape)),)
    if rows.dim() < 2 or rows.shape[-1] < 2 or not sums_to_one(rows):
        return ()
    return (PROBABILITIES,)


def _others(trained: Any) -> tuple[str, ...]:
    """Return a note if the first of several tensors is read, and another could be the predictions just as well."""
    if not isinstance(trained, tuple | list) or hasattr(trained, "logits") or not trained:
        return ()
    first, *others = trained
    if not isinstance(first, Tensor) or not first.dim():
        return ()
    alike = [each for each in others if isinstance(each, Tensor) and each.is_floating_point()]
    if not any(each.dim() == first.dim() and each.shape[0] == first.shape[0] for each in alike):
        return ()
    return (FIRST.format(len(trained), tuple(first.shape)),)


def _leaves_out_more(reading: Reading, trained: Any, target: Any, batches: tuple[Batch, ...]) -> bool:
    """Return whether some class index is neither a class nor left out: the function treats it in its own way."""
    if reading.kind != "classes" or target.is_floating_point():
        return False
    classes = reading.rows(reading.predictions(trained), reading.aligned(target)).shape[-1]
    others = (batch.target[batch.target != reading.ignored] for batch in batches)
    return any(bool(((each < 0) | (each >= classes)).any()) for each in others)


def _one_each(value_of: Callable[[Any, Batch], Tensor], trained: Any, batch: Batch) -> bool:
    """Return whether the loss gives one term per sample, so that nothing is divided out of sight."""
    try:
        return value_of(trained, batch).numel() > 1
    except Exception:  # whatever is wrong, the measurement of the centre says where
        return True


def _of_function(function: Callable[..., Any], batch: Batch, trained: Any) -> Reading | None:
    """Return what a function of (output, target) takes the predictions for; None if it is none of torch's losses.

    Random numbers in (0, 1) stand for every tensor in the output. They are probabilities of binary predictions, but
    neither logits nor distributions of a trained model, so no two of torch's losses give the same value.
    """
    if not isinstance(batch.target, Tensor):
        return None
    generator = torch.Generator("cpu").manual_seed(0)
    tensors = tensors_of(trained)
    drawn = [
        torch.rand(each.shape, generator=generator, dtype=torch.float64, device="cpu").to(each) for each in tensors
    ]
    try:
        value = value_of(function)(with_tensors(trained, drawn), batch)
    except Exception:  # the function may refuse such predictions; then it is none of torch's losses
        return None
    found = [same for place, each in enumerate(drawn) for same in matches(value, each, batch.target, place)]
    return only_one(found)


def _of_model(program: ModelProgram, theta: AnyPoint) -> Reading | None:
    """Return what the model's own loss takes its logits for; None if it is none of torch's losses."""
    try:
        return of_own_loss(program.output(near_point(theta, program.pairs), 0), program.batches[0].target)
    except Exception:  # an output without predictions, or a point that the model does not reach
        return None


def _by_shape(
    reading: Reading, program: ModelProgram, theta: AnyPoint, trained: Any
) -> tuple[Reading, tuple[str, ...]]:
    """Return the reading of predictions of which a user said only what they are, and notes."""
    reading = _kind_by_shape(reading, trained, program.batches[0].target)
    moves, notes = predicts_next(program, theta, trained, reading)
    return (replace(reading, next_token=True) if moves else reading), notes


def _kind_by_shape(reading: Reading, trained: Any, target: Any) -> Reading:
    """Return the reading with the kind of prediction that the shape of the targets shows, if a user said the rest."""
    if not reading.output:
        return reading
    predictions = logits_of(trained)
    rows = class_last(predictions, target)
    if reading.output != "logits" and (rows.dim() < 2 or not sums_to_one(as_probabilities(rows, reading.output))):
        return replace(reading, kind="binary")
    if not isinstance(target, Tensor):
        return reading if reading.output == "logits" else replace(reading, kind="classes")
    if reading.left_out(rows, target) is not None:
        return replace(reading, kind="classes")
    if predictions.numel() != target.numel() or rows.dim() < 2 or rows.shape[-1] < 2:
        return replace(reading, kind="binary") if predictions.numel() == target.numel() else reading
    chosen = class_last(target, target)
    if sums_to_one(chosen):
        return replace(reading, kind="classes")
    return replace(reading, kind="binary") if bool(((chosen >= 0) & (chosen <= 1)).all()) else reading


def _terms_of(reading: Reading) -> Callable[[Batch], float]:
    """Return what the mean of such a loss divides by."""
    return entries_of if reading.kind == "binary" else lambda batch: classes_counted(batch, reading)
