"""Which of torch's losses gives this value on these predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.objective.losses.make import own_loss
from landscape.objective.losses.predictions import IGNORED_CLASS, Reading, logits_of
from landscape.objective.moved_weights import AnyPoint, Point
from landscape.objective.noise import Noise
from landscape.objective.parameters import Entry

_ALIKE = 1e-5  # relative: values this close are the same loss, summed in float32 in another order
_ROUNDING = 1e-12  # relative: of a loss in float64; a layer of zeros gives several losses one value to this
_CLOSER = 20  # the error of the loss that is meant is smaller than that of any other by this factor
PIXEL_WITHOUT_LABEL = 255
_OTHER_IGNORED = (PIXEL_WITHOUT_LABEL, -1, 0)  # -1: anything without a label; 0: padding
_AT_REST = 1e-6  # a loss this small tells nothing: all losses are near 0 there

_ROWS = 16  # of logits that are converted at a time

_NOISE = 0.1  # of the parameters' root mean square

Match = tuple[float, Reading]  #: relative difference of the values, and what the predictions then mean


def matches(value: Tensor, predictions: Tensor, target: Any, place: int | None = None) -> list[Match]:
    """Return what the predictions mean to a loss of this value, for each of torch's losses that gives it.

    >>> z, y = torch.tensor([[0.2, 0.9], [0.8, 0.1]]), torch.tensor([1, 1])
    >>> [reading.output for _, reading in matches(F.cross_entropy(z, y), z, y)]
    ['logits']
    """
    said = float(value.detach().double().mean())
    if not isinstance(target, Tensor) or not math.isfinite(said) or abs(said) < _AT_REST:
        return []
    alike = max(_ALIKE, float(torch.finfo(value.dtype).eps))
    values = ((abs(said - mean) / abs(mean), reading) for reading, mean in _values(predictions, target, place) if mean)
    return [(error, reading) for error, reading in values if error <= alike]


def only_one(found: list[Match]) -> Reading | None:
    """Return the reading that matches far better than all others; None if there is none."""
    ranked = sorted(found, key=lambda match: match[0])
    if len(ranked) > 1 and max(ranked[0][0], _ROUNDING) * _CLOSER > ranked[1][0]:
        return None
    return ranked[0][1] if ranked else None


def of_own_loss(output: Any, target: Any) -> Reading | None:
    """Return how a model's own loss reads its logits; None if no loss of torch reads them so.

    Args:
        output: what the model returns at a point where the loss is not at rest.
        target: what the loss compares with.

    Raises:
        TaskError: if the output holds no loss, or no predictions.
    """
    return only_one(matches(own_loss(output), logits_of(output), target))


def left_out_of(target: Tensor) -> tuple[int, ...]:
    """Return the class indices that a loss may leave out of these: those that are customary for it, if they occur."""
    return IGNORED_CLASS, *(index for index in _OTHER_IGNORED if bool((target.long() == index).any()))


def _values(z: Tensor, target: Tensor, place: int | None) -> list[tuple[Reading, float]]:
    """Return the value of each of torch's losses that takes such predictions and targets."""
    z, values = z.detach(), []
    if not target.is_floating_point():
        for next_token, ignored in product((False, True)[: target.dim()], left_out_of(target)):
            reading = Reading("logits", "classes", ignored, next_token, place)
            aligned = reading.aligned(target).long()
            rows = reading.rows(z, aligned)
            if rows.dim() < 2 or rows.shape[:-1] != aligned.shape or rows.shape[-1] < 2:
                continue
            values += _of_classes(rows.flatten(0, -2), aligned.flatten(), reading)
    elif z.shape == target.shape and z.dim() > 1 and z.shape[1] > 1:
        cross_entropy = float(F.cross_entropy(z.double(), target.double()))
        values.append((Reading("logits", "classes", place=place), cross_entropy))
    if z.numel() == target.numel():
        z, t = z.double(), target.reshape(z.shape).double()
        logits = float(F.binary_cross_entropy_with_logits(z, t))
        values.append((Reading("logits", "binary", place=place), logits))
        if bool(((z >= 0) & (z <= 1)).all()) and bool(((t >= 0) & (t <= 1)).all()):
            values.append((Reading("probabilities", "binary", place=place), float(F.binary_cross_entropy(z, t))))
    return values


def _of_classes(rows: Tensor, target: Tensor, reading: Reading) -> list[tuple[Reading, float]]:
    """Return the values of the losses over classes on rows (N, C) and class indices (N,)."""
    kept = target != reading.ignored
    if not bool(kept.any()) or not bool(((target >= 0) & (target < rows.shape[-1]))[kept].all()):
        return []
    taken = rows.gather(1, target.where(kept, 0)[:, None])[kept, 0].double()
    # some rows at a time: in float64 the logits of a language model fill a machine
    log_sums = torch.cat([piece.double().logsumexp(-1) for piece in rows.split(_ROWS)])[kept]
    values = [
        (reading, float((log_sums - taken).mean())),
        (_as(reading, "log-probabilities"), float(-taken.mean())),
    ]
    if bool((rows >= 0).all(-1)[kept].all()):
        values.append((_as(reading, "probabilities"), float(-taken.log().mean())))
    return values


def _as(reading: Reading, output: str) -> Reading:
    return replace(reading, output=output)


def near_point(theta: AnyPoint, pairs: Sequence[tuple[Tensor, Entry]]) -> AnyPoint:
    """Return a point near theta, where no loss is at rest and no layer is zero.

    Args:
        theta: the trained point.
        pairs: the model's own parameters and their places, for a point that is no flat vector.
    """
    if isinstance(theta, Point):
        return Point(((_NOISE, Noise(pairs)),))
    noise = torch.randn(theta.shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu", dtype=torch.float32)
    size = float(theta.norm()) / math.sqrt(len(theta)) or 1.0
    return noise.to(theta).mul_(_NOISE * size).add_(theta)
