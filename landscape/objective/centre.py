"""The loss at the trained point: it must be finite, and the same every time.

Two passes are compared: those at this point, unless two near it gave the same to the last bit. A model that draws
random numbers, with the same loss both times, is tried more often: a draw may change the loss in a few passes only,
such as one in fifty. A model that draws from a generator of its own, or counts its calls, shows nothing of that: there
a change in fewer than about half of the passes can go unnoticed.
"""

from __future__ import annotations

import math
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import CENTRE, ModelProgram, Program, evaluating
from landscape.objective.batches import Batch
from landscape.objective.checks import attributes, differ, random_state
from landscape.objective.evaluate import run_pass
from landscape.objective.losses.accuracy import Counts, accuracy_counts
from landscape.objective.losses.loss import Loss
from landscape.objective.moved_weights import AnyPoint, Point, PointList
from landscape.results.table import percent

_RANDOM = (
    "Something draws random numbers in the forward pass (dropout, noise, stochastic depth), and radii would measure "
    "it. Leave training mode off, or switch it off in the model or the forward function."
)
_STATEFUL = (
    "No random number of torch, numpy or Python was drawn. So the model keeps something from one call to the next, as "
    "a recurrent net or a counter does. Or it draws from a generator of its own, or its kernels add in no fixed order. "
    "Reset that at the start of the forward pass: forward=lambda model, batch: ..."
)
_DRAWS = (
    "the forward pass draws random numbers, and {} passes at the trained point gave the same loss. A draw that changes "
    "it in fewer than {} of the passes may have gone unnoticed (95 % confidence)"
)
_PASSES = 300  #: in which a change in one pass of a hundred shows with 95 % confidence
_SECONDS = 1.0  # for all of these
_RULE_OF_THREE = 3.0  # n passes without a change: its chance is below 3 / n with 95 % confidence
_REPEAT_TOLERANCE = 1e-6  # relative: two evaluations of a deterministic loss may differ by rounding only


@dataclass(frozen=True)
class Centre:
    """What is known about the trained point.

    Attributes:
        loss: the loss there.
        notes: what a user should know about it.
        right: the predictions of each batch; None if they were not counted.
    """

    loss: float
    notes: tuple[str, ...] = ()
    right: tuple[Counts, ...] | None = None


def check_centre(
    program: Program, origin: AnyPoint, device: torch.device, output: Any = None, *, repeated: bool = False
) -> Centre:
    """Return the loss at theta, having checked that it is finite and the same each time.

    Right predictions of a large model are counted on the way, since each pass takes long.

    Args:
        program: the loss.
        origin: theta.
        device: where it is.
        output: the model's output at theta on the only batch, if a pass has been made. It saves one, unless the
            loss needs a graph, which it has not.
        repeated: whether two other passes over this batch gave the same to the last bit. Then only the loss is taken of
            ``output`` twice.

    Raises:
        ObjectiveError: if it is not.
    """
    if isinstance(program, ModelProgram) and program.caches:
        program = copy(program)
        program.caches = False  # what the model keeps from one pass to the next must not change its loss
    centre = origin[None] if isinstance(origin, Tensor) else PointList([origin], device)
    right: list[Counts] = []
    counted = _counting(program, right) if isinstance(origin, Point) else program

    def loss(by: Program = program) -> float:
        return float(run_pass(by, centre, place=CENTRE).values[0])

    with program.running():
        before, held, started = random_state(), attributes(program), perf_counter()
        if isinstance(program, ModelProgram) and program.differentiates:
            output = None
        first = loss() if output is None else _loss_of(output, program)
        second = _loss_of(output, counted) if output is not None and repeated else loss(counted)
        draws = before != random_state()
        if output is not None:
            # the earlier pass began from the same random numbers and attributes; a loss may have written to its output
            again = draws or differ(held, attributes(program)) or not _same(first, second)
            if again and repeated:
                right.clear()
                second = loss(counted)
            first, second = second, loss() if again else second
        known = tuple(right) if len(right) == len(program.counts) else None
        if not math.isfinite(first):
            raise ObjectiveError(
                f"the loss at the trained point is {first}, so there is no basin around it.\n"
                "Check the inputs' scaling, the targets and the dtype (float16 overflows: try `dtype=torch.float32`)."
            )
        if not _same(first, second):
            raise ObjectiveError(
                "the loss is not deterministic: two evaluations at the same point gave "
                f"{first:.9g} and {second:.9g}.\n" + (_RANDOM if draws else _STATEFUL)
            )
        if not draws:
            return Centre(first, (), known)
        passes = 2
        while passes < _PASSES and (program.sharded or perf_counter() - started < _SECONDS):  # ranks pass together
            passes += 1
            if not _same(first, other := loss()):
                raise ObjectiveError(
                    f"the loss is not deterministic: {passes - 1} evaluations at the same point gave {first:.9g}, and "
                    f"the next one {other:.9g}.\n{_RANDOM}"
                )
    return Centre(first, (_DRAWS.format(passes, percent(min(1.0, _RULE_OF_THREE / passes), 0)),), known)


def _loss_of(output: Any, program: Program) -> float:
    """Return the loss of an output on the only batch."""
    assert isinstance(program, ModelProgram)
    with evaluating(program, 0, CENTRE):
        return float(program.losses[0].total(output, program.batches[0])) / program.counts[0]


def _counting(program: Program, right: list[Counts]) -> Program:
    """Return a program that appends the predictions of each batch to ``right`` as it runs."""
    assert isinstance(program, ModelProgram)

    def counting(loss: Loss) -> Loss:
        def total(output: Any, batch: Batch) -> Tensor:
            with suppress(Exception):  # the accuracy is asked for later, and the error is told then
                right.append(accuracy_counts(loss, output, batch))
            return loss.total(output, batch)

        return replace(loss, total=total)

    return program.with_losses(tuple(map(counting, program.losses)))


def _same(first: float, other: float) -> bool:
    return abs(first - other) <= _REPEAT_TOLERANCE * max(abs(first), 1e-12)
