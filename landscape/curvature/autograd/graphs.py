"""The derivatives of one batch as graphs that several products share.

Half of a Hessian product from scratch is the gradient that it differentiates. Here a block of vectors shares the graph
of that gradient, batch by batch. If the graphs of all batches fit in memory, later products share them too.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from landscape.curvature.autograd.conv_rules import CheapSecondDerivatives
from landscape.curvature.autograd.grad import derivative, twice_differentiable
from landscape.curvature.autograd.quadratic_form import Tape
from landscape.errors import CurvatureError, LandscapeError, type_and_line
from landscape.objective.batch_loss import CENTRE, ModelProgram, Program, evaluating, out_of_memory
from landscape.objective.losses.structure import tensors_of, with_tensors

_KEPT_SHARE = 4  # kept graphs may take one part in four of the free memory
_UNKNOWN_FREE = 2**30  # bytes taken to be free on a system that does not tell
_NO_RULE = ("not implemented", "double backward", "differentiate twice", "not differentiable", "does not support")


class Graph(ABC):
    """The first derivatives of a batch, as a graph from which products with its second derivative follow.

    Attributes:
        first: the first derivatives, whose graph is differentiated again.
        without_rules: what to do if torch has no rule for that.
    """

    first: list[Tensor | None]
    without_rules = "leave out the layers up to it with `scope=...`."

    @abstractmethod
    def product(self, vectors: list[Tensor], together: bool) -> list[Tensor | None]:
        """Return the product, one tensor per leaf, None for zero.

        Args:
            vectors: one tensor per leaf; if ``together``, each has k vectors stacked in front.
            together: whether the tensors hold k vectors.
        """

    @abstractmethod
    def form(self, vectors: list[Tensor], together: bool) -> Tensor:
        """Return the quadratic form v . A v, shape () or (k,), float64."""


class HessianGraph(Graph):
    """The gradient of a batch's total; its derivative along v is H v (Pearlmutter 1994)."""

    without_rules = f"pass `derivative='difference'`, which needs gradients only, or {Graph.without_rules}"

    def __init__(self, total: Tensor, leaves: list[Tensor]) -> None:
        self._leaves = leaves
        self.first = derivative([total], leaves, None, create_graph=True)

    def product(self, vectors: list[Tensor], together: bool) -> list[Tensor | None]:
        return derivative(self.first, self._leaves, vectors, together=together)

    def form(self, vectors: list[Tensor], together: bool) -> Tensor:
        return _dot(vectors, self.product(vectors, together), together)


