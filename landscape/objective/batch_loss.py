"""The loss of one batch as a function of the flat vector: for one point, or for many at once.

A program computes the loss for the objective. :class:`ModelProgram` runs a torch module on views of the vector. A
:class:`landscape.objective.moved_weights.Point` of a large model may take the place of a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy, deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_map

from landscape.errors import LandscapeError, ObjectiveError, code_place, keeps_running, type_and_line
from landscape.objective.batches import Batch
from landscape.objective.deadline import check_deadline
from landscape.objective.losses.loss import Loss, counts_of
from landscape.objective.model import held_tensors, keep_freed_memory, places_of
from landscape.objective.module_state import restore, state_of
from landscape.objective.moved_weights import AnyPoint, Point, PointList, moved_tensor
from landscape.objective.narrow_products import gains, sums_in_float32
from landscape.objective.overwritten import Overwritten
from landscape.objective.parameters import Layout, fixed_parameters, moving_parameters
from landscape.objective.read_weights import MovedWeights, Rooms
from landscape.objective.reading import untouched_rng

CENTRE = "at the trained point"


class Program(Protocol):
    """The loss of each batch as a function of points in parameter space."""

    counts: tuple[float, ...]  #: what each batch adds to the divisor: its number of terms, or their weights
    sharded: bool  #: whether points hold this rank's part of each parameter
    constants: tuple[Tensor, ...]  #: all other tensors that the loss depends on: buffers, fixed parameters

    @property
    def nonnegative(self) -> bool:
        """Whether every term is at least zero."""

    @property
    def together(self) -> bool:
        """Whether :meth:`totals` runs its points in one batched program, instead of one after the other."""

    def totals(self, points: Tensor | PointList, batch: int) -> Tensor:
        """Return the sum of a batch's terms at each point: (k, D) -> (k,) float64."""

    def leaves(self, theta: Tensor) -> list[Tensor]:
        """Return a copy of the point, shape (D,), as the list of tensors that :meth:`total_of` takes."""

    def total_of(self, leaves: list[Tensor], batch: int) -> Tensor:
        """Return the sum of a batch's terms, a float64 scalar, differentiable by ``leaves``."""

    def running(self) -> Any:
        """Return the context in which all other methods may be called."""


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

    Attributes:
        differentiates: whether model or loss take derivatives of their own, so that they run with gradients on.
        writes: whether the model writes to its parameters in place, so that it gets copies of them.
        caches: whether a pass leaves something in a module, such as a weight for the next one; it is taken away again.
        narrow: whether sums in 16 bits are taken in float32 (:mod:`landscape.objective.narrow_products`).
        in_place: whether a :class:`Point` is written over the model's own weights, which are restored afterwards.
        pairs: the model's own parameters, and the place of each in the vector.
    """

    sharded = False

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
        self.scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
        self.model = deepcopy(model) if self.scripted else model
        self.layout = layout
        self.together, self.training = False, training
        self.forward = forward
        self.compile = compile
        self._with_target = loss.name == "model"
        self._width, self.rooms = 1, Rooms()
        self._viewed: tuple[Tensor, int, list[list[Tensor]]] | None = None
        self.differentiates = self.writes = self.in_place = self.caches = False
        self.pairs = list(zip(moving_parameters(self.model), layout.entries, strict=True))
        held = [*self.model.buffers(), *fixed_parameters(self.model)]
        self._set_buffers(tuple(tensor.detach().clone() for tensor in held))
        self._places = [] if self.scripted else places_of(self.model)
        self.narrow = gains(self.model) and not compile  # a compiled program has kernels of its own
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
        other = self.with_losses(self.losses)
        other._set_buffers(buffers)
        return other

    def output(self, point: AnyPoint, batch: int) -> Any:
        """Return the model's output on one batch at one point, shape (D,)."""
        return self.output_with(self.views_at(point), batch)

    def views_at(self, point: AnyPoint) -> list[Tensor]:
        """Return the parameters at one point, shape (D,), as the model gets them."""
        return self._weights_at(point) if isinstance(point, Point) else self._views_at(point[None])[0]

    def _weights_at(self, point: Point) -> list[Tensor]:
        """Return what the model gets at a point of a large model: nothing that takes memory."""
        return Overwritten(self.pairs, point) if self.in_place else MovedWeights(self.pairs, point, self.rooms)

    def output_with(self, views: list[Tensor], batch: int = 0) -> Any:
        """Return the model's output on one batch with these parameters."""
        with self._own_derivatives():
            output = self.with_weights(views, lambda: self._call(self.batches[batch]))
        return tree_map(detached, output) if self.differentiates else output

    def leaves(self, theta: AnyPoint) -> list[Tensor]:
        if isinstance(theta, Point):  # the weights themselves, without a copy
            return [moved_tensor(own, entry, theta).detach() for own, entry in self.pairs]
        views = self.layout.split(theta)
        if not self.scripted:
            return [view.clone() for view in views]
        # the parameters of a copied TorchScript module still depend on the originals
        own = [parameter.detach_() for parameter in moving_parameters(self.model)]
        return [tensor.copy_(view) for tensor, view in zip(own, views, strict=True)]

    def output_of(self, leaves: list[Tensor], batch: int) -> Any:
        """Return the model's output on one batch, differentiable by ``leaves``."""
        with self._placed(self._from_leaves(leaves)):
            return self._call(self.batches[batch])

    def total_of(self, leaves: list[Tensor], batch: int) -> Tensor:
        with self._placed(self._from_leaves(leaves)):
            return self.losses[batch].total(self._call(self.batches[batch]), self.batches[batch])

    def _from_leaves(self, leaves: list[Tensor]) -> list[Tensor] | None:
        """Return the tensors to place for these leaves; None for a TorchScript module, which holds them already."""
        if self.scripted:
            return None
        narrow = [leaf.to(entry.dtype) for leaf, entry in zip(leaves, self.layout.entries, strict=True)]
        if self.writes:
            narrow = [tensor.clone() for tensor in narrow]
        if self.differentiates:  # the model may differentiate by parameters outside the scope too
            narrow = [tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in narrow]
        # own copies of the buffers, since the graph outlives the call
        return [*narrow, *(buffer.clone() for buffer in self.constants)]

    def totals(self, points: Tensor | PointList, batch: int) -> Tensor:
        if isinstance(points, Tensor) and self.together and (len(points) > 1 or self.compile):
            return self.joint_totals(points, batch)
        loss, data = self.losses[batch], self.batches[batch]
        each = self._views_at(points) if isinstance(points, Tensor) else map(self._weights_at, points)
        with self._own_derivatives():
            totals = [self.with_weights(views, lambda: loss.total(self._call(data), data)) for views in each]
        stacked = torch.stack(totals)
        return stacked if torch.is_grad_enabled() else stacked.detach()

    def joint_totals(self, points: Tensor, batch: int) -> Tensor:
        """Return the same as :meth:`totals`, always from one batched program."""
        count = len(points)
        if self.compile and count < self._width:
            # always the same number of points: torch would compile again for another number
            points = torch.cat([points, points[:1].expand(self._width - count, -1)])
        if self.writes:
            points = points.clone()
        state = state_of(self.model) if self.caches else []
        try:
            return self._many(points, self.batches[batch], self.losses[batch])[:count]
        finally:
            self._reset_buffers()
            restore(state)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the module into training or evaluation mode, without gradients; undo all changes at the end.

        All attributes of a module are restored. Recurrent layers store their flat weights, old-style weight norm its
        product, pruning its masked tensor. Embeddings give dense gradients: sparse ones cannot be differentiated again.
        """
        keep_freed_memory()
        kept = [] if self.scripted else state_of(self.model)
        try:
            if self.training:
                self.model.train()
            for module in self.model.modules() if not self.training else ():
                module.training = False  # not eval(): exported programs refuse it, and some layers merge weights in it
            for module in self.model.modules():
                if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                    module.sparse = False
            sums = sums_in_float32() if self.narrow else nullcontext()
            with untouched_rng(), torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings(), sums:
                warnings.filterwarnings("ignore", "There is a performance drop")  # of operations without a vmap rule
                warnings.filterwarnings("ignore", "Using `torch.compile")  # of our hook, which may fire twice
                yield
        finally:
            self._viewed = None
            self.rooms.clear()
            restore(kept)

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
        with self._own_derivatives():
            totals = self._totals_of(views, batch, loss)
        return totals if torch.is_grad_enabled() else totals.detach()

    def _totals_of(self, views: Iterable[Tensor], batch: Batch, loss: Loss) -> Tensor:
        def total(*views: Tensor) -> Tensor:
            kept = self._placed_now()
            try:  # no context manager here: torch 2.6 cannot compile one
                self._place([*views, *self._fresh_buffers()])
                return loss.total(self._call(batch), batch)
            finally:
                self._put_back(kept)

        return vmap(total)(*views)

    def _views_at(self, points: Tensor) -> list[list[Tensor]]:
        """Return the parameters at each point; the views are made once for all batches, since that takes time."""
        if self._viewed is None or self._viewed[0] is not points or self._viewed[1] != points._version:
            views = [[*self.layout.views(point).values()] for point in points]
            if self.differentiates and not points.requires_grad:
                views = [[view.detach().requires_grad_() for view in each] for each in views]
            if self.writes:
                return [[view.clone() for view in each] for each in views]
            self._viewed = points, points._version, views
        return self._viewed[2]

    def with_weights(self, views: list[Tensor], compute: Callable[[], Any]) -> Any:
        """Return what ``compute`` returns while the model has these parameters."""
        written = views.written() if isinstance(views, Overwritten | MovedWeights) else nullcontext()
        try:
            with written, self._placed([*views, *self._fresh_buffers()]):
                return compute()
        finally:
            self._reset_buffers()

    @contextmanager
    def _placed(self, tensors: list[Tensor] | None) -> Iterator[None]:
        """Give the model these tensors, in the order of :func:`held_tensors`.

        The loss too is computed meanwhile: it may read the model's parameters (weight decay).
        """
        if self.scripted:
            for own, tensor in zip(held_tensors(self.model), tensors, strict=True) if tensors else ():
                own.copy_(tensor)
            yield
            return
        assert tensors is not None
        kept, state = self._placed_now(), state_of(self.model) if self.caches else []
        try:
            self._place(tensors)
            yield
        finally:
            self._put_back(kept)
            restore(state)

    def _placed_now(self) -> list[Tensor]:
        """Return what the modules hold in each of their places."""
        return [store[key] for store, key, _ in self._places]

    def _place(self, tensors: list[Tensor]) -> None:
        for store, key, which in self._places:
            store[key] = tensors[which]

    def _put_back(self, kept: list[Tensor]) -> None:
        for (store, key, _), tensor in zip(self._places, kept, strict=True):
            store[key] = tensor

    def _own_derivatives(self) -> AbstractContextManager[Any]:
        """Return the context in which a model that takes derivatives itself can run."""
        return torch.enable_grad() if self.differentiates else nullcontext()

    def _fresh_buffers(self) -> list[Tensor]:
        """Return the buffers for one pass: copies if a graph may keep them, since they are reset after the pass."""
        return [buffer.clone() for buffer in self.constants] if torch.is_grad_enabled() else self._buffers

    def _reset_buffers(self) -> None:
        """Restore the buffers that a forward pass has written to."""
        for i, (buffer, original) in enumerate(zip(self._buffers, self.constants, strict=True)):
            # always in training mode: the batch-norm kernel writes without raising the version
            if self.training or buffer._version != self._versions[i]:
                buffer.copy_(original)
                self._versions[i] = buffer._version

    @keeps_running
    def _call(self, batch: Batch) -> Any:
        if self.forward is not None:
            return self.forward(self.model, batch.raw)
        if self._with_target:
            return (
                self.model(**batch.raw) if isinstance(batch.raw, Mapping) else self.model(*batch.inputs, batch.target)
            )
        return self.model(*batch.inputs, **batch.named)


def detached(item: Any) -> Any:
    """Return a tensor without its graph, and anything else as it is."""
    return item.detach() if isinstance(item, Tensor) else item


@contextmanager
def evaluating(program: Program, batch: int, place: str) -> Iterator[None]:
    """Turn an exception of the user's model, forward or loss into an error that says where, why and what to type.

    Raises:
        OutOfBudget: instead of beginning, if the deadline is over (:mod:`landscape.objective.deadline`).
    """
    check_deadline(together=program.sharded)
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
        raise ObjectiveError(
            f"the loss cannot be evaluated {where}: {type_and_line(error)}{code_place(error)}\n{hint}"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine ran out of memory; for the machine, only torch's message tells."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
