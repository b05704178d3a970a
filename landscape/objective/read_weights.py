"""What a model holds in place of a weight while a point of a large model is evaluated.

A :class:`MovedWeight` has the shape and dtype of a weight, and no values. Whatever operation reads it gets the weight
at the point. It is made for this operation and freed after it. So it does not matter which module reads a weight, by
which of its names, or how: as a parameter of a layer, by ``torch.nn.functional``, or as an input of a parametrisation.

Two operations read only what they need: an embedding makes the rows that it looks up, and a large linear layer makes
some rows of its weight at a time. Products leave nothing of a weight in their result, so one room serves all of them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_any, tree_map

from landscape.objective.loss_by_rows import LossByRows
from landscape.objective.moved_weights import Point, moved_chosen, moved_rows, moved_tensor, row_pieces
from landscape.objective.parameters import Entry

LARGE_LINEAR = 2**20  #: entries of the weight of a linear layer that are made at a time
_LARGE_RESULT = 2**25  # bytes: above, the C library takes fresh memory for every tensor
_FEW_ROWS = 4  # an embedding makes single rows if it looks up at most one row in this number


class UncaughtError(RuntimeError):
    """A model reads or writes a weight in a way that only real tensors serve."""


class Rooms(list[Tensor]):
    """Memory in which weights are made, one after the other: fresh memory costs more than to move a weight.

    It also serves one large result, such as logits, if nobody has the last one any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._result: tuple[Tensor, ReferenceType[np.ndarray]] | None = None

    def clear(self) -> None:
        super().clear()
        self._result = None

    def for_result(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor whose values are not set, in the dtype of ``like``."""
        size = math.prod(shape) * like.element_size()
        if size < _LARGE_RESULT or not like.is_cpu or torch.is_grad_enabled() or type(like) is not Tensor:
            return like.new_empty(shape)
        room, last = self._result or (torch.empty(size, dtype=torch.uint8, device="cpu"), lambda: None)
        if last() is not None or room.numel() < size:
            return like.new_empty(shape)
        lent = room.numpy()[:size]  # which lives as long as any tensor that shares this memory
        self._result = room, ref(lent)
        return torch.from_numpy(lent).view(like.dtype).view(shape)

    @contextmanager
    def lent(self, like: Tensor, entries: int) -> Iterator[Tensor | None]:
        """Lend a flat tensor of at least so many entries; None if a result may keep what is written there."""
        if torch.is_grad_enabled() or type(like) is not Tensor:  # a compiler may try weights without numbers
            yield None
            return
        room = self.pop() if self else like.new_empty(0)
        if room.numel() < entries or (room.dtype, room.device) != (like.dtype, like.device):
            del room
            room = like.new_empty(entries)
        yield room
        self.append(room)


class MovedWeight(Tensor):
    """A weight at a point, which is made whenever an operation reads it.

    Attributes:
        weight: the trained weight.
        entry: its place in the layout.
        point: the point.
        rooms: where products make it.
    """

    weight: Tensor
    entry: Entry
    point: Point
    rooms: Rooms

    @staticmethod
    def __new__(cls, weight: Tensor, entry: Entry, point: Point, rooms: Rooms) -> MovedWeight:
        return Tensor._make_wrapper_subclass(
            cls, weight.shape, strides=weight.stride(), dtype=weight.dtype, device=weight.device, requires_grad=False
        )

    def __init__(self, weight: Tensor, entry: Entry, point: Point, rooms: Rooms) -> None:
        self.weight, self.entry, self.point, self.rooms = weight.detach(), entry, point, rooms

    def made(self) -> Tensor:
        """Return the weight at the point."""
        return moved_tensor(self.weight, self.entry, self.point)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _SAME:
            return args[0]
        if func in _DESCRIBE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        _refuse_writing(func, args, kwargs)
        if (part := _PARTS.get(func)) is not None:
            return part(*args, **kwargs)
        if func in _PRODUCTS:
            return _product(func, args, kwargs)
        return func(*_made(args), **_made(kwargs))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Serve what reaches torch's kernels by another way than its Python functions."""
        if func._schema.is_mutable:
            _refuse_writing(func, args, kwargs or {}, writes=isinstance(args[0], MovedWeight))
        return func(*_made(args), **_made(kwargs or {}))


class MovedWeights(list[Tensor]):
    """What a model gets at a point of a large model.

    Args:
        pairs: the trained weights, and the place of each in the layout.
        point: the point.
        rooms: where products make weights and results.
    """

    def __init__(self, pairs: Iterable[tuple[Tensor, Entry]], point: Point, rooms: Rooms) -> None:
        super().__init__(MovedWeight(own, entry, point, rooms) for own, entry in pairs)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Return the context in which the model runs with these."""
        with uncompiled(), LossByRows():
            yield


def uncompiled() -> AbstractContextManager[Any]:
    """Return a context in which nothing is compiled: a compiler would look for numbers that are not there."""
    if "torch._dynamo" not in sys.modules:  # then nothing can be, and to load it takes two seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def _made(items: Any) -> Any:
    return tree_map(lambda item: item.made() if isinstance(item, MovedWeight) else item, items)


def _refuse_writing(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, writes: bool = False
) -> None:
    """Refuse what would change the weight, or ask where its numbers lie."""
    name = getattr(func, "__name__", "")
    if func in _ADDRESSES:
        raise UncaughtError(f"the model asks where a weight lies in memory ({name}).")
    inplace = (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__set__")
    writes = writes or (inplace and bool(args) and isinstance(args[0], MovedWeight))
    if writes or tree_any(lambda item: isinstance(item, MovedWeight), kwargs.get("out")):
        raise UncaughtError(f"the model writes to a weight in place ({name}).")


def _product(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operation whose result holds nothing of a weight."""
    with ExitStack() as stack:

        def made(item: Any) -> Any:
            if not isinstance(item, MovedWeight) or not item.point.moves(item.entry):
                return _made(item)
            room = stack.enter_context(item.rooms.lent(item.weight, item.weight.numel()))
            return moved_tensor(item.weight, item.entry, item.point, room)

        return func(*tree_map(made, args), **tree_map(made, kwargs))


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what ``torch.nn.functional.linear`` returns; of a large weight only some rows exist at a time."""
    inputs, bias = _made(inputs), _made(bias)
    if not isinstance(weight, MovedWeight):
        return functional.linear(inputs, weight, bias)
    whole, entry, point = weight.weight, weight.entry, weight.point
    if not point.moves(entry) or whole.numel() <= LARGE_LINEAR or torch.is_grad_enabled():
        return _product(functional.linear, (inputs, weight, bias), {})
    if torch.is_autocast_enabled(inputs.device.type):  # it passes over products that are written to a given place
        parts = [
            functional.linear(inputs, moved_rows(whole, entry, point, rows), _rows(bias, rows))
            for rows in row_pieces(whole.shape, LARGE_LINEAR)
        ]
        return torch.cat(parts, -1)
    flat = inputs.reshape(-1, inputs.shape[-1])
    out = weight.rooms.for_result(flat, (len(flat), len(whole)))
    with weight.rooms.lent(whole, max(LARGE_LINEAR, whole.shape[1])) as room:
        for rows in row_pieces(whole.shape, LARGE_LINEAR):
            part = moved_rows(whole, entry, point, rows, room)
            if bias is None:
                torch.mm(flat, part.t(), out=out[:, rows])
            else:  # in 16 bits the sum with the bias is rounded once
                torch.addmm(bias[rows], flat, part.t(), out=out[:, rows])
    return out.view(*inputs.shape[:-1], len(whole))


def _rows(bias: Tensor | None, rows: slice) -> Tensor | None:
    return None if bias is None else bias[rows]


def _embedding(
    numbers: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return what ``torch.nn.functional.embedding`` returns, from the rows that are looked up."""
    if max_norm is not None:
        raise UncaughtError("an embedding with max_norm writes to its weight in place.")
    if not isinstance(weight, MovedWeight):
        return functional.embedding(numbers, weight, padding_idx)
    if not weight.point.moves(weight.entry) or numbers.numel() * _FEW_ROWS > len(weight.weight):
        return functional.embedding(numbers, weight.made(), padding_idx)
    rows, place = torch.unique(numbers, return_inverse=True)
    return moved_chosen(weight.weight, weight.entry, weight.point, rows)[place]


_PARTS: dict[Any, Callable[..., Any]] = {functional.linear: _linear, functional.embedding: _embedding}
_PRODUCTS = {
    *(torch.addmm, torch.mm, torch.matmul, Tensor.matmul, Tensor.__matmul__),
    *(functional.conv1d, functional.conv2d, functional.conv3d),
}
#: what a weight is, whatever its values
_DESCRIBE = {
    *(
        getattr(Tensor, name).__get__
        for name in (
            *("shape", "dtype", "device", "layout", "ndim", "is_leaf", "requires_grad", "grad", "grad_fn", "names"),
            *("is_cuda", "is_sparse", "is_sparse_csr", "is_quantized", "is_meta", "is_nested", "is_mkldnn", "is_mps"),
            *("is_xla", "is_cpu", "is_xpu", "itemsize", "nbytes", "_version", "_backward_hooks", "retains_grad"),
        )
        if hasattr(Tensor, name)
    ),
    *(Tensor.size, Tensor.dim, Tensor.ndimension, Tensor.numel, Tensor.nelement, Tensor.stride, Tensor.element_size),
    *(Tensor.is_contiguous, Tensor.is_floating_point, Tensor.is_complex, Tensor.__len__, Tensor.__hash__),
    *(Tensor.get_device, Tensor.is_inference, Tensor.is_signed, Tensor.storage_offset, Tensor.is_conj, Tensor.is_neg),
    *(torch.is_floating_point, torch.is_complex, torch.numel, torch.is_inference, torch.is_conj),
}
#: the weight without its history, which a moved weight does not have
_SAME = {Tensor.data.__get__, Tensor.detach, torch.detach, Tensor.requires_grad_}  # type: ignore[attr-defined]
_ADDRESSES = {Tensor.data_ptr, Tensor.untyped_storage, Tensor.storage, Tensor.__dlpack__, Tensor.numpy}
