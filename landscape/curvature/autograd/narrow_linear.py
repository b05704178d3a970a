"""Backward passes of linear layers in 16 bits, on processors without instructions for such numbers.

There torch's kernel for g w, which the backward pass of y = x w^T needs, takes some 80 times as long as that for
x w^T. Here g w is summed in float32 over some rows of w at a time, and rounded once to 16 bits. torch's kernel sums in
float32 and rounds once, too. Only the order of summation differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from landscape.objective.moved_weights import row_pieces, wide

#: tells whether the processor has instructions for a dtype
_NATIVE = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
_WIDENED = 2**22  # entries of a weight that are widened at a time


class NarrowLinear(TorchFunctionMode):
    """Calls :func:`linear` in place of ``torch.nn.functional.linear``."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (linear if func is F.linear else func)(*args, **(kwargs or {}))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, leaves: bool = True) -> Tensor:
    """Return ``F.linear``, with a backward pass by :func:`times_back`; it can be differentiated any number of times.

    Args:
        input, weight, bias: as for ``F.linear``.
        leaves: whether the derivative by a weight that is a leaf may be asked for.
    """
    if not has_slow_backward(weight):
        return F.linear(input, weight, bias)
    out: Tensor = _Linear.apply(input, weight, bias, leaves or not weight.is_leaf)
    return out


def has_slow_backward(weight: Tensor) -> bool:
    """Return whether torch's kernel for g w is slow for this weight."""
    if weight.device.type != "cpu" or weight.dim() != 2 or weight.dtype not in _NATIVE:
        return False
    native = getattr(torch.ops.mkldnn, _NATIVE[weight.dtype], None)  # some builds of torch have no such library
    return native is None or not native()


def times_back(g: Tensor, w: Tensor) -> Tensor:
    """Return g w, (..., outputs) and (outputs, inputs) -> (..., inputs).

    >>> times_back(torch.ones(1, 2).bfloat16(), torch.tensor([[1.0, 2.0], [3.0, 4.0]]).bfloat16())
    tensor([[4., 6.]], dtype=torch.bfloat16)
    """
    if not has_slow_backward(w):
        return g @ w
    flat = _rows(g)
    total = torch.zeros(len(flat), w.shape[1], dtype=wide(g.dtype))
    for rows in row_pieces(w.shape, _WIDENED):
        total = torch.addmm(total, flat[:, rows].to(total.dtype), w[rows].to(total.dtype))
    return total.to(g.dtype).view(*g.shape[:-1], w.shape[1])


class _Linear(torch.autograd.Function):
    """x w^T + b."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor | None, both: bool) -> Tensor:
        return F.linear(x, w, b)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, context.bias, context.both = inputs
        context.bias = context.bias is not None
        context.save_for_backward(x, w)

    @staticmethod
    def backward(context: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = context.saved_tensors
        of_weight = _Outer.apply(g, x) if context.both else None
        return _Back.apply(g, w), of_weight, _rows(g).sum(0) if context.bias else None, None


class _Back(torch.autograd.Function):
    """g w."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, w: Tensor) -> Tensor:
        return times_back(g, w)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context: Any, h: Tensor) -> tuple[Tensor, Tensor]:
        g, w = context.saved_tensors
        return _Linear.apply(h, w, None, True), _Outer.apply(g, h)


class _Outer(torch.autograd.Function):
    """g^T x, over all rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        return _rows(g).t() @ _rows(x)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context: Any, m: Tensor) -> tuple[Tensor, Tensor]:
        g, x = context.saved_tensors
        return _Linear.apply(x, m, None, True), _Back.apply(g, m)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
