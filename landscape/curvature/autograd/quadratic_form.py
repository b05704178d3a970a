"""Quadratic forms v . H v from one forward pass, at half the cost of the product H v.

Along theta + t v every operation y = f(x) has the tangent y' = Df[x'] and the second-order term D²f[x', x']. Let
g = dL/dy, which one backward pass gives for all vectors. Then

    v . H v = sum over the operations of  g . D²f[x', x'].

So a vector costs three convolutions per layer (w * x', w' * x and w' * x'), where a Hessian product costs six. The
operations are recorded as the model calls them. An operation without a rule here is differentiated on its own, twice
backwards. torch's nested forward mode is no alternative: it gives wrong numbers for layer and batch normalisation
(2.13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape.curvature.autograd.conv_rules import (
    CheapSecondDerivatives,
    arguments_of_convolution,
    frozen_statistics,
    is_convolution,
)
from landscape.curvature.autograd.grad import derivative, twice_differentiable

_PLAIN = {
    Tensor.add_: Tensor.add,
    Tensor.sub_: Tensor.sub,
    Tensor.mul_: Tensor.mul,
    Tensor.div_: Tensor.div,
    Tensor.relu_: torch.relu,
    torch.relu_: torch.relu,
}  #: a call in place -> the same call out of place, which keeps the inputs that the tape needs
_LINEAR = {
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
}  #: linear in all tensors together: they pass tangents on and have no second-order term


Tangents = dict[int, Tensor]  #: by the id of the tensor; the tape keeps all these tensors alive
Pushed = tuple[list[Tensor | None], Tensor | float]  #: tangents of the outputs, and the second-order term g . D²f


@dataclass
class Operation:
    """One recorded call."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    outputs: list[Tensor]  #: tensors of the result that depend on the leaves
    slopes: list[Tensor | None]  #: g, the derivative of the total by each output
    isolated: IsolatedOp | None = None

    def push(self, tangents: Tangents) -> Pushed:
        """Return the tangents of the outputs, None for zero, and the second-order term of this call."""
        function, args, kwargs = self.function, self.args, self.kwargs
        flat, spec = tree_flatten((args, kwargs))
        moving = [i for i, item in enumerate(flat) if isinstance(item, Tensor) and id(item) in tangents]
        if not moving:
            return [None] * len(self.outputs), 0.0
        if is_convolution(function) or function is F.linear:
            tangent, product = _push_bilinear(function, arguments_of_convolution(args, kwargs), tangents)
            slope = self.slopes[0]
            return [tangent], 0.0 if product is None or slope is None else 2 * _dot(slope, product)
        if function in (F.relu, torch.relu):
            return [torch.ops.aten.threshold_backward(tangents[id(flat[moving[0]])], self.outputs[0], 0)], 0.0
        if function is F.batch_norm and (frozen := frozen_statistics(*args, **kwargs)) is not None:
            return _push_frozen_norm(self, *frozen, tangents)
        if self.isolated is None or self.isolated.moving != moving:
            self.isolated = IsolatedOp(self, flat, spec, moving)
        along = [tangents[id(flat[i])] for i in moving]
        if function in _LINEAR:
            return list(jvp(self.isolated.call, tuple(self.isolated.at), tuple(along))[1]), 0.0
        return self.isolated.push(along)


