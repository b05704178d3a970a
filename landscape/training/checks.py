"""What every training refuses: poison without samples for it, a late start, another training's state, a lost loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.errors import TaskError
from landscape.training.problem import Member, Problem


def require_fresh_samples(problem: Problem, members: Sequence[Member]) -> None:
    """Refuse poison without a source of fresh samples.

    Raises:
        TaskError: if a member has poison and the problem has no fresh samples.
    """
    if problem.fresh is None and any(member.poison > 0 for member in members):
        raise TaskError(
            f"poison needs samples of the true distribution that are not training samples, and {problem.name} has "
            "none. Pass `poison=0`, or more data."
        )


def require_first_step(step: int, states: int, networks: int) -> None:
    """Refuse starting weights after the first step, or for another number of networks.

    Raises:
        TaskError: after the first step, or for another number of states.
    """
    if step or states != networks:
        raise TaskError(
            f"starting weights are one state_dict per network, given before the first step: expected {networks} at "
            f"step 0, got {states} at step {step}."
        )


def require_same_training(stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuse to continue a training from the state of another one.

    Raises:
        TaskError: if members or settings differ.
    """
    if any(stored.get(key) != current[key] for key in ("members", "settings")):
        raise TaskError(
            "the training to continue was started with other seeds, poison factors, steps or options.\n"
            "Give the same options as before, or start again without `resume=True`."
        )


class DivergedError(TaskError):
    """The training loss of a network became NaN or infinite.

    Attributes:
        member: the network.
    """

    member: Member


def require_finite_loss(loss: float, step: int, learning_rate: float, member: Member) -> None:
    """Stop a training that has diverged.

    Raises:
        DivergedError: if the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        error = DivergedError(
            f"the training loss became {loss} at step {step}, learning rate {learning_rate:g}, seed {member.seed}, "
            f"poison {member.poison:g}, so there is no trained network to keep. Check the data for NaN, or try "
            "another seed=."
        )
        error.member = member
        raise error
