"""A few samples of an objective, in float64 if the model runs in it: what the checks of derivatives work on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from landscape.curvature.autograd.grad import twice_differentiable
from landscape.curvature.autograd.gradient import gradient_of
from landscape.curvature.autograd.graphs import (
    Graph,
    Graphs,
    HessianGraph,
    check_twice,
    free_bytes,
)
from landscape.objective.batch_loss import CENTRE, ModelProgram, Program, evaluating
from landscape.objective.batches import Batch, split_batches
from landscape.objective.parameters import Layout

SAMPLES = 4  #: samples of the first batch that are enough: every batch goes through the same operations
_LOW = (torch.float32, torch.float16, torch.bfloat16)
_TO_LOW = {Tensor.float, Tensor.half, Tensor.bfloat16}
_PLAIN = {int, float, bool, str, type(None)}  #: most arguments that are no tensors; asking for them first saves time
_LARGE = 1e3  # larger numbers count as this much
_VECTORS = 12  # flat vectors in float64 that the checks hold at a time


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
        self._seen = _Seen()
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
                with _InDouble(self._seen):
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
    fits = wide or _VECTORS * 8 * len(theta) < free_bytes(theta.device)
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
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in program.model.modules())
    if fits and not scripted:
        yield from ((one, True) for one in alone)
    yield from ((one, False) for one in alone)


def _agreeing(program: Program, theta: Tensor, *, double: bool) -> FewSamples:
    """Return the samples, after comparing their loss in float64 with the loss as it is measured."""
    native = FewSamples(program, theta, double=False)
    if not double:
        return native
    precise = FewSamples(_doubled(program), theta.double(), double=True)
    narrow = [entry.dtype for entry in program.layout.entries] if isinstance(program, ModelProgram) else [theta.dtype]
    allowed = 10 * max(torch.finfo(dtype).eps for dtype in narrow) ** 0.5
    if not abs(precise.centre - native.centre) <= allowed * max(abs(native.centre), 1.0):
        raise ArithmeticError(f"the loss is {native.centre} as measured and {precise.centre} in float64")
    return precise


def _doubled(program: Program) -> Program:
    """Return the same program with data, buffers and layout in float64; the module itself is shared."""
    if not isinstance(program, ModelProgram):
        return program
    batches = tuple(
        Batch(
            **{name: tree_map(_widened, getattr(batch, name)) for name in ("raw", "inputs", "named", "target")},
            samples=batch.samples,
        )
        for batch in program.batches
    )
    doubled = program.with_batches(batches).with_buffers(tuple(_widened(buffer) for buffer in program.constants))
    doubled.layout = Layout([replace(entry, dtype=torch.float64) for entry in program.layout.entries])
    return doubled


class _InDouble(TorchFunctionMode):
    """Computes in float64 whatever the model asks for, so that differences resolve small steps.

    Tensors that the model makes or keeps in a narrower dtype are widened as they are used, and casts to a narrower
    dtype have no effect. ``seen`` notes what operations return before that.
    """

    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")  # then the first tensor itself must be written
        args = (*args[:1], *map(_wide_argument, args[1:])) if in_place else tuple(map(_wide_argument, args))
        if func in _TO_LOW:
            return args[0].double()
        result = func(*args, **{key: _wide_argument(value) for key, value in (kwargs or {}).items()})
        self._seen.note(result)
        return _mapped(_widened, result)


class _Watching(TorchFunctionMode):
    """Computes as the model does, and notes what operations return."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._seen.note(result)
        return result


class _Seen:
    """The coarsest dtype of results that depend on the parameters, as relative rounding, and the size of numbers."""

    def __init__(self) -> None:
        self.eps, self.magnitude, self.looking = 0.0, 0.0, True

    def note(self, result: Any) -> None:
        if not self.looking:
            return
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, Tensor) and item.is_floating_point() and item.requires_grad and item.numel():
                self.eps = max(self.eps, torch.finfo(item.dtype).eps)
                # capped, so that the -1e9 of masked attention does not hide everything else
                mean = float(_all_values(item.detach()).abs().clamp(max=_LARGE).mean())
                self.magnitude = max(self.magnitude, mean if math.isfinite(mean) else 0.0)


def _all_values(tensor: Tensor) -> Tensor:
    """Return the values behind a tensor inside of torch.func.vmap or grad, which shows only one of them."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _widened(item: Any) -> Any:
    return item.double() if isinstance(item, Tensor) and item.dtype in _LOW else item


def _wide_argument(item: Any) -> Any:
    if isinstance(item, torch.dtype):
        return torch.float64 if item in _LOW else item
    return _mapped(_widened, item)


def _mapped(change: Callable[[Any], Any], item: Any) -> Any:
    """Return the item with every tensor in it changed, like ``tree_map``, but fast for what operations take."""
    kind = type(item)
    if kind in _PLAIN:
        return item
    if kind in (tuple, list):
        return kind([_mapped(change, part) for part in item])
    return change(item) if isinstance(item, Tensor) or not isinstance(item, tuple | dict) else tree_map(change, item)