class IsolatedOp:
    """An operation on its own, as a function of the inputs that move, with graphs that all vectors share.

    Args:
        operation: the recorded call.
        flat, spec: its arguments, flattened, and their structure.
        moving: positions in ``flat`` of the tensors that have tangents.
    """

    def __init__(self, operation: Operation, flat: list[Any], spec: Any, moving: list[int]) -> None:
        # not the operation itself: it holds this object, and a circle of references would keep a tape in memory
        self._function, self._outer_slopes = operation.function, operation.slopes
        self._flat, self._spec, self.moving = flat, spec, moving
        self._places = [
            i
            for i, item in enumerate(floats_of(operation.result))
            if any(item is output for output in operation.outputs)
        ]
        self.at = [flat[i].detach() for i in moving]
        self._seeds: list[Tensor] | None = None

    def call(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs that depend on the leaves."""
        changed = [item.detach() if isinstance(item, Tensor) else item for item in self._flat]
        for place, value in zip(self.moving, values, strict=True):
            changed[place] = value
        args, kwargs = tree_unflatten(changed, self._spec)
        results = floats_of(self._function(*args, **kwargs))
        return tuple(results[i] for i in self._places)

    def push(self, along: list[Tensor]) -> Pushed:
        """Return the tangents of the outputs and the second-order term."""
        if self._seeds is None:
            self._differentiate()
        seeds = self._seeds or []
        tangents = derivative(self._pulled, seeds, along)
        second = derivative(self._slopes, self._inputs, along)
        return list(tangents), sum(_dot(a, b) for a, b in zip(along, second, strict=True) if b is not None)

    def _differentiate(self) -> None:
        """Record the pull-back, which is linear in its seeds, and the gradient of slopes . outputs."""
        self._inputs = [value.requires_grad_() for value in self.at]
        with torch.enable_grad(), twice_differentiable(), CheapSecondDerivatives():
            outputs = list(self.call(*self._inputs))
        self._seeds = [torch.zeros_like(output, requires_grad=True) for output in outputs]
        self._pulled = derivative(outputs, self._inputs, self._seeds, create_graph=True)
        slopes = [torch.zeros_like(o) if s is None else s for o, s in zip(outputs, self._outer_slopes, strict=True)]
        self._slopes = derivative(outputs, self._inputs, slopes, create_graph=True)


def _push_frozen_norm(operation: Operation, mean: Tensor, scale: Tensor, tangents: Tangents) -> Pushed:
    """Push tangents through y = w x^ + b with x^ = (x - mean) scale: y' = w x^' + w' x^ + b', D²y = 2 w' x^'."""
    named = dict(zip(("input", "mean", "var", "weight", "bias"), operation.args, strict=False)) | operation.kwargs
    x, weight, bias = named["input"].detach(), named.get("weight"), named.get("bias")
    x_tangent, weight_tangent, bias_tangent = (tangents.get(id(item)) for item in (named["input"], weight, bias))
    tangent = torch.zeros_like(x)
    scaled = None if x_tangent is None else x_tangent * scale
    if scaled is not None:
        tangent = scaled if weight is None else scaled * weight.detach().view(scale.shape)
    second: Tensor | float = 0.0
    if weight_tangent is not None:
        by_channel = weight_tangent.view(scale.shape)
        tangent = torch.addcmul(tangent, x - mean, by_channel * scale)
        if scaled is not None and (slope := operation.slopes[0]) is not None:
            second = 2 * _dot(slope, scaled * by_channel)
    return [tangent if bias_tangent is None else tangent + bias_tangent.view(scale.shape)], second


class Tape:
    """The total of a batch as the operations that computed it, at the point where it was recorded.

    Args:
        program: () -> total, a scalar that depends on ``leaves``.
        leaves: tensors that require gradients.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> Tape(lambda: (x**3).sum(), [x]).form([torch.ones(2)])  # 6 · (1 + 2)
    tensor(18., dtype=torch.float64)
    """

    def __init__(self, program: Callable[[], Tensor], leaves: list[Tensor]) -> None:
        self._leaves = leaves
        self.total, self._operations = recorded(program)

    def form(self, vectors: list[Tensor]) -> Tensor:
        """Return v . H v, float64, for a vector given as one tensor per leaf."""
        tangents = {id(leaf): vector for leaf, vector in zip(self._leaves, vectors, strict=True)}
        total = self.total.new_zeros((), dtype=torch.float64)
        for operation in self._operations:
            output_tangents, second = operation.push(tangents)
            total += second
            for output, tangent in zip(operation.outputs, output_tangents, strict=True):
                if tangent is not None:
                    tangents[id(output)] = tangent
        return total


def recorded(program: Callable[[], Tensor]) -> tuple[Tensor, list[Operation]]:
    """Return the total that a program computes, and its operations with their slopes."""
    total, operations, _ = listed(program)
    outputs = [output for operation in operations for output in operation.outputs]
    slopes = iter(torch.autograd.grad(total, outputs, allow_unused=True))
    for operation in operations:
        operation.slopes = [next(slopes) for _ in operation.outputs]
    return total, operations


def listed(
    program: Callable[[], Any], loss: Callable[[Any], Tensor] | None = None, *, identities: bool = True
) -> tuple[Tensor, list[Operation], int]:
    """Return the total that a program computes, its operations without slopes, and how many precede the loss.

    Args:
        program: () -> total, a scalar, or what ``loss`` takes.
        loss: what the program returns -> total; None if that is the total.
        identities: whether to list calls that return their input, such as a cast to the dtype that it has.
    """
    recorder = _Recorder()
    with torch.enable_grad(), recorder:
        total = program()
        before = len(recorder.operations)
        if loss is not None:
            total = loss(total)
    operations = recorder.operations
    if not identities:
        before = sum(not _is_identity(each) for each in operations[:before])
        operations = [each for each in operations if not _is_identity(each)]
    return total, operations, before


def _is_identity(operation: Operation) -> bool:
    inputs = {id(item) for item in tree_flatten((operation.args, operation.kwargs))[0] if isinstance(item, Tensor)}
    return all(id(output) in inputs for output in operation.outputs)


class _Recorder(TorchFunctionMode):
    """Keeps every call that returns a tensor which depends on the leaves; calls in place are made out of place."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        func = _PLAIN.get(func, func)
        if kwargs.get("inplace"):
            kwargs["inplace"] = False
        result = func(*args, **kwargs)
        outputs = [item for item in floats_of(result) if item.requires_grad]
        if outputs:
            self.operations.append(Operation(func, args, kwargs, result, outputs, []))
        return result


def floats_of(result: Any) -> list[Tensor]:
    return [item for item in tree_flatten(result)[0] if isinstance(item, Tensor) and item.is_floating_point()]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.to(a.dtype).reshape(-1)).double()


def _push_bilinear(
    function: Callable[..., Any], named: dict[str, Any], tangents: Tangents
) -> tuple[Tensor | None, Tensor | None]:
    """Return y' = w x' + w' x + b' and half of D²y, w' x', of y = w x + b."""
    names = ("input", "weight", "bias")
    moved = {name: tangents.get(id(named[name])) for name in names}
    x, w = (named[name].detach() for name in names[:2])
    rest = {name: value for name, value in named.items() if name not in names}
    tangent: Tensor | None = None
    if moved["weight"] is not None or moved["bias"] is not None:
        weight = moved["weight"] if moved["weight"] is not None else torch.zeros_like(w)
        tangent = function(x, weight, moved["bias"], **rest)
    if moved["input"] is None:
        return tangent, None
    from_input = function(moved["input"], w, None, **rest)
    product = None if moved["weight"] is None else function(moved["input"], moved["weight"], None, **rest)
    return from_input if tangent is None else tangent.add_(from_input), product
