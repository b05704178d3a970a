"""Products H v and forms v . H v of large models: operation by operation, without a gradient of the weights.

Let x' be the tangent of a tensor x along theta + t v, g its slope dL/dx, and g' the derivative of that slope along v. A
forward sweep over the operations y = f(x) gives all tangents, and a sweep back gives the derivatives of slopes
(Pearlmutter 1994):

    y' = Df x'          x's g' = Df^T y's g' + D²f[x', .]^T y's g

At a weight, g' is that weight's part of H v. It is added to the vector of the caller at once. So a product holds no
gradient and no product of its own, only activations: values, slopes and tangents. Layers that are bilinear in input and
weight have rules here; torch differentiates every other operation by itself.

The form is the sum of g . D²f[x', x'] over all operations, as in :mod:`.quadratic_form`. It needs no sweep back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape.curvature.autograd.grad import derivative, twice_differentiable
from landscape.curvature.autograd.quadratic_form import Operation, floats_of, recorded

Tangents = dict[int, Tensor]  #: by the id of the tensor; the tape keeps all these tensors alive


class ProductTape:
    """The total of a batch as the operations that computed it.

    Args:
        program: () -> total, a scalar that depends on ``leaves``.
        leaves: tensors that require gradients.

    Attributes:
        bytes: that the values and slopes take.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> tape, out = ProductTape(lambda: (x**3).sum(), [x]), torch.zeros(2)
    >>> tape.add_product([torch.ones(2)], [out])
    >>> out, float(tape.form([torch.ones(2)]))  # 6 x and 6 · (1 + 2)
    (tensor([ 6., 12.]), 18.0)
    """

    def __init__(self, program: Callable[[], Tensor], leaves: Sequence[Tensor]) -> None:
        self._leaves = list(leaves)
        self.total, operations = recorded(program, identities=False)
        self._steps = [_Step(operation) for operation in operations]
        self._last = _last_uses(self._steps)
        held = {id(tensor): tensor for step in self._steps for tensor in step.tensors()}
        own = {leaf.untyped_storage().data_ptr() for leaf in self._leaves}
        sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held.values()}
        self.bytes = sum(size for place, size in sizes.items() if place not in own)

    def form(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return v . H v, float64, for a vector given as one tensor per leaf."""
        total = self.total.new_zeros((), dtype=torch.float64)
        tangents = self._begin(vectors)
        for step, free in zip(self._steps, self._last, strict=True):
            total += step.push(tangents, bent=True)
            for key in free:
                tangents.pop(key, None)
        return total

    def add_product(self, vectors: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        """Add H v to ``out``; vector and result are given as one tensor per leaf, which may be wider than the leaf."""
        tangents = self._begin(vectors)
        for step in self._steps:
            step.push(tangents)
        bent = _Bent({id(leaf): place for leaf, place in zip(self._leaves, out, strict=True)})
        for step in reversed(self._steps):
            step.pull(tangents, bent)
            for output in step.outputs:
                tangents.pop(id(output), None)

    def _begin(self, vectors: Sequence[Tensor]) -> Tangents:
        return {id(leaf): vector.to(leaf.dtype) for leaf, vector in zip(self._leaves, vectors, strict=True)}


class _Bent:
    """The derivatives of slopes along v, by tensor. Those of the leaves are added to the caller's tensors."""

    def __init__(self, leaves: dict[int, Tensor]) -> None:
        self.leaves = leaves
        self._inner: dict[int, Tensor] = {}

    def pop(self, tensor: Tensor) -> Tensor | None:
        """Return what has come for an output, and forget it."""
        return self._inner.pop(id(tensor), None)

    def add(self, tensor: Tensor, part: Tensor | None) -> None:
        """Add a part that an operation gives for one of its inputs."""
        if part is None:
            return
        key = id(tensor)
        if key in self.leaves:
            self.leaves[key] += part
        else:
            self._inner[key] = part if key not in self._inner else self._inner[key] + part


class _Step:
    """One recorded call with its sweeps."""

    def __init__(self, operation: Operation) -> None:
        self.function, self.outputs, self.slopes = operation.function, operation.outputs, operation.slopes
        self._flat, self._spec = tree_flatten((operation.args, operation.kwargs))
        self._places = [
            i for i, item in enumerate(floats_of(operation.result)) if any(item is output for output in self.outputs)
        ]
        self._bilinear = _bilinear_of(self.function, operation.args, operation.kwargs)

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors that this call keeps."""
        yield from (item for item in self._flat if isinstance(item, Tensor))
        yield from self.outputs
        yield from (slope for slope in self.slopes if slope is not None)

    def inputs(self) -> list[Tensor]:
        return [item for item in self._flat if isinstance(item, Tensor)]

    def push(self, tangents: Tangents, *, bent: bool = False) -> Tensor | float:
        """Add the tangents of the outputs; if ``bent``, return g . D²f[x', x'] of this call."""
        if self._bilinear is not None:
            tangent, second = self._bilinear.push(tangents, self.slopes[0] if bent else None)
            if tangent is not None:
                tangents[id(self.outputs[0])] = tangent
            return second
        moving = self._moving(tangents)
        if not moving:
            return 0.0
        for output, tangent in zip(self.outputs, self._pushed(moving, tangents), strict=True):
            if tangent is not None:
                tangents[id(output)] = tangent
        if not bent or self.function in _LINEAR:
            return 0.0
        along = [tangents[id(self._flat[i])] for i in moving]
        seconds = self._second(moving, along, [None] * len(self.outputs))
        return sum(_dot(a, b) for a, b in zip(along, seconds, strict=True) if b is not None)

    def pull(self, tangents: Tangents, bent: _Bent) -> None:
        """Add to the inputs what comes from the outputs, and from the second derivative of this call."""
        arrived = [bent.pop(output) for output in self.outputs]
        if self._bilinear is not None:
            self._bilinear.pull(tangents, self.slopes[0], arrived[0], bent)
            return
        moving = self._moving(tangents)
        if not moving:
            return
        along = [tangents[id(self._flat[i])] for i in moving]
        parts = self._second(moving, along, arrived)
        for i, part in zip(moving, parts, strict=True):
            bent.add(self._flat[i], part)

    def _moving(self, tangents: Tangents) -> list[int]:
        return [i for i, item in enumerate(self._flat) if isinstance(item, Tensor) and id(item) in tangents]

    def _call(self, moving: list[int], values: Sequence[Tensor]) -> list[Tensor]:
        changed = [item.detach() if isinstance(item, Tensor) else item for item in self._flat]
        for place, value in zip(moving, values, strict=True):
            changed[place] = value
        args, kwargs = tree_unflatten(changed, self._spec)
        results = floats_of(self.function(*args, **kwargs))
        return [results[i] for i in self._places]

    def _pushed(self, moving: list[int], tangents: Tangents) -> list[Tensor | None]:
        """Return the tangents of the outputs, by torch's forward mode."""
        along = [tangents[id(self._flat[i])] for i in moving]
        if len(moving) == 1 and self.function in _LINEAR_IN_ONE:
            return list(self._call(moving, along))
        values = [self._flat[i].detach() for i in moving]
        try:
            with forward_ad.dual_level():
                duals = [forward_ad.make_dual(value, tangent) for value, tangent in zip(values, along, strict=True)]
                return [forward_ad.unpack_dual(output).tangent for output in self._call(moving, duals)]
        except (
            NotImplementedError
        ):  # no rule forwards: the pull-back is linear, so its own pull-back is the way forwards
            inputs = [value.requires_grad_() for value in values]
            with torch.enable_grad(), twice_differentiable():
                outputs = self._call(moving, inputs)
                seeds = [torch.zeros_like(output, requires_grad=True) for output in outputs]
                pulled = derivative(outputs, inputs, seeds, create_graph=True)
            return derivative(pulled, seeds, along)

    def _second(self, moving: list[int], along: list[Tensor], arrived: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return Df^T y's g' + D²f[x', .]^T y's g for each input that moves."""
        inputs = [self._flat[i].detach().requires_grad_() for i in moving]
        with torch.enable_grad(), twice_differentiable():
            outputs = self._call(moving, inputs)
            curved = self.function not in _LINEAR and any(slope is not None for slope in self.slopes)
            slopes: list[Tensor | None] = [None] * len(inputs)
            if curved:
                weights = [torch.zeros_like(o) if s is None else s for o, s in zip(outputs, self.slopes, strict=True)]
                slopes = derivative(outputs, inputs, weights, create_graph=True)
        parts: list[Tensor | None] = [None] * len(inputs)
        if curved:
            parts = derivative(slopes, inputs, along)
        pairs = [(o, a) for o, a in zip(outputs, arrived, strict=True) if a is not None]
        if pairs:
            passed = derivative([o for o, _ in pairs], inputs, [a for _, a in pairs])
            parts = [_sum(one, other) for one, other in zip(parts, passed, strict=True)]
        return parts


class _Linear:
    """y = x w^T + b, or x w + b: input, weight and bias, each of which may have a tangent."""

    def __init__(self, x: Tensor, w: Tensor, b: Tensor | None, *, transposed: bool) -> None:
        self._x, self._w, self._b, self._transposed = x, w, b, transposed

    def _times(self, x: Tensor, w: Tensor) -> Tensor:
        x, w = x.detach(), w.detach()
        return F.linear(x, w) if self._transposed else x @ w

    def _times_back(self, g: Tensor, w: Tensor) -> Tensor:
        return g @ w.detach() if self._transposed else g @ w.detach().t()

    def push(self, tangents: Tangents, slope: Tensor | None) -> tuple[Tensor | None, Tensor | float]:
        """Return the tangent of y, and 2 g . x' w' if the slope g is given."""
        x, w, b = (None if item is None else tangents.get(id(item)) for item in (self._x, self._w, self._b))
        tangent: Tensor | None = None
        second: Tensor | float = 0.0
        if w is not None and x is not None and slope is not None:
            rows = self._x[..., 0].numel()
            both = self._times(torch.cat([_rows(self._x), _rows(x)]), w)  # the weight is read once for both
            tangent, second = both[:rows].reshape(slope.shape), 2 * _dot(slope, both[rows:])
        elif w is not None:
            tangent = self._times(self._x, w)
        if x is not None:
            part = self._times(x, self._w)
            tangent = part if tangent is None else tangent.add_(part)
        if b is not None:
            tangent = b.expand((*self._x.shape[:-1], len(b))).clone() if tangent is None else tangent.add_(b)
        return tangent, second

    def pull(self, tangents: Tangents, slope: Tensor | None, arrived: Tensor | None, bent: _Bent) -> None:
        x, w, b = (None if item is None else tangents.get(id(item)) for item in (self._x, self._w, self._b))
        if x is not None:
            part = None if arrived is None else self._times_back(arrived, self._w)
            if w is not None and slope is not None:
                other = self._times_back(slope, w)
                part = other if part is None else part.add_(other)
            bent.add(self._x, part)
        if w is not None:
            pairs = [(self._x.detach(), arrived), (x, slope)]
            self._add_weight(bent, [(_rows(a), _rows(g)) for a, g in pairs if a is not None and g is not None])
        if b is not None and arrived is not None and self._b is not None:
            bent.add(self._b, _rows(arrived).sum(0))

    def _add_weight(self, bent: _Bent, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Add the sum of x^T g over the pairs to the weight, in its orientation."""
        if not pairs:
            return
        x, g = (torch.cat(each) if len(each) > 1 else each[0] for each in zip(*pairs, strict=True))
        first, second = (g, x) if self._transposed else (x, g)
        place = bent.leaves.get(id(self._w))
        if place is not None and place.dtype == x.dtype:
            place.addmm_(first.t(), second)
        else:
            bent.add(self._w, first.t() @ second)


class _Lookup:
    """y = the rows of a weight with these numbers."""

    def __init__(self, numbers: Tensor, w: Tensor, padding: int | None) -> None:
        self._numbers, self._w = numbers, w
        self._padding = None if padding is None else padding % len(w)

    def push(self, tangents: Tangents, slope: Tensor | None) -> tuple[Tensor | None, float]:
        """Return the tangent of y, and 0: a lookup is linear."""
        w = tangents.get(id(self._w))
        return (None if w is None else F.embedding(self._numbers, w)), 0.0

    def pull(self, tangents: Tangents, slope: Tensor | None, arrived: Tensor | None, bent: _Bent) -> None:
        if arrived is None or id(self._w) not in tangents:
            return
        rows = arrived.reshape(-1, arrived.shape[-1])
        if self._padding is not None:  # this row gets no gradient
            rows = rows * (self._numbers.reshape(-1, 1) != self._padding)
        place = bent.leaves.get(id(self._w))
        if place is None:
            place = torch.zeros_like(self._w)
            bent.add(self._w, place)
        place.index_add_(0, self._numbers.reshape(-1), rows.to(place.dtype))


#: linear in one tensor: applied to a tangent, they give the tangent of the output
_LINEAR_IN_ONE = {
    *(torch.permute, torch.reshape, torch.sum, torch.mean, torch.transpose, torch.flatten, torch.split),
    *(Tensor.__getitem__, Tensor.contiguous, Tensor.double, Tensor.float, Tensor.flatten, Tensor.mean, Tensor.permute),
    *(Tensor.reshape, Tensor.sum, Tensor.to, Tensor.transpose, Tensor.view, Tensor.split, Tensor.chunk),
    *(Tensor.unsqueeze, Tensor.squeeze, Tensor.expand),
}
_LINEAR = {*_LINEAR_IN_ONE, torch.add, torch.sub, torch.cat, torch.stack, Tensor.__add__, Tensor.__radd__, Tensor.add}


def _bilinear_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Linear | _Lookup | None:
    """Return the rule for a call, if there is one."""
    if function is F.linear:
        named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        return _Linear(named["input"], named["weight"], named.get("bias"), transposed=True)
    if function in (torch.addmm, Tensor.addmm) and not kwargs and args[0].dim() == 1:
        return _Linear(args[1], args[2], args[0], transposed=False)
    plain = function is F.embedding and not kwargs.get("scale_grad_by_freq") and kwargs.get("max_norm") is None
    if plain and len(args) >= 2 and all(item in (None, False) for item in args[3:4]) and not any(args[5:]):
        return _Lookup(args[0], args[1], args[2] if len(args) > 2 else kwargs.get("padding_idx"))
    return None


def _last_uses(steps: Sequence[_Step]) -> list[list[int]]:
    """Return for each call the ids of the tensors that no later call reads."""
    last = {}
    for number, step in enumerate(steps):
        for tensor in [*step.inputs(), *step.outputs]:
            last[id(tensor)] = number
    free: list[list[int]] = [[] for _ in steps]
    for key, number in last.items():
        free[number].append(key)
    return free


def _rows(x: Tensor) -> Tensor:
    return x.detach().reshape(-1, x.shape[-1])


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.to(a.dtype).reshape(-1)).double()
