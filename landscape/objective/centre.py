"""The loss at the trained point: it must be finite, and the same every time.

Two passes are compared. A model that draws random numbers, with the same loss both times, is tried more often: a draw
may change the loss in a few passes only, such as one in fifty. A model that draws from a generator of its own, or
counts its calls, shows nothing of that: there a change in fewer than about half of the passes can go unnoticed.
"""

from __future__ import annotations

import math
from time import perf_counter

import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import CENTRE, Program
from landscape.objective.checks import random_state
from landscape.objective.evaluate import run_pass
from landscape.objective.moved_weights import AnyPoint, PointList
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


def check_centre(program: Program, origin: AnyPoint, device: torch.device) -> tuple[float, tuple[str, ...]]:
    """Return the loss at theta, having checked that it is finite and the same each time, and notes.

    Raises:
        ObjectiveError: if it is not.
    """
    centre = origin[None] if isinstance(origin, Tensor) else PointList([origin], device)

    def loss() -> float:
        return float(run_pass(program, centre, place=CENTRE).values[0])

    with program.running():
        before, started = random_state(), perf_counter()
        first, second = loss(), loss()
        draws = before != random_state()
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
            return first, ()
        passes = 2
        while passes < _PASSES and (program.sharded or perf_counter() - started < _SECONDS):  # ranks pass together
            passes += 1
            if not _same(first, other := loss()):
                raise ObjectiveError(
                    f"the loss is not deterministic: {passes - 1} evaluations at the same point gave {first:.9g}, and "
                    f"the next one {other:.9g}.\n{_RANDOM}"
                )
    return first, (_DRAWS.format(passes, percent(min(1.0, _RULE_OF_THREE / passes), 0)),)


def _same(first: float, other: float) -> bool:
    return abs(first - other) <= _REPEAT_TOLERANCE * max(abs(first), 1e-12)
