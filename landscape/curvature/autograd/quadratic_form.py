"""Quadratic forms v . H v from one pass forwards, at half of the cost of the product H v.

Along theta + t v every operation y = f(x) passes on a tangent y' = Df[x'], and bends by D²f[x', x']. With g = dL/dy,
which one backward pass gives for all vectors alike,

    v . H v = sum over the operations of  g . D²f[x', x'].

So a vector costs three convolutions a layer (w * x', w' * x and w' * x') where a Hessian product costs six. The
operations are recorded as the model calls them. What has no rule of its own here is differentiated by itself, twice
backwards: torch's nested forward mode gives wrong numbers for layer and batch normalisation (2.13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape.curvature.autograd.conv_rules import (
    CheapSeconds,
    arguments_of_convolution,
    frozen_statistics,
    is_convolution,
)
from landscape.curvature.autograd.grad import derivative

_PLAIN = {
    Tensor.add_: Tensor.add,
    Tensor.sub_: Tensor.sub,
    Tensor.mul_: Tensor.mul,
    Tensor.div_: Tensor.div,
    Tensor.relu_: torch.relu,
    torch.relu_: torch.relu,
}  #: a call in place -> the one that leaves its inputs as the tape needs them; x += y takes the result either way
_STRAIGHT = {
    torch.add,
    torch.sub,
    torch.cat,
    torch.flatten,
    torch.permute,
    torch.reshape,
    torch.sum,
    torch.mean,
    torch.transpose,
    torch.stack,
    Tensor.__add__,
    Tensor.__getitem__,
    Tensor.__radd__,
    Tensor.__sub__,
    Tensor.add,
    Tensor.contiguous,
    Tensor.double,
    Tensor.flatten,
    Tensor.float,
    Tensor.mean,
    Tensor.permute,
    Tensor.reshape,
    Tensor.sum,
    Tensor.to,
    Tensor.transpose,
    Tensor.view,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    F.pad,
}  #: linear in all tensors together: they pass tangents on and do not bend


Tangents = dict[int, Tensor]  #: by the id of the tensor, all of which the tape keeps alive
Pushed = tuple[list[Tensor | None], Tensor | float]  #: tangents of the outputs, and g . D²f[x', x']


@dataclass
class _Operation:
    """One call: what was called with what, what came out and depends on the leaves, and the total's slopes."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    outputs: list[Tensor]
    slopes: list[Tensor | None]
    alone: _Alone | None = None

    def push(self, tangents: Tangents) -> Pushed:
        """Return the tangents of the outputs, None for zero, and how the total bends here."""
        function, args, kwargs = self.function, self.args, self.kwargs
        flat, spec = tree_flatten((args, kwargs))
        moving = [i for i, item in enumerate(flat) if isinstance(item, Tensor) and id(item) in tangents]
        if not moving:
            return [None] * len(self.outputs), 0.0
        if is_convolution(function) or function is F.linear:
            tangent, bend = _push_bilinear(function, arguments_of_convolution(args, kwargs), tangents)
            slope = self.slopes[0]
            return [tangent], 0.0 if bend is None or slope is None else 2 * _dot(slope, bend)
        if function in (F.relu, torch.relu):
            return [torch.ops.aten.threshold_backward(tangents[id(flat[moving[0]])], self.outputs[0], 0)], 0.0
        if function is F.batch_norm and (frozen := frozen_statistics(*args, **kwargs)) is not None:
            return _push_frozen_norm(self, *frozen, tangents)
        if self.alone is None or self.alone.moving != moving:
            self.alone = _Alone(self, flat, spec, moving)
        along = [tangents[id(flat[i])] for i in moving]
        if function in _STRAIGHT:
            return list(jvp(self.alone.call, tuple(self.alone.at), tuple(along))[1]), 0.0
        return self.alone.push(along)


