"""A few samples of an objective, in float64 if the model runs in it: what the checks of derivatives work on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from landscape.curvature.autograd.grad import twice_differentiable
from landscape.curvature.autograd.gradient import gradient_of
from landscape.curvature.autograd.graphs import (
    Graph,
    Graphs,
    HessianGraph,
    check_twice,
)
from landscape.curvature.autograd.in_double import InDouble, Seen, doubled, fits_in_double, require_same_loss
from landscape.objective.batch_loss import CENTRE, ModelProgram, Program, evaluating
from landscape.objective.batches import split_batches

SAMPLES = 4  #: samples of the first batch that are enough: every batch goes through the same operations


class FewSamples:
    """The loss of a few samples as a function of the flat vector, with its gradient and its graph.

    Args:
        program: the loss of these samples, a single batch.
        theta: the centre, shape (D,), in the dtype of the computation.
        double: whether everything is computed in float64.

    Attributes:
        shapes: of the tensors to differentiate by.
        eps: the relative rounding of the coarsest dtype that the loss is computed in.
        magnitude: the size of the numbers from which the loss is computed; times eps, its absolute rounding.
    """

    def __init__(self, program: Program, theta: Tensor, *, double: bool) -> None:
        self._program, self.theta, self._double = program, theta, double
        with program.running():
            self.shapes = [leaf.shape for leaf in program.leaves(theta)]
        self._seen = Seen()
        moves = [True] * len(self.shapes)
        with self.running():
            self.centre = float(self.watch(moves, nullcontext() if double else _Watching(self._seen)).detach())
        self._seen.looking = False
        self.eps = max(self._seen.eps, torch.finfo(theta.dtype).eps)
        self.magnitude = max(self._seen.magnitude, abs(self.centre))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the model into the mode in which it is measured. Call all other methods inside."""
        with self._program.running():
            if self._double:
                with InDouble(self._seen):
                    yield
            else:
                yield

    def loss(self, point: Tensor) -> Tensor:
        """Return the total of the samples as it is measured, shape ()."""
        with torch.no_grad(), evaluating(self._program, 0, CENTRE):
            return self._program.totals(point[None], 0)[0].double()

    def _leaves(self, point: Tensor, moves: Sequence[bool]) -> list[Tensor]:
        leaves = self._program.leaves(point)
        for leaf, moving in zip(leaves, moves, strict=True):
            leaf.requires_grad_(moving)
        return leaves

    def gradient(self, point: Tensor, moves: Sequence[bool]) -> list[Tensor]:
        """Return the gradient by each tensor that moves, by one ordinary backward pass."""
        return gradient_of(self._program, point, 0, moves, CENTRE)

    def graph(self, point: Tensor, ranges: Sequence[tuple[int, int]], kind: type[Graph] = HessianGraph) -> Graph:
        """Return the graph from which products are taken; for a TorchScript module it serves until the next call."""
        graph = Graphs(self._program, point, kind, ranges, memory=0).record(0)
        check_twice(graph)
        return graph

    def watch(self, moves: Sequence[bool], mode: Any) -> Tensor:
        """Run the samples forwards with gradients under a mode that watches the operations; return the total."""
        with torch.enable_grad(), twice_differentiable(), evaluating(self._program, 0, CENTRE), mode:
            return self._program.total_of(self._leaves(self.theta, moves), 0)


def few_samples(program: Program, theta: Tensor) -> FewSamples:
    """Return the first few samples in float64; if the model does not run so, the whole batch or its own dtype.

    A model in float64 may compute a part in float32. If float64 throughout gives another loss, its own dtypes count.

    Raises:
        ObjectiveError: if the loss of the first batch cannot be evaluated.
    """
    last: Exception | None = None
    for candidate, double in _candidates(program, theta):
        try:
            return _agreeing(candidate, theta, double=double)
        except Exception as error:  # whatever a model does with few samples, or in float64: the next candidate decides
            last = error
    assert last is not None
    raise last


def _candidates(program: Program, theta: Tensor) -> Iterator[tuple[Program, bool]]:
    """Yield what to try in order: (program of one batch, whether in float64)."""
    wide = theta.dtype == torch.float64
    fits = fits_in_double(program, theta)
    if not isinstance(program, ModelProgram):
        yield from ((program, double) for double in ((True,) if wide else (True, False)) if fits or not double)
        return
    whole = program.batches[:1]
    few = split_batches(whole, SAMPLES)[:1]
    pieces = [whole] if few[0].samples == whole[0].samples else [few, whole]
    alone = [program.with_batches(piece) for piece in pieces]
    alone = [one for one in alone if sum(one.counts)] or alone[-1:]
    for one in alone:
        one.together = False  # point by point, and never compiled
    if fits:
        yield from ((one, True) for one in alone)
    yield from ((one, False) for one in alone)


def _agreeing(program: Program, theta: Tensor, *, double: bool) -> FewSamples:
    """Return the samples, after comparing their loss in float64 with the loss as it is measured."""
    native = FewSamples(program, theta, double=False)
    if not double:
        return native
    precise = FewSamples(doubled(program), theta.double(), double=True)
    require_same_loss(program, theta, native.centre, precise.centre)
    return precise


class _Watching(TorchFunctionMode):
    """Computes as the model does, and notes what operations return."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._seen.note(result)
        return result
