"""The loss of one batch as a function of the flat vector: for one point, or for many at once.

A program computes the loss for the objective. :class:`ModelProgram` runs a torch module on views of the vector and
leaves the module unchanged. :class:`FunctionProgram` wraps a plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.parameter import is_lazy

from landscape.errors import LandscapeError, ObjectiveError, first_line, type_and_line
from landscape.objective.batches import Batch, untouched_rng
from landscape.objective.loss import Loss, counts_of
from landscape.objective.parameters import Layout

CENTRE = "at the trained point"
_LARGEST_MAPPING = 31 * 2**20  # bytes; glibc ignores sizes above 32 MiB when it adapts its threshold


class Program(Protocol):
    """The loss of each batch as a function of points in parameter space."""

    counts: tuple[float, ...]  #: what each batch adds to the divisor: its number of terms, or their weights
    constants: tuple[Tensor, ...]  #: all other tensors that the loss depends on: buffers

    @property
    def nonnegative(self) -> bool:
        """Whether every term is at least zero."""

    @property
    def together(self) -> bool:
        """Whether :meth:`totals` runs its points in one batched program, instead of one after the other."""

    def totals(self, points: Tensor, batch: int) -> Tensor:
        """Return the sum of a batch's terms at each point: (k, D) -> (k,) float64."""

    def leaves(self, theta: Tensor) -> list[Tensor]:
        """Return a copy of the point, shape (D,), as the list of tensors that :meth:`total_of` takes."""

    def total_of(self, leaves: list[Tensor], batch: int) -> Tensor:
        """Return the sum of a batch's terms, a float64 scalar, differentiable by ``leaves``."""

    def running(self) -> Any:
        """Return the context in which all other methods may be called."""


class FunctionProgram:
    """A function of the flat vector, (k, D) -> (k,); a single batch of one term, which may be negative."""

    counts: tuple[float, ...] = (1,)
    constants: tuple[Tensor, ...] = ()
    nonnegative = False
    together = True

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

    def leaves(self, theta: Tensor) -> list[Tensor]:
        return [theta.clone()]

    def total_of(self, leaves: list[Tensor], batch: int) -> Tensor:
        return self.totals(leaves[0][None], batch)[0]

    @contextmanager
    def running(self) -> Iterator[None]:
        with untouched_rng(), torch.inference_mode(False), torch.no_grad():
            yield


