"""Matrix products, convolutions and attention in 16 bits, on processors without instructions for such numbers.

There torch's kernels take 4 to 100 times as long as those for float32: 4 times for x w^T, 80 times for g w, which the
backward pass of x w^T needs, and 100 times for convolutions. :class:`SumsInFloat32` widens the operands to float32,
tile by tile, and rounds the sum once to 16 bits. torch's kernels for products and convolutions sum in float32 and round
once, too: only the order of summation differs. Those for attention round the weights of attention as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

#: tells whether the processor has instructions for a dtype
_NATIVE = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
_TILE = 2**20  # entries of an operand, or of the result, that are widened at a time: they fit the cache
_WIDE = 4  # bytes of a number in float32
_FEW = 8  # rows, columns or terms: below, torch's kernels for rows times rows are as fast
_LITTLE = 2**16  # multiplications: below, the calls take longer than the sums
_SMALL_WEIGHT = 2**12  # entries: without a larger weight, to look at each operation takes longer than it saves


def is_slow(dtype: torch.dtype) -> bool:
    """Return whether this processor has no instructions for products in a dtype of 16 bits."""
    return dtype in _NATIVE and not _has_instructions(dtype)


@cache
def _has_instructions(dtype: torch.dtype) -> bool:
    native = getattr(torch.ops.mkldnn, _NATIVE[dtype], None)  # some builds of torch have no such library
    return native is not None and bool(native())


def gains(model: nn.Module) -> bool:
    """Return whether a model of weights in 16 bits is large enough here to gain from :func:`sums_in_float32`.

    What computes in 16 bits without such weights, as under ``torch.autocast``, shows to :class:`Noticing`.
    """
    return any(
        parameter.device.type == "cpu"
        and is_slow(parameter.dtype)
        and (parameter.dim() > 2 or parameter.numel() >= _SMALL_WEIGHT)
        for parameter in model.parameters()
    )


@contextmanager
def sums_in_float32() -> Iterator[None]:
    """Sum products in 16 bits as this module does, derivatives of every order included."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # kernels for a whole layer would hide its products
    try:
        with SumsInFloat32():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class Copies:
    """Within it, the largest number of bytes that one operation takes for copies in float32 is recorded.

    Attributes:
        largest: these bytes.
    """

    _open: ClassVar[list[Copies]] = []

    def __init__(self) -> None:
        self.largest = 0

    def __enter__(self) -> Copies:
        self._open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.remove(self)

    @classmethod
    def record(cls, entries: int) -> None:
        """Say that an operation holds so many numbers in float32 at a time."""
        for each in cls._open:
            each.largest = max(each.largest, _WIDE * entries)


