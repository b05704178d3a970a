"""Call the function of a measure so that one of a user's own breaks and changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from landscape.errors import LandscapeError
from landscape.inputs.user_code import blamed
from landscape.measures.draws import Draws
from landscape.measures.registry import Definition

_OURS = "landscape"  # the package whose exceptions are bugs of ours, with their traceback


def called(definition: Definition, draws: Draws) -> Any:
    """Return what the function of a measure returns.

    For a user's own function the global generators of torch, numpy and Python are seeded. Afterwards they are as
    before, and so are the weights.

    Raises:
        LandscapeError: a user's function raises, with file and line, or changes the weights. A LandscapeError of its
            own says why there is no value, and stays as it is.
    """
    objective = draws.objective
    if str(getattr(definition.function, "__module__", "")).partition(".")[0] == _OURS:
        return definition.function(objective, draws)
    weights, refusal = objective.theta.clone(), None
    with blamed(f"the measure {definition.name}"), _randomness(draws.settings.seed):
        try:
            result = definition.function(objective, draws)
        except LandscapeError as error:
            refusal = error
    changed = not torch.equal(objective.theta, weights)
    objective.theta.requires_grad_(False)
    if changed:
        objective.theta.copy_(weights)
    if refusal is not None:
        raise refusal
    if changed:
        raise LandscapeError(
            f"the measure {definition.name} changed objective.theta, which the other measures need. Change a copy: "
            "objective.theta.clone()."
        )
    return result


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """Seed the global generators by ``seed``, and leave them as they were."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the caller's global state
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