class GaussNewtonGraph(Graph):
    """G = J^T H_L J with J the Jacobian of the predictions and H_L the Hessian of the loss by the predictions.

    The pull-back u -> J^T u is linear in u, so its derivative by u along v is J v. No forward mode is needed.

    Args:
        predictions: the tensors that the loss may read; those that it does not read are dropped.
        total_of: those tensors -> the batch's total.
        leaves: the parameters.
    """

    without_rules = f"use Hessian with `derivative='difference'`, or {Graph.without_rules}"

    def __init__(
        self, predictions: list[Tensor], total_of: Callable[[list[Tensor]], Tensor], leaves: list[Tensor]
    ) -> None:
        centres = [each.detach().requires_grad_() for each in predictions]
        slopes = derivative([total_of(centres)], centres, None, create_graph=True)
        read = [index for index, slope in enumerate(slopes) if slope is not None]
        if not read:
            raise CurvatureError(
                "the loss does not depend on the output of the model through operations that can be differentiated, "
                "so there is no Gauss-Newton matrix.\nUse `Hessian`."
            )
        self._leaves = leaves
        self._predictions = [predictions[index] for index in read]
        self._centres = [centres[index] for index in read]
        self._slopes = [slopes[index] for index in read]
        self._seeds = [torch.zeros_like(each, requires_grad=True) for each in self._predictions]
        self.first = derivative(self._predictions, leaves, self._seeds, create_graph=True)

    def product(self, vectors: list[Tensor], together: bool) -> list[Tensor | None]:
        _, hjv = self._jacobian_products(vectors, together)
        return derivative(self._predictions, self._leaves, hjv, together=together)

    def form(self, vectors: list[Tensor], together: bool) -> Tensor:
        jv, hjv = self._jacobian_products(vectors, together)
        return _dot(jv, [*hjv], together)

    def _jacobian_products(self, vectors: list[Tensor], together: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return J v and H_L J v, one tensor for each prediction."""
        jv = self._or_zero(derivative(self.first, self._seeds, vectors, together=together), vectors, together)
        hjv = derivative(self._slopes, self._centres, jv, together=together)
        return jv, self._or_zero(hjv, vectors, together)

    def _or_zero(self, items: list[Tensor | None], vectors: list[Tensor], together: bool) -> list[Tensor]:
        lead = vectors[0].shape[:1] if together else ()
        return [
            centre.detach().new_zeros(()).expand(*lead, *centre.shape) if item is None else item
            for item, centre in zip(items, self._centres, strict=True)
        ]


class Graphs:
    """The graphs of all batches of a loss at one point, recorded when needed.

    Attributes:
        budget: bytes that kept graphs may take.

    Args:
        program: the loss.
        theta: the point, shape (D,).
        kind: ``HessianGraph`` or ``GaussNewtonGraph``.
        ranges: (start, stop) of the entries to differentiate by; a tensor that they touch is taken whole.
        memory: bytes that kept graphs may take; by default a quarter of the free memory.
    """

    def __init__(
        self,
        program: Program,
        theta: Tensor,
        kind: type[Graph],
        ranges: Sequence[tuple[int, int]],
        memory: int | None = None,
    ) -> None:
        self._program, self._kind = program, kind
        self._theta = theta
        with program.running():
            self._leaves = program.leaves(theta)
        # a TorchScript module has one set of tensors, which every evaluation writes
        alone = program.model.parameters() if isinstance(program, ModelProgram) and not program.sharded else ()
        own = {tensor.data_ptr() for tensor in alone}
        self._shared = any(leaf.data_ptr() in own for leaf in self._leaves if leaf.numel())
        self._sizes = [leaf.numel() for leaf in self._leaves]
        stops = list(accumulate(self._sizes))
        spans = zip(stops, self._sizes, strict=True)
        self._moves = [any(a < stop and stop - size < b for a, b in ranges) for stop, size in spans]
        self.budget = free_bytes(theta.device) // _KEPT_SHARE if memory is None else memory
        if isinstance(program, ModelProgram) and program.sharded:
            self._moves = program.layout.moves(ranges)
            self.budget = 0  # ranks with more memory would keep more graphs, and leave the others waiting
        self._kept: dict[int, Graph] = {}
        self._bytes: int | None = None  # of one graph, once it is known
        self._twice_differentiable = False  # whether that was checked
        self._tape_works: bool | None = None  # whether a tape gives the right form, once that was tried

    def split(self, vectors: Tensor) -> list[Tensor]:
        """Return the views of vectors, shape (..., D), that belong to the tensors differentiated by."""
        lead = vectors.shape[:-1]
        pieces = zip(vectors.split(self._sizes, -1), self._leaves, self._moves, strict=True)
        return [piece.view(*lead, *leaf.shape) for piece, leaf, moves in pieces if moves]

    def each(self, batches: Sequence[int], *, keep: bool) -> Iterator[Graph]:
        """Yield the graphs of these batches. Call it while the program is running.

        Args:
            batches: their numbers.
            keep: hold on to the graphs, as many as fit, for a later call.
        """
        for batch in batches:
            graph = self._kept.get(batch)
            if graph is None:
                graph = self.record(batch)
                if not self._twice_differentiable:
                    check_twice(graph)
                    self._twice_differentiable = True
                if keep and self._fits(batch):
                    self._kept[batch] = graph
            yield graph

    def forget(self) -> None:
        """Free the graphs that were kept."""
        self._kept.clear()

    def _fits(self, batch: int) -> bool:
        """Return whether one more graph fits into the memory for kept graphs; the first call measures one."""
        if self._shared:
            return False
        if self._bytes is None:
            size = self.bytes_of(batch)
            self._bytes = self.budget + 1 if size is None else size
        return (len(self._kept) + 1) * self._bytes <= self.budget

    def bytes_of(self, batch: int) -> int | None:
        """Return the size of a graph; None if the forward pass does not say: torch.func allows no hooks."""
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        try:
            with self._program.running(), saved_tensors_hooks(note, lambda tensor: tensor):
                self.record(batch)
        except LandscapeError:
            return None
        return sum(storages.values())

    def tape(self, batch: int) -> Tape | None:
        """Return the batch's operations as they were called, for quadratic forms; None if a tape misses some.

        A TorchScript module shows none of its operations, and other modules may do something that a tape does not see.
        So the first tape must give the same form as the graph.
        """
        if self._tape_works is None:
            self._tape_works = self._agrees(batch)
        return self._record_tape(batch) if self._tape_works else None

    def _record_tape(self, batch: int) -> Tape:
        moving = self._moving()
        with twice_differentiable():
            return Tape(lambda: self._program.total_of(self._leaves, batch), moving)

    def _agrees(self, batch: int) -> bool:
        """Return whether tape and graph give the same quadratic form for a random vector."""
        moving = self._moving()
        generator = torch.Generator(moving[0].device).manual_seed(0)
        vectors = [
            torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype, device=leaf.device) for leaf in moving
        ]
        product = self.record(batch).product(vectors, together=False)
        by_graph = _dot(vectors, product, together=False)
        try:
            by_tape = self._record_tape(batch).form(vectors)
        except Exception:  # whatever a model does, products remain
            return False
        squares = [
            sum(float(item.double().square().sum()) for item in items if item is not None)
            for items in (vectors, product)
        ]
        eps = torch.finfo(moving[0].dtype).eps
        # half of the digits of the form; more only if its terms cancel
        allowed = eps**0.5 * abs(by_graph) + 10 * eps * (squares[0] * squares[1]) ** 0.5
        return bool(abs(by_tape - by_graph) <= allowed)

    def _moving(self) -> list[Tensor]:
        """Return the leaves to differentiate by, marked as requiring a gradient; all others are not."""
        if self._shared:
            held = torch.cat([leaf.detach().flatten() for leaf in self._leaves])
            if not torch.equal(held, self._theta):
                self._program.leaves(self._theta)  # writes them
        for leaf, moves in zip(self._leaves, self._moves, strict=True):
            # set each time: shared leaves may have served another scope
            leaf.requires_grad_(moves)
        return [leaf for leaf in self._leaves if leaf.requires_grad]

    def record(self, batch: int) -> Graph:
        """Run the batch forwards and return its graph."""
        program, leaves = self._program, self._leaves
        moving = self._moving()
        with torch.enable_grad(), twice_differentiable():
            with (
                CheapSecondDerivatives(pull_back_only=self._kind is GaussNewtonGraph),
                evaluating(program, batch, CENTRE),
            ):
                if self._kind is HessianGraph:
                    value = program.total_of(leaves, batch)
                    predictions = [value]
                else:
                    assert isinstance(program, ModelProgram), "GaussNewton accepts no other program"
                    predictions, total_of = _predictions(program, program.output_of(leaves, batch), batch)
            check_once(*predictions)
            if self._kind is HessianGraph:
                return HessianGraph(value, moving)
            with evaluating(program, batch, "of the model's predictions alone"):
                return GaussNewtonGraph(predictions, total_of, moving)


def _predictions(
    program: ModelProgram, output: Any, batch: int
) -> tuple[list[Tensor], Callable[[list[Tensor]], Tensor]]:
    """Return the tensors of an output that the loss may read, and the total as a function of them.

    Named losses read the predictions alone. A user's function gets the output in its own structure, with other tensors
    in the places of those that depend on the parameters.
    """
    loss, data = program.losses[batch], program.batches[batch]
    if not loss.opaque:
        return [loss.reading.predictions(output)], lambda predictions: loss.total(predictions[0], data)
    tensors = tensors_of(output)
    moving = [index for index, tensor in enumerate(tensors) if tensor.requires_grad]

    def total(predictions: list[Tensor]) -> Tensor:
        placed = [tensor.detach() for tensor in tensors]
        for index, prediction in zip(moving, predictions, strict=True):
            placed[index] = prediction
        return loss.total(with_tensors(output, placed), data)

    return [tensors[index] for index in moving], total


@contextmanager
def differentiating(
    what: str = "the second derivative of the loss", without_rules: str = HessianGraph.without_rules
) -> Iterator[None]:
    """Turn torch's errors about missing derivatives into one that names the cause and says what to do.

    Args:
        what: what is computed.
        without_rules: what to do if torch has no rule for it.
    """
    try:
        yield
    except LandscapeError:
        raise
    except Exception as error:
        raise CurvatureError(
            f"{what} cannot be computed: {type_and_line(error)}\n{_remedy(error, without_rules)}"
        ) from error


def _remedy(error: Exception, without_rules: str) -> str:
    """Return what to do about an error of torch in a derivative."""
    if out_of_memory(error):
        return "The memory is too small for a batch with its derivatives: pass a smaller `batch_size=...`."
    words = str(error).lower()
    if isinstance(error, NotImplementedError) or any(word in words for word in _NO_RULE):
        return f"An operation of the model or of the loss has no rule for it. Instead, {without_rules}"
    return f"The likely cause: an operation of the model or of the loss has no rule for it. Instead, {without_rules}"


def check_once(*values: Tensor) -> None:
    """Refuse a loss that does not depend on the parameters in scope as far as autograd can see."""
    if not any(value.requires_grad for value in values):
        raise CurvatureError(
            "the loss does not depend on the parameters in scope through operations that can be differentiated, so it "
            "has no curvature.\nPass a differentiable loss (no argmax, rounding or .item()), or another `scope=...`."
        )


def check_twice(graph: Graph) -> None:
    """Refuse a graph that stops at an operation marked once-differentiable: torch treats it as a constant."""
    refuse_once_differentiable(graph.first, graph.without_rules)


def refuse_once_differentiable(gradients: Sequence[Tensor | None], without_rules: str) -> None:
    """Refuse first derivatives that pass an operation marked once-differentiable."""
    waiting = [gradient.grad_fn for gradient in gradients if gradient is not None]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::Error":
            raise CurvatureError(
                "the second derivative of the loss cannot be computed: the model has an operation that is marked as "
                f"differentiable once only.\nWrite its backward in differentiable operations, or {without_rules}"
            )
        waiting += [following for following, _ in node.next_functions]


def _dot(a: list[Tensor], b: list[Tensor | None], together: bool) -> Tensor:
    """Return the inner product over all tensors, shape () or (k,), float64."""
    first = 1 if together else 0
    zero = a[0].new_zeros(a[0].shape[:first], dtype=torch.float64)
    for x, y in zip(a, b, strict=True):
        if y is not None:
            inner = tuple(range(first, x.dim()))
            terms = x * y
            zero = zero + (terms.sum(inner, dtype=torch.float64) if inner else terms.double())
    return zero


def free_bytes(device: torch.device) -> int:
    """Return the number of free bytes of memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not every system tells
        return _UNKNOWN_FREE