class ModelProgram:
    """A module and its loss on batches kept in memory.

    During a call the module's parameters are views of the point, and its buffers are copies that are reset after the
    call. During :meth:`running` its training flags are set. Afterwards the caller's module with all its attributes, and
    the random state, are the same bit for bit. The tensors of a TorchScript module cannot be replaced, only
    overwritten, so the program runs a copy of such a module.

    Args:
        model: the module.
        batches: the data.
        loss: the loss.
        layout: where each parameter lies in the vector.
        forward: (module, batch as it is in the data) -> output; by default the module is called with the inputs.
        training: run in training mode (batch statistics in BatchNorm) instead of evaluation mode.
        compile: run the batched program through ``torch.compile``, once :meth:`run_together` has set its width.
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
        self._scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
        self.model = deepcopy(model) if self._scripted else model
        self.layout = layout
        self.together = False
        self.training = training
        self.forward = forward
        self.compile = compile
        self._with_target = loss.name == "model"
        self._width = 1
        self._viewed: tuple[Tensor, int, list[list[Tensor]]] | None = None
        self._set_buffers(tuple(buffer.detach().clone() for buffer in self.model.buffers()))
        self._places = [] if self._scripted else _places(self.model)
        self._set_data(batches, (loss,) * len(batches))

    @property
    def nonnegative(self) -> bool:
        return all(loss.nonnegative for loss in self.losses)

    def run_together(self, width: int) -> None:
        """Run points in one batched program from now on; a compiled program always takes ``width`` points."""
        self.together, self._width = True, width
        self._set_data(self.batches, self.losses)

    def with_batches(self, batches: tuple[Batch, ...]) -> ModelProgram:
        """Return the same program on other data."""
        other = copy(self)
        other._set_data(batches, self.losses[:1] * len(batches))
        return other

    def with_losses(self, losses: tuple[Loss, ...]) -> ModelProgram:
        """Return the same program with other losses, one per batch."""
        other = copy(self)
        other._set_data(self.batches, losses)
        return other

    def with_forward(self, forward: Callable[[nn.Module, Any], Any]) -> ModelProgram:
        """Return the same program that calls the model in another way."""
        other = copy(self)
        other.forward = forward
        other._set_data(self.batches, self.losses)
        return other

    def with_buffers(self, buffers: tuple[Tensor, ...]) -> ModelProgram:
        """Return the same program with other buffers, in the order of ``constants``."""
        other = copy(self)
        other._set_buffers(buffers)
        other._set_data(self.batches, self.losses)
        return other

    def output(self, point: Tensor, batch: int) -> Any:
        """Return the model's output on one batch at one point, shape (D,)."""
        return self._output([*self.layout.views(point).values()], batch)

    def leaves(self, theta: Tensor) -> list[Tensor]:
        views = self.layout.split(theta)
        if not self._scripted:
            return [view.clone() for view in views]
        # the parameters of a copied TorchScript module still depend on the originals
        own = [parameter.detach_() for parameter in self.model.parameters()]
        return [tensor.copy_(view) for tensor, view in zip(own, views, strict=True)]

    def output_of(self, leaves: list[Tensor], batch: int) -> Any:
        """Return the model's output on one batch, differentiable by ``leaves``."""
        if self._scripted:
            return self._call(self.batches[batch])
        narrow = [leaf.to(entry.dtype) for leaf, entry in zip(leaves, self.layout.entries, strict=True)]
        # own copies of the buffers, since the graph outlives the call
        return self._run([*narrow, *(buffer.clone() for buffer in self.constants)], self.batches[batch])

    def total_of(self, leaves: list[Tensor], batch: int) -> Tensor:
        return self.losses[batch].total(self.output_of(leaves, batch), self.batches[batch])

    def totals(self, points: Tensor, batch: int) -> Tensor:
        if self.together and (len(points) > 1 or self.compile):
            return self.joint_totals(points, batch)
        loss = self.losses[batch]
        outputs = (self._output(views, batch) for views in self._views_at(points))
        return torch.stack([loss.total(output, self.batches[batch]) for output in outputs])

    def joint_totals(self, points: Tensor, batch: int) -> Tensor:
        """Return the same as :meth:`totals`, always from one batched program."""
        count = len(points)
        if self.compile and count < self._width:
            # always the same number of points: torch would compile again for another number
            points = torch.cat([points, points[:1].expand(self._width - count, -1)])
        try:
            return self._many(points, self.batches[batch], self.losses[batch])[:count]
        finally:
            self._reset_buffers()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the module into training or evaluation mode, without gradients; undo all changes at the end.

        All attributes of a module are restored, not only its training flag. Some layers store results of their last
        call: recurrent layers their flat weights, old-style weight norm its product, pruning its masked tensor.
        """
        keep_freed_memory()
        kept = [] if self._scripted else [(module, dict(module.__dict__)) for module in self.model.modules()]
        try:
            if self.training:
                self.model.train()
            for module in self.model.modules() if not self.training else ():
                module.training = False  # not eval(): exported programs refuse it, and some layers merge weights in it
            with untouched_rng(), torch.inference_mode(False), torch.no_grad():
                yield
        finally:
            self._viewed = None
            for module, state in kept:
                for key in module.__dict__.keys() - state.keys():
                    del module.__dict__[key]
                module.__dict__.update(state)

    def _set_buffers(self, buffers: tuple[Tensor, ...]) -> None:
        self.constants = buffers
        self._buffers = [buffer.clone() for buffer in buffers]
        self._versions = [buffer._version for buffer in self._buffers]

    def _set_data(self, batches: tuple[Batch, ...], losses: tuple[Loss, ...]) -> None:
        self.batches, self.losses = batches, losses
        self.counts = counts_of(losses, batches)
        self._many = self._at_many
        if self.compile and self.together:
            self._many = torch.compile(self._at_many, dynamic=False)

    def _at_many(self, points: Tensor, batch: Batch, loss: Loss) -> Tensor:
        # batch and loss are arguments, so that one compiled graph serves all batches of a shape
        views = self.layout.views(points).values()  # outside vmap each view takes a tenth of the time
        return vmap(lambda *views: loss.total(self._run([*views, *self._buffers], batch), batch))(*views)

    def _views_at(self, points: Tensor) -> list[list[Tensor]]:
        """Return the parameters at each point; the views are made once for all batches, since that takes time."""
        if self._viewed is None or self._viewed[0] is not points or self._viewed[1] != points._version:
            views = [[*self.layout.views(point).values()] for point in points]
            self._viewed = points, points._version, views
        return self._viewed[2]

    def _output(self, views: list[Tensor], batch: int) -> Any:
        try:
            return self._run([*views, *self._buffers], self.batches[batch])
        finally:
            self._reset_buffers()

    def _run(self, tensors: list[Tensor], batch: Batch) -> Any:
        """Call the model with these parameters and buffers, in the order of ``[*parameters(), *buffers()]``."""
        if self._scripted:
            for own, tensor in zip([*self.model.parameters(), *self.model.buffers()], tensors, strict=True):
                own.copy_(tensor)
            return self._call(batch)
        kept = [store[key] for store, key, _ in self._places]
        try:
            for store, key, which in self._places:
                store[key] = tensors[which]
            return self._call(batch)
        finally:
            for (store, key, _), tensor in zip(self._places, kept, strict=True):
                store[key] = tensor

    def _reset_buffers(self) -> None:
        """Restore the buffers that a forward pass has written to."""
        for i, (buffer, original) in enumerate(zip(self._buffers, self.constants, strict=True)):
            # always in training mode: the batch-norm kernel writes without raising the version
            if self.training or buffer._version != self._versions[i]:
                buffer.copy_(original)
                self._versions[i] = buffer._version

    def _call(self, batch: Batch) -> Any:
        if self.forward is not None:
            return self.forward(self.model, batch.raw)
        if self._with_target:
            return self.model(**batch.raw) if isinstance(batch.raw, dict) else self.model(*batch.inputs, batch.target)
        return self.model(*batch.inputs, **batch.named)


def _places(model: nn.Module) -> list[tuple[dict[str, Any], str, int]]:
    """Return every place where a module stores a parameter or buffer; tied tensors have several places.

    A place is (dict, key, index of the tensor in ``[*model.parameters(), *model.buffers()]``).
    """
    index = {id(tensor): i for i, tensor in enumerate([*model.parameters(), *model.buffers()])}
    stores = [store for module in model.modules() for store in (module._parameters, module._buffers)]
    return [(store, key, index[id(held)]) for store in stores for key, held in store.items() if held is not None]


@contextmanager
def evaluating(program: Program, batch: int, place: str) -> Iterator[None]:
    """Turn an exception of the user's model, forward or loss into an error that says where, why and what to type."""
    try:
        yield
    except LandscapeError:
        raise
    except Exception as error:
        where = place
        sizes = [held.samples for held in program.batches] if isinstance(program, ModelProgram) else []
        if len(sizes) > 1:
            where += f", batch {batch + 1} of {len(sizes)} (samples: {sizes[batch]})"
        hint = "Check the model, the forward function and the loss there"
        hint += "." if place == CENTRE else "; they may return NaN, which counts as outside the basin."
        if out_of_memory(error):
            hint = "Pass a smaller `memory=...` or `batch_size=...`."
        elif sizes and sizes[batch] == 1 < max(sizes):
            hint = "A batch of one sample may be the cause: pass another `batch_size=...` or `max_samples=...`."
        raise ObjectiveError(f"the loss cannot be evaluated {where}: {type_and_line(error)}\n{hint}") from error


