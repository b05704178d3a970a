"""The loss of one batch as a function of the flat vector: for one point, or for many at once.

A program is all that the objective needs to know about where a loss comes from. :class:`ModelProgram` runs a torch
module on views of the vector and leaves the module as it was; :class:`FunctionProgram` wraps a plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from landscape.batches import Batch, untouched_rng
from landscape.errors import ObjectiveError
from landscape.losses import Loss
from landscape.params import Layout


class Program(Protocol):
    """The loss of each batch as a function of points in parameter space."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of terms in each batch."""

    @property
    def nonnegative(self) -> bool:
        """Whether every term is at least zero."""

    @property
    def together(self) -> int:
        """How many points one call of :meth:`totals` may take; 1 where they cannot run together."""

    def totals(self, points: Tensor, batch: int) -> Tensor:
        """Return the sum of a batch's terms at each point: (k, D) -> (k,) float64."""

    def running(self) -> Any:
        """Return a context in which :meth:`totals` may be called."""


class FunctionProgram:
    """A function of the flat vector, (k, D) -> (k,); a single batch of one term, which may be negative."""

    counts = (1,)
    nonnegative = False
    together = 2**31

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def totals(self, points: Tensor, batch: int) -> Tensor:
        values = self._function(points)
        if not isinstance(values, Tensor) or values.shape != points.shape[:1]:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ObjectiveError(
                f"the function must map points of shape (..., D) to values of shape (...); for points of shape "
                f"{tuple(points.shape)} it returned {got}. Reduce over the last axis only: f(x).sum(-1)."
            )
        return values.double()

    @contextmanager
    def running(self) -> Iterator[None]:
        with torch.no_grad():
            yield


class ModelProgram:
    """A module and its loss on batches kept in memory.

    The module's parameters are replaced by views of the point for the length of a call (``functional_call``), its
    buffers by copies, its training flags for the length of :meth:`running`; the caller's module, its buffers and
    the random state are the same bit for bit afterwards.

    Args:
        model: the module.
        batches: the data.
        loss: the loss.
        layout: where each parameter lies in the vector.
        forward: (module, batch as the data gave it) -> output; by default the module is called with the inputs.
        training: run in training mode (batch statistics in BatchNorm) instead of evaluation mode.
        compile: run the batched program through ``torch.compile``.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: tuple[Batch, ...],
        loss: Loss,
        layout: Layout,
        *,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        training: bool = False,
        compile: bool = False,
    ) -> None:
        self.model = model
        self.batches = batches
        self.layout = layout
        self.losses = (loss,) * len(batches)
        self.together = 1
        self.training = training
        self._wrapped = _Forward(model, forward, with_target=loss.name == "model")
        self._scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
        self._buffers = {f"model.{name}": buffer.clone() for name, buffer in model.named_buffers()}
        self._many = [self._batched(i) for i in range(len(batches))]
        if compile:
            self._many = [torch.compile(function, dynamic=False) for function in self._many]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(loss.count(batch) for loss, batch in zip(self.losses, self.batches, strict=True))

    @property
    def nonnegative(self) -> bool:
        return all(loss.nonnegative for loss in self.losses)

    def with_losses(self, losses: tuple[Loss, ...]) -> ModelProgram:
        """Return a program that shares all but the loss, one for each batch."""
        other = object.__new__(ModelProgram)
        other.__dict__.update(self.__dict__)
        other.losses = losses
        other._many = [other._batched(i) for i in range(len(self.batches))]
        return other

    def output(self, point: Tensor, batch: int) -> Any:
        """Return the model's output on one batch at one point, shape (D,)."""
        parameters = {f"model.{name}": view for name, view in self.layout.views(point).items()}
        if self._scripted:
            return self._scripted_output(point, batch)
        # in training mode a forward pass writes to the buffers: each gets copies of its own
        buffers = {k: v.clone() for k, v in self._buffers.items()} if self.training else self._buffers
        return functional_call(self._wrapped, {**parameters, **buffers}, (self.batches[batch],))

    def totals(self, points: Tensor, batch: int) -> Tensor:
        if len(points) == 1 or self.together == 1:
            return torch.stack([self._one(point, batch) for point in points])
        return self._many[batch](points)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the module into the mode wanted, without gradients; undo it all on the way out."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.train(self.training)
        try:
            with untouched_rng(), torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _one(self, point: Tensor, batch: int) -> Tensor:
        return self.losses[batch].total(self.output(point, batch), self.batches[batch])

    def _batched(self, batch: int) -> Callable[[Tensor], Tensor]:
        return vmap(lambda point: self._one(point, batch))

    def _scripted_output(self, point: Tensor, batch: int) -> Any:
        """Run a TorchScript module, whose parameters cannot be swapped: write the point in, run, write them back."""
        kept = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        views = self.layout.views(point)
        try:
            for name, parameter in self.model.named_parameters():
                parameter.copy_(views[name])
            return self._wrapped(self.batches[batch])
        finally:
            for name, parameter in self.model.named_parameters():
                parameter.copy_(kept[name])


class _Forward(nn.Module):
    """Calls the model on a batch; a module, so that ``functional_call`` reaches a user's forward function too."""

    def __init__(self, model: nn.Module, forward: Callable[[nn.Module, Any], Any] | None, *, with_target: bool) -> None:
        super().__init__()
        self.model = model
        self._how = forward
        self._with_target = with_target

    def forward(self, batch: Batch) -> Any:
        if self._how is not None:
            return self._how(self.model, batch.raw)
        if self._with_target and isinstance(batch.raw, dict):
            return self.model(**batch.raw)
        return self.model(*batch.inputs, **batch.named)
