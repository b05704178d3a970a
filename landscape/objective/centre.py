"""The loss at the trained point: it must be finite, and the same every time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import CENTRE, Program
from landscape.objective.checks import random_state
from landscape.objective.evaluate import run_pass
from landscape.objective.moved_weights import AnyPoint, PointList

_RANDOM = (
    "Something draws random numbers in the forward pass (dropout, noise, stochastic depth), and radii would measure "
    "it. Leave training mode off, or switch it off in the model or the forward function."
)
_STATEFUL = (
    "No random number of torch, numpy or Python was drawn. So the model keeps something from one call to the next, as "
    "a recurrent net or a counter does. Or it draws from a generator of its own, or its kernels add in no fixed order. "
    "Reset that at the start of the forward pass: forward=lambda model, batch: ..."
)
_REPEAT_TOLERANCE = 1e-6  # relative: two evaluations of a deterministic loss may differ by rounding only


def check_centre(program: Program, origin: AnyPoint, device: torch.device) -> float:
    """Return the loss at theta, having checked that it is finite and the same twice."""
    with program.running():
        before = random_state()
        centre = origin[None] if isinstance(origin, Tensor) else PointList([origin], device)
        passes = [run_pass(program, centre, place=CENTRE) for _ in range(2)]
        draws = before != random_state()
    first, second = (float(evaluation.values[0]) for evaluation in passes)
    if not math.isfinite(first):
        raise ObjectiveError(
            f"the loss at the trained point is {first}, so there is no basin around it.\n"
            "Check the inputs' scaling, the targets and the dtype (float16 overflows: try `dtype=torch.float32`)."
        )
    if not abs(first - second) <= _REPEAT_TOLERANCE * max(abs(first), 1e-12):
        raise ObjectiveError(
            f"the loss is not deterministic: two evaluations at the same point gave {first:.9g} and {second:.9g}.\n"
            + (_RANDOM if draws else _STATEFUL)
        )
    return first