class _Alone:
    """An operation cut out of the tape, as a function of the inputs that move, with graphs that all vectors share."""

    def __init__(self, operation: _Operation, flat: list[Any], spec: Any, moving: list[int]) -> None:
        # not the operation itself: it holds this one, and a circle would keep a whole tape in memory for a while
        self._function, self._outer_slopes = operation.function, operation.slopes
        self._flat, self._spec, self.moving = flat, spec, moving
        self._places = [
            i for i, item in enumerate(_floats(operation.result)) if any(item is output for output in operation.outputs)
        ]
        self.at = [flat[i].detach() for i in moving]
        self._seeds: list[Tensor] | None = None

    def call(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs that depend on the leaves."""
        changed = [item.detach() if isinstance(item, Tensor) else item for item in self._flat]
        for place, value in zip(self.moving, values, strict=True):
            changed[place] = value
        args, kwargs = tree_unflatten(changed, self._spec)
        found = _floats(self._function(*args, **kwargs))
        return tuple(found[i] for i in self._places)

    def push(self, along: list[Tensor]) -> Pushed:
        """Return the tangents of the outputs and how the total bends."""
        if self._seeds is None:
            self._differentiate()
        seeds = self._seeds or []
        pushed = derivative(self._pulled, seeds, along)
        bent = derivative(self._slopes, self._inputs, along)
        return list(pushed), sum(_dot(a, b) for a, b in zip(along, bent, strict=True) if b is not None)

    def _differentiate(self) -> None:
        """Make the pull-back, which is linear in its seeds, and the gradient of slopes . outputs."""
        self._inputs = [value.requires_grad_() for value in self.at]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), CheapSeconds():
            outputs = list(self.call(*self._inputs))
        self._seeds = [torch.zeros_like(output, requires_grad=True) for output in outputs]
        self._pulled = derivative(outputs, self._inputs, self._seeds, create_graph=True)
        slopes = [torch.zeros_like(o) if s is None else s for o, s in zip(outputs, self._outer_slopes, strict=True)]
        self._slopes = derivative(outputs, self._inputs, slopes, create_graph=True)


def _push_frozen_norm(operation: _Operation, mean: Tensor, scale: Tensor, tangents: Tangents) -> Pushed:
    """y = w x^ + b with x^ = (x - mean) scale: y' = w x^' + w' x^ + b', and it bends by 2 w' x^'."""
    given = dict(zip(("input", "mean", "var", "weight", "bias"), operation.args, strict=False)) | operation.kwargs
    x, weight, bias = given["input"].detach(), given.get("weight"), given.get("bias")
    along, by_weight, by_bias = (tangents.get(id(item)) for item in (given["input"], weight, bias))
    tangent = torch.zeros_like(x)
    moved = None if along is None else along * scale
    if moved is not None:
        tangent = moved if weight is None else moved * weight.detach().view(scale.shape)
    bend: Tensor | float = 0.0
    if by_weight is not None:
        turned = by_weight.view(scale.shape)
        tangent = torch.addcmul(tangent, x - mean, turned * scale)
        if moved is not None and (slope := operation.slopes[0]) is not None:
            bend = 2 * _dot(slope, moved * turned)
    return [tangent if by_bias is None else tangent + by_bias.view(scale.shape)], bend


class Tape:
    """A batch's total as the operations that made it, at the point where it was recorded.

    Args:
        program: () -> total, a scalar that depends on ``leaves``.
        leaves: tensors that require gradients.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> Tape(lambda: (x**3).sum(), [x]).form([torch.ones(2)])  # 6 · (1 + 2)
    tensor(18., dtype=torch.float64)
    """

    def __init__(self, program: Callable[[], Tensor], leaves: list[Tensor]) -> None:
        self._leaves = leaves
        recorder = _Recorder()
        with torch.enable_grad(), recorder:
            self.total = program()
        self._operations = recorder.operations
        outputs = [output for operation in self._operations for output in operation.outputs]
        slopes = iter(torch.autograd.grad(self.total, outputs, allow_unused=True))
        for operation in self._operations:
            operation.slopes = [next(slopes) for _ in operation.outputs]

    def form(self, vectors: list[Tensor]) -> Tensor:
        """Return v . H v, float64, for a vector given as a tensor a leaf."""
        tangents = {id(leaf): vector for leaf, vector in zip(self._leaves, vectors, strict=True)}
        total = self.total.new_zeros((), dtype=torch.float64)
        for operation in self._operations:
            pushed, bend = operation.push(tangents)
            total += bend
            for output, tangent in zip(operation.outputs, pushed, strict=True):
                if tangent is not None:
                    tangents[id(output)] = tangent
        return total


class _Recorder(TorchFunctionMode):
    """Keeps every call that returns a tensor which depends on the leaves; calls in place are made out of place."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[_Operation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        func = _PLAIN.get(func, func)
        if kwargs.get("inplace"):
            kwargs["inplace"] = False
        result = func(*args, **kwargs)
        outputs = [item for item in _floats(result) if item.requires_grad]
        if outputs:
            self.operations.append(_Operation(func, args, kwargs, result, outputs, []))
        return result


def _floats(result: Any) -> list[Tensor]:
    return [item for item in tree_flatten(result)[0] if isinstance(item, Tensor) and item.is_floating_point()]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.to(a.dtype).reshape(-1)).double()


def _push_bilinear(
    function: Callable[..., Any], found: dict[str, Any], tangents: Tangents
) -> tuple[Tensor | None, Tensor | None]:
    """Return y' = w x' + w' x + b' and half of D²y, w' x', of y = w x + b."""
    names = ("input", "weight", "bias")
    moved = {name: tangents.get(id(found[name])) for name in names}
    x, w = (found[name].detach() for name in names[:2])
    rest = {name: value for name, value in found.items() if name not in names}
    tangent: Tensor | None = None
    if moved["weight"] is not None or moved["bias"] is not None:
        weight = moved["weight"] if moved["weight"] is not None else torch.zeros_like(w)
        tangent = function(x, weight, moved["bias"], **rest)
    if moved["input"] is None:
        return tangent, None
    straight = function(moved["input"], w, None, **rest)
    bend = None if moved["weight"] is None else function(moved["input"], moved["weight"], None, **rest)
    return straight if tangent is None else tangent.add_(straight), bend
