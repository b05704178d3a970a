"""Whether model and loss read their parameters from the modules, where points are placed.

A list of parameters in a closure, or a view of a weight that was made when the module was built, stays at the trained
point while the modules have moved. Then the loss would be flat along directions that move it. So the loss at one point
that is placed in the modules is compared with the loss after the parameters themselves are overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import copied
from landscape.objective.kept_in_code import refuse_kept_in_code
from landscape.objective.moved_weights import AnyPoint

_SHARE = 0.1  # of the size of an entry, and of its tensor: far above rounding, and no weight changes its order of size
_ALIKE = {torch.float32: 2e-5, torch.float64: 1e-10}  # relative: other memory layouts round otherwise
_ROUNDINGS = 10  # of a term of the order of 1, however small the loss is


def refuse_held_elsewhere(program: ModelProgram, theta: AnyPoint, *functions: Any) -> None:
    """Raise an error if model or loss read what points do not reach; call it for a deterministic loss, after a pass.

    What cannot be tried is not refused: large, sharded, scripted and 16-bit models, and parameters that cannot be
    written to. What code keeps from an earlier pass is looked for in large and 16-bit models too.

    Args:
        program: the model and its loss, on some samples.
        theta: the trained point.
        functions: the user's, for the forward pass and the loss; others are passed over.

    Raises:
        ObjectiveError: if two losses differ by more than rounding.
    """
    refuse_kept_in_code(program, theta, *functions)
    alike = min((_ALIKE.get(entry.dtype, 0.0) for entry in program.layout.entries), default=0.0)
    if not isinstance(theta, Tensor) or program.scripted or program.sharded or not alike:
        return
    trial = program.with_batches((copied(program.batches[0]),))
    own = [parameter.data for parameter, _ in program.pairs]  # so that writing raises no version of the caller's own
    gradients = torch.enable_grad() if program.differentiates else nullcontext()
    try:
        with program.running(), gradients:
            views = program.layout.split(_near(theta))
            count = float(trial.counts[0])
            placed = float(trial.total_of(views, 0).detach()) / count
            with _written(own, views):
                true = float(trial.total_of(own, 0).detach()) / count
    except Exception:  # what fails here fails again in a measurement, and is told there
        return
    allowed = alike * max(abs(placed), abs(true)) + _ROUNDINGS * torch.finfo(theta.dtype).eps
    if abs(placed - true) > allowed:
        raise ObjectiveError(
            "the model or the loss reads parameters that are held outside of the modules. A function may have captured "
            f"a list of them, for instance. So near the trained point the loss would be {placed:.6g}. It is {true:.6g} "
            "if the parameters themselves are changed.\nRead them from the model in the forward pass and in the loss, "
            "as model.layer.weight or model.parameters()."
        )


def _near(theta: Tensor) -> Tensor:
    """Return a point whose every entry differs from the trained one."""
    generator = torch.Generator().manual_seed(0)
    noise = 2 * torch.rand(theta.shape, generator=generator, dtype=torch.float32).to(theta) - 1
    return theta + _SHARE * noise * (theta.abs() + theta.square().mean().sqrt())


@contextmanager
def _written(own: list[Tensor], values: list[Tensor]) -> Iterator[None]:
    """Write values over tensors, and restore these to the last bit."""
    kept = [tensor.clone() for tensor in own]
    try:
        with torch.no_grad():
            for tensor, value in zip(own, values, strict=True):
                tensor.copy_(value)
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(own, kept, strict=True):
                tensor.copy_(old)
