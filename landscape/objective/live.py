"""The objective of a model that goes on training: the same data, other weights."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor, nn

from landscape.objective.batch_loss import ModelProgram
from landscape.objective.model import check_values
from landscape.objective.objective import Objective
from landscape.objective.parameters import Layout, fixed_parameters


@torch.inference_mode(False)
def with_present_weights(objective: Objective, model: nn.Module) -> Objective | None:
    """Return the objective at the weights and buffers that its model has now; the data are shared, not copied.

    What was found out on the data holds on: how they are cut into batches, what the loss means, how many points run
    together. The old objective stays as it is.

    Args:
        objective: made from this model, without options that move it to another device or dtype.
        model: the model.

    Returns:
        the new objective; None if it must be made from the data again: the model is another one, a TorchScript module
        (which the objective holds as a copy), or has other tensors than before.

    Raises:
        ObjectiveError: for weights or a loss that are NaN or infinite.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.ones_(net.weight)
    >>> first = Objective(net, (torch.eye(2), torch.zeros(2)), "mse")
    >>> _ = nn.init.zeros_(net.weight)
    >>> now = with_present_weights(first, net)
    >>> first.centre, now.centre
    (1.0, 0.0)
    """
    program = objective.program
    if not isinstance(program, ModelProgram) or program.model is not model:
        return None
    layout = Layout.of(model)
    if (layout.entries, layout.fixed) != (objective.layout.entries, objective.layout.fixed):
        return None
    held = [*model.buffers(), *fixed_parameters(model)]
    if [_form(tensor) for tensor in held] != [_form(tensor) for tensor in program.constants]:
        return None
    place = check_values(model)
    if place != objective.theta.device:
        return None
    theta = objective.layout.flatten(dict(model.named_parameters()), place)
    other = copy(objective)
    other.notes = list(objective.notes)
    now = program.with_buffers(tuple(tensor.detach().clone() for tensor in held))
    other._set_up(now, theta, objective.layout, objective.scope)
    return other


def _form(tensor: Tensor) -> tuple[torch.dtype, torch.Size, torch.device]:
    return tensor.dtype, tensor.shape, tensor.device
