"""BatchNorm statistics for a point away from the trained one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import ModelProgram, Program, evaluating
from landscape.objective.moved_weights import AnyPoint

_BatchNorm = nn.modules.batchnorm._BatchNorm


def running_norms(program: Program) -> list[_BatchNorm]:
    """Return the BatchNorm layers of a program's model that keep running statistics."""
    if not isinstance(program, ModelProgram):
        return []
    norms = [module for module in program.model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if norm.running_mean is not None and norm.running_var is not None]


class Recalibration:
    """Estimates the running statistics of every BatchNorm layer on the program's own data (Izmailov et al. 2018).

    One pass runs with only the BatchNorm layers in training mode, so that they normalise by the batch. The running mean
    and variance become the averages of the batches' means and unbiased variances, weighted by batch size. They depend
    on how the data are cut into batches, as the statistics of training do.

    Raises:
        ObjectiveError: if there is nothing to estimate, or a batch is too small.
    """

    def __init__(self, program: Program) -> None:
        self._norms = running_norms(program)
        if not isinstance(program, ModelProgram) or not self._norms:
            raise ObjectiveError(
                "the model has no BatchNorm layer with running statistics, so there is nothing to recalibrate.\n"
                "Leave `recalibrate_bn=...` out."
            )
        if program.training:
            raise ObjectiveError(
                "in training mode BatchNorm uses the statistics of each batch, so there are none to recalibrate.\n"
                "Leave out recalibrate_bn, or training."
            )
        self._program = program
        place = {id(buffer): i for i, buffer in enumerate(program.model.buffers())}
        self._places = [(place[id(norm.running_mean)], place[id(norm.running_var)]) for norm in self._norms]

    def at(self, point: AnyPoint) -> ModelProgram:
        """Return the program with the statistics of this point, shape (D,). Call it while the program is running."""
        program = self._program
        sums = [_Sums() for _ in self._norms]
        hooks = [
            norm.register_forward_pre_hook(total.add, with_kwargs=True)
            for norm, total in zip(self._norms, sums, strict=True)
        ]
        try:
            with _batch_statistics(self._norms):
                for batch in range(len(program.counts)):
                    with evaluating(program, batch, "for its BatchNorm statistics"), _no_batch_of_one():
                        program.output(point, batch)
        finally:
            for hook in hooks:
                hook.remove()
        buffers = list(program.constants)
        for total, (mean, variance) in zip(sums, self._places, strict=True):
            if total.count:
                buffers[mean] = (total.mean / total.count).to(buffers[mean])
                buffers[variance] = (total.variance / total.count).to(buffers[variance])
        return program.with_buffers(tuple(buffers))


class _Sums:
    """Means and variances of a layer's inputs, summed over batches with weights."""

    def __init__(self) -> None:
        self.mean: Any = 0.0
        self.variance: Any = 0.0
        self.count = 0

    def add(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = inputs[0] if inputs else next(iter(named.values()))
        channels = values.shape[1]
        weight = values.numel() // channels
        if weight < 2:  # the layer itself refuses it next
            return
        variance, mean = torch.var_mean(values, [axis for axis in range(values.dim()) if axis != 1])
        self.mean = self.mean + weight * mean.double()
        self.variance = self.variance + weight * variance.double()
        self.count += weight


@contextmanager
def _no_batch_of_one() -> Iterator[None]:
    """Turn torch's error about a batch without variance into one that says what to type."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ObjectiveError(
            f"BatchNorm statistics cannot be estimated: {error}.\nPass a `batch_size=...` that leaves no batch of one."
        ) from error


@contextmanager
def _batch_statistics(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let these layers normalise by their batch, without a change of their running statistics."""
    kept = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, track) in zip(norms, kept, strict=True):
            norm.training, norm.track_running_stats = training, track