class SumsInFloat32(TorchDispatchMode):
    """Computes products, convolutions and attention of 16-bit tensors in float32, and all other operations as torch."""

    supports_higher_order_operators = True  # operations that call functions, such as torch.cond

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Say that what a model compiles itself, such as flex attention, stays as it is."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that torch need not load its compiler, which takes two seconds: nothing here is compiled."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = _RULES.get(func)
        if rule is None or any(issubclass(kind, FakeTensor) for kind in types):  # fake ones have no numbers
            return func(*args, **(kwargs or {}))
        if any(kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ for kind in types):
            return NotImplemented  # such as a tensor that ranks share: what it is made of comes here next
        return self._apply(rule, func, args, kwargs or {})

    def _apply(self, rule: Callable[..., Any], func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return rule(func, args, kwargs)


class Noticing(SumsInFloat32):
    """Computes everything as torch does, and notes whether sums in float32 would be faster.

    Attributes:
        gains: whether they would.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gains = False

    def _apply(self, rule: Callable[..., Any], func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pays = _pays(*args[-2:]) if rule is _product else args[0].is_cpu and is_slow(args[0].dtype)
        self.gains = self.gains or pays
        return func(*args, **kwargs)


def _product(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return beta · bias + alpha · a b, for two matrices or two stacks of them."""
    (a, b), bias = args[-2:], args[0] if len(args) == 3 else None
    if not _pays(a, b):
        return func(*args, **kwargs)
    given, shape = kwargs.get("out"), (*a.shape[:-1], b.shape[-1])
    if given is not None and given.shape != shape:  # torch gives it its size
        return func(*args, **kwargs)
    if given is None and max(a.numel(), b.numel(), math.prod(shape)) <= _TILE:
        return _in_float32(func, args, kwargs)
    out = a.new_empty(shape) if given is None else given
    scales = {name: kwargs[name] for name in ("alpha", "beta") if name in kwargs}
    stacks = [item if item.dim() == 3 else item[None] for item in (a, b, out)]
    one, other, result = stacks
    added = None if bias is None else bias.expand(result.shape)
    Copies.record(3 * _TILE)
    for items, rows, columns in _tiles(one.shape, other.shape[2]):
        x, y = one[items, rows].float(), other[items, :, columns].float()
        place = items, rows, columns
        result[place] = torch.bmm(x, y) if added is None else torch.baddbmm(added[place].float(), x, y, **scales)
    return out


def _pays(a: Tensor, b: Tensor) -> bool:
    """Return whether tiles in float32 are faster than torch's kernel: measured for both dtypes and all orders."""
    plain = a.layout == b.layout == torch.strided and not (a.is_nested or b.is_nested)
    if not (plain and a.is_cpu and a.dtype == b.dtype and is_slow(a.dtype)):
        return False
    sides = *a.shape[-2:], b.shape[-1]
    if a.numel() * sides[2] < _LITTLE:
        return False
    along = a.stride(-1) == b.stride(-2) == 1 or a.stride(-2) == b.stride(-1) == 1
    return a.dim() == 3 or not along or min(sides) >= _FEW


def _tiles(shape: Sequence[int], n: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield ranges of items, rows and columns of (items, m, k) times (items, k, n), so that no tile is large."""
    items, m, k = shape
    columns = max(1, min(n, _TILE // k))
    rows = max(1, min(m, _TILE // max(k, columns)))
    together = max(1, _TILE // max(rows * k, k * columns, rows * columns))
    for item in range(0, items, together):
        for row in range(0, m, rows):
            for column in range(0, n, columns):
                yield slice(item, item + together), slice(row, row + rows), slice(column, column + columns)


def _in_float32(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, outputs: int = 3, orders: int = 1) -> Any:
    """Call an operation in float32, and round the first of its outputs to 16 bits; torch gives others in float32.

    Its kernel holds what it reads and gives in so many orders at a time.
    """
    narrow = args[0].dtype
    if not (args[0].is_cpu and is_slow(narrow)):
        return func(*args, **kwargs)

    def widened(item: Any) -> Any:
        return item.float() if isinstance(item, Tensor) and item.dtype == narrow else item

    found = func(*map(widened, args), **{name: widened(item) for name, item in kwargs.items()})
    results = (found,) if isinstance(found, Tensor) else found
    given = [item for item in (*args, *kwargs.values()) if isinstance(item, Tensor) and item.dtype == narrow]
    Copies.record(orders * sum(item.numel() for item in (*given, *results) if item is not None))
    if isinstance(found, Tensor):
        return found.to(narrow)
    return tuple(item if item is None or i >= outputs else item.to(narrow) for i, item in enumerate(found))


_convolution = partial(_in_float32, orders=2)  # oneDNN has an order of its own
_aten = torch.ops.aten
_RULES: dict[Any, Callable[..., Any]] = {
    **{
        getattr(each, kind): _product
        for each in (_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm)
        for kind in ("default", "out")
    },
    _aten.convolution.default: _convolution,
    _aten._convolution.default: _convolution,  # of recorded models
    _aten.convolution_backward.default: _convolution,
    _aten._scaled_dot_product_flash_attention_for_cpu.default: partial(_in_float32, outputs=1),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _in_float32,
}