def out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine ran out of memory; for the machine, only torch's message tells."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def check_device(device: torch.device | str) -> None:
    """Refuse mps, the one kind of device that cannot sum in float64."""
    if str(device).partition(":")[0] == "mps":
        raise ObjectiveError(
            "losses are summed in float64, which the device mps does not have. Pass `device='cpu'` or `device='cuda'`."
        )


def check_values(model: nn.Module) -> torch.device:
    """Return the device of the parameters; refuse a model without parameters, or with some that cannot move.

    These are tensors without values (lazy, or on the meta device), integers, and NaN or infinite values.
    """
    if not isinstance(model, nn.Module):
        raise ObjectiveError(
            f"the model must be a torch module, not {type(model).__name__}. For a plain function of a vector use "
            "Objective.from_function(f, theta)."
        )
    named = dict(model.named_parameters())
    if not named:
        raise ObjectiveError(
            f"the model ({type(model).__name__}) has no parameters, so nothing can move. A frozen TorchScript or "
            "quantised model holds its weights as constants: measure the model it was made from."
        )
    for name, tensor in [*named.items(), *model.named_buffers()]:
        if tensor.is_meta or is_lazy(tensor):
            raise ObjectiveError(
                f"{name} has no values yet (a lazy module, or the meta device). Load the checkpoint into the model "
                "first: landscape.load_checkpoint(path, model)."
            )
    for name, parameter in named.items():
        if not parameter.is_floating_point():
            raise ObjectiveError(
                f"the parameter {name} is {parameter.dtype}; only floating-point parameters can move. "
                "Measure the model before quantisation."
            )
        if not bool(torch.isfinite(parameter).all()):
            raise ObjectiveError(f"the parameter {name} holds NaN or infinite values: the training has diverged.")
    return next(iter(named.values())).device


def moved(model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    """Return the model on another device or in another dtype; a copy, so that the caller's model stays unchanged."""
    if device is None and dtype is None:
        return model
    # a tensor that a hook computes from parameters (pruning, old-style weight norm) cannot be copied with its graph
    computed = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    try:
        return deepcopy(model, {id(value): value.detach() for value in computed}).to(device=device, dtype=dtype)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ObjectiveError(
            f"the model cannot be moved to device {device}, dtype {dtype}: {first_line(error)}.\n"
            "Pass a device that this machine has and a floating-point dtype, or neither."
        ) from error


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to about 64 MB of freed memory for the next allocations.

    Activations of points evaluated together are tensors of a few hundred kilobytes, allocated and freed many times per
    second. glibc maps each again and returns it to the system, and every page costs a fault. That took half of the time
    on the machine where it was measured. glibc adapts to the sizes that it sees freed (M_MMAP_THRESHOLD in mallopt(3)).
    One large tensor, never written and freed at once, is enough for the whole process. Other C libraries ignore it.
    """
    torch.empty(_LARGEST_MAPPING, dtype=torch.uint8)


def mixes_samples(model: nn.Module) -> bool:
    """Whether the model uses batch statistics even in evaluation mode."""
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return any(norm.running_mean is None for norm in norms)
