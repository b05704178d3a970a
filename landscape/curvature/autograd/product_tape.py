"""Products H v and forms v . H v of large models: step by step, without a gradient of the weights.

Let x' be the tangent of a tensor x along theta + t v, g its slope dL/dx, and g' the derivative of that slope along v. A
forward sweep over the steps y = f(x) gives all tangents, and a sweep back gives the derivatives of slopes
(Pearlmutter 1994):

    y' = Df x'          x's g' = Df^T y's g' + D²f[x', .]^T y's g

At a weight, g' is that weight's part of H v. It is added to the vector of the caller at once. So a product holds no
gradient and no product of its own, only activations: values, slopes and tangents.

A step is a layer that is bilinear in input and weight (:mod:`.product_rules`), cross-entropy
(:mod:`.cross_entropy_rule`), or all operations between two of them: a :class:`Run`. A run keeps what others read of it,
and is computed again when torch differentiates it.

The form is the sum of g . D²f[x', x'] over all steps, as in :mod:`.quadratic_form`. It needs no sweep back.

The Gauss-Newton matrix leaves out the second derivatives of the steps that compute the predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape.curvature.autograd.choose_rule import has_rule, step_of
from landscape.curvature.autograd.grad import derivative, twice_differentiable
from landscape.curvature.autograd.graphs import check_once
from landscape.curvature.autograd.product_rules import Bent, Node, Step, Tangents, dot
from landscape.curvature.autograd.quadratic_form import Operation, floats_of, listed

_LONGEST = 32  # calls in a run: a longer one is computed again with too many tensors at a time

#: linear in one tensor: applied to a tangent, they give the tangent of the output
_LINEAR_IN_ONE = {
    *(torch.permute, torch.reshape, torch.sum, torch.mean, torch.transpose, torch.flatten, torch.split),
    *(Tensor.__getitem__, Tensor.contiguous, Tensor.double, Tensor.float, Tensor.flatten, Tensor.mean, Tensor.permute),
    *(Tensor.reshape, Tensor.sum, Tensor.to, Tensor.transpose, Tensor.view, Tensor.split, Tensor.chunk),
    *(Tensor.unsqueeze, Tensor.squeeze, Tensor.expand),
}
_LINEAR = {*_LINEAR_IN_ONE, torch.add, torch.sub, torch.cat, torch.stack, Tensor.__add__, Tensor.__radd__, Tensor.add}


class ProductTape:
    """The total of a batch as the steps that computed it.

    Args:
        program: () -> total, a scalar that depends on ``leaves``; or predictions, if there is a ``loss``.
        leaves: tensors that require gradients.
        loss: predictions -> total. With it H is the Gauss-Newton matrix.
        measured_alone: leave the slopes out. Such a tape only tells its bytes, and counts slopes as if none shared
            memory.

    Raises:
        CurvatureError: if the total does not depend on a leaf.

    Attributes:
        total: what the program returned, without its graph.
        steps: in the order in which they ran.
        bytes: that the values and slopes take.
        slopes: bytes of the slopes that were left out.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> tape, out = ProductTape(lambda: (x**3).sum(), [x]), torch.zeros(2)
    >>> tape.add_product([torch.ones(2)], [out])
    >>> out, float(tape.form([torch.ones(2)]))  # 6 x and 6 · (1 + 2)
    (tensor([ 6., 12.]), 18.0)
    """

    def __init__(
        self,
        program: Callable[[], Any],
        leaves: Sequence[Tensor],
        loss: Callable[[Any], Tensor] | None = None,
        *,
        measured_alone: bool = False,
    ) -> None:
        nodes = {id(leaf): Node(leaf.detach()) for leaf in leaves}
        self._leaves = [nodes[id(leaf)] for leaf in leaves]
        total, operations, before = listed(program, loss, identities=False)
        check_once(total)
        self.steps, outputs = _steps_of(operations, nodes, total, 0 if loss is None else before)
        del operations  # the graph frees what nothing else needs, on its way back
        self.slopes = 0
        if measured_alone:
            self.slopes = sum(output.numel() * output.element_size() for output in outputs.values())
        else:
            slopes = torch.autograd.grad(total, list(outputs.values()), allow_unused=True)
            for node, slope in zip(outputs, slopes, strict=True):
                node.slope = slope
        self.total = total.detach()
        self._last = _last_uses(self.steps)
        own = {_storage(node.value) for node in self._leaves}
        self.bytes = self.slopes + sum(size for place, size in _sizes(self.steps).items() if place not in own)

    def form(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return v . H v, float64, for a vector given as one tensor per leaf."""
        total = self.total.new_zeros((), dtype=torch.float64)
        tangents = self._begin(vectors)
        for step, free in zip(self.steps, self._last, strict=True):
            total += step.push(tangents, bent=True)
            for node in free:
                tangents.pop(node, None)
        return total

    def add_product(self, vectors: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        """Add H v to ``out``; vector and result are given as one tensor per leaf, which may be wider than the leaf."""
        tangents = self._begin(vectors)
        for step in self.steps:
            step.push(tangents)
        bent = Bent(dict(zip(self._leaves, out, strict=True)))
        for step in reversed(self.steps):
            step.pull(tangents, bent)
            for output in step.outputs:
                tangents.pop(output, None)

    def _begin(self, vectors: Sequence[Tensor]) -> Tangents:
        return {leaf: vector.to(leaf.value.dtype) for leaf, vector in zip(self._leaves, vectors, strict=True)}


@dataclass(frozen=True)
class _Held:
    """A tensor among the arguments of a call: its number among the inputs and results of the run."""

    number: int


@dataclass(frozen=True)
class _Call:
    """A call of a run: its arguments, flattened, and which of the floating-point results depend on the leaves."""

    function: Callable[..., Any]
    flat: list[Any]
    spec: Any
    places: list[int]


class Run:
    """Operations between two layers, as one function of the tensors that come from elsewhere.

    Args:
        operations: in the order in which they ran.
        nodes: the nodes of the leaves and of earlier outputs, by the id of their tensors.
        needed: ids of the tensors that later steps read.

    Attributes:
        functions: what was called.
    """

    def __init__(self, operations: Sequence[Operation], nodes: dict[int, Node], needed: set[int]) -> None:
        produced = {id(output) for operation in operations for output in operation.outputs}
        items = [item for each in operations for item in tree_flatten((each.args, each.kwargs))[0]]
        read = {id(item): nodes[id(item)] for item in items if id(item) in nodes and id(item) not in produced}
        self.inputs: Sequence[Node] = list(read.values())
        numbers = {key: number for number, key in enumerate(read)}
        self._calls: list[_Call] = []
        outputs: dict[int, Tensor] = {}
        count = len(numbers)
        for operation in operations:
            flat, spec = tree_flatten((operation.args, operation.kwargs))
            results = floats_of(operation.result)
            places = [i for i, item in enumerate(results) if any(item is output for output in operation.outputs)]
            held = [_Held(numbers[id(item)]) if id(item) in numbers else _constant(item) for item in flat]
            self._calls.append(_Call(operation.function, held, spec, places))
            for place in places:
                numbers[id(results[place])] = count
                outputs[id(results[place])] = results[place]
                count += 1
        kept = [key for key in outputs if key in needed]
        nodes |= {key: Node(outputs[key].detach()) for key in kept}
        self.outputs: Sequence[Node] = [nodes[key] for key in kept]
        self._kept = [numbers[key] for key in kept]
        self.functions = tuple(call.function for call in self._calls)
        self.curved = not all(function in _LINEAR for function in self.functions)
        self._linear_in_one = all(function in _LINEAR_IN_ONE for function in self.functions)

    def constants(self) -> list[Tensor]:
        """Return the tensors that the calls keep besides inputs and outputs."""
        return [item for call in self._calls for item in call.flat if isinstance(item, Tensor)]

    def push(self, tangents: Tangents, *, bent: bool = False) -> Tensor | float:
        moving = self._moving(tangents)
        if not moving:
            return 0.0
        along = [tangents[self.inputs[i]] for i in moving]
        for output, tangent in zip(self.outputs, self._pushed(moving, along), strict=True):
            if tangent is not None:
                tangents[output] = tangent
        if not bent or not self.curved:
            return 0.0
        seconds = self._second(moving, along, [None] * len(self.outputs))
        return sum(dot(a, b) for a, b in zip(along, seconds, strict=True) if b is not None)

    def pull(self, tangents: Tangents, bent: Bent) -> None:
        arrived = [bent.pop(output) for output in self.outputs]
        moving = self._moving(tangents)
        if not moving:
            return
        parts = self._second(moving, [tangents[self.inputs[i]] for i in moving], arrived)
        for i, part in zip(moving, parts, strict=True):
            bent.add(self.inputs[i], part)

    def _moving(self, tangents: Tangents) -> list[int]:
        return [i for i, node in enumerate(self.inputs) if node in tangents]

    def _called(self, moving: list[int], values: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs for other values of the inputs that move."""
        held = [node.value for node in self.inputs]
        for place, value in zip(moving, values, strict=True):
            held[place] = value
        for call in self._calls:
            flat = [held[item.number] if isinstance(item, _Held) else item for item in call.flat]
            args, kwargs = tree_unflatten(flat, call.spec)
            results = floats_of(call.function(*args, **kwargs))
            held += [results[i] for i in call.places]
        return [held[number] for number in self._kept]

    def _pushed(self, moving: list[int], along: list[Tensor]) -> list[Tensor | None]:
        """Return the tangents of the outputs, by torch's forward mode."""
        if len(moving) == 1 and self._linear_in_one:
            return list(self._called(moving, along))
        values = [self.inputs[i].value.detach() for i in moving]
        try:
            with forward_ad.dual_level():
                duals = [forward_ad.make_dual(value, tangent) for value, tangent in zip(values, along, strict=True)]
                return [forward_ad.unpack_dual(output).tangent for output in self._called(moving, duals)]
        except (
            NotImplementedError
        ):  # no rule forwards: the pull-back is linear, so its own pull-back is the way forwards
            inputs = [value.requires_grad_() for value in values]
            with torch.enable_grad(), twice_differentiable():
                outputs = self._called(moving, inputs)
                seeds = [torch.zeros_like(output, requires_grad=True) for output in outputs]
                pulled = derivative(outputs, inputs, seeds, create_graph=True)
            return derivative(pulled, seeds, along)

    def _second(self, moving: list[int], along: list[Tensor], arrived: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return Df^T y's g' + D²f[x', .]^T y's g for each input that moves."""
        inputs = [self.inputs[i].value.detach().requires_grad_() for i in moving]
        with torch.enable_grad(), twice_differentiable():
            outputs = self._called(moving, inputs)
            curved = self.curved and any(node.slope is not None for node in self.outputs)
            slopes: list[Tensor | None] = [None] * len(inputs)
            if curved:
                weights = [torch.zeros_like(n.value) if n.slope is None else n.slope for n in self.outputs]
                slopes = derivative(outputs, inputs, weights, create_graph=True)
        parts: list[Tensor | None] = [None] * len(inputs)
        if curved:
            parts = derivative(slopes, inputs, along)
        pairs = [(o, a) for o, a in zip(outputs, arrived, strict=True) if a is not None]
        if pairs:
            passed = derivative([o for o, _ in pairs], inputs, [a for _, a in pairs])
            parts = [_sum(one, other) for one, other in zip(parts, passed, strict=True)]
        return parts


def _steps_of(
    operations: Sequence[Operation], nodes: dict[int, Node], total: Tensor, straight: int
) -> tuple[list[Step], dict[Node, Tensor]]:
    """Return the steps, and the outputs whose slopes they need, each with its tensor in the graph.

    Args:
        operations: all that ran; they keep the tensors alive, so that an id names one tensor.
        nodes: by the id of their tensors. The leaves are there already; outputs are added.
        total: the last output.
        straight: how many operations count as linear: those before the loss, for the Gauss-Newton matrix.
    """
    readers = _readers(operations, total)
    spans = _spans(operations, set(nodes), readers, straight)

    def node_of(tensor: Tensor) -> Node:
        return nodes.get(id(tensor)) or Node(tensor.detach())

    steps: list[Step] = []
    slopes: dict[Node, Tensor] = {}
    for start, stop in spans:
        group, first = operations[start:stop], operations[start]
        if has_rule(first.function, first.args, first.kwargs):
            y = Node(first.outputs[0].detach())
            steps.append(step_of(first.function, first.args, first.kwargs, y, node_of))
            nodes[id(first.outputs[0])] = y
        else:
            steps.append(Run(group, nodes, {key for key, reading in readers.items() if reading[-1] >= stop}))
        steps[-1].curved &= start >= straight
        if steps[-1].curved:
            graph = {nodes[id(o)]: o for operation in group for o in operation.outputs if id(o) in nodes}
            slopes |= {node: graph[node] for node in steps[-1].outputs}
    return steps, slopes


def _readers(operations: Sequence[Operation], total: Tensor) -> dict[int, list[int]]:
    """Return for each tensor, by its id, the operations that read it, ascending; one more stands for the caller."""
    readers: dict[int, list[int]] = {}
    for number, operation in enumerate(operations):
        for item in _arguments(operation):
            readers.setdefault(id(item), []).append(number)
    readers.setdefault(id(total), []).append(len(operations))
    return readers


def _spans(
    operations: Sequence[Operation], leaves: set[int], readers: dict[int, list[int]], border: int
) -> list[tuple[int, int]]:
    """Return the first operation of each step and the one after its last; no step goes across the border."""
    spans: list[tuple[int, int]] = []
    start = 0
    for number, operation in enumerate(operations):
        kernel = any(id(item) in leaves and item.dim() > 1 for item in _arguments(operation))
        if kernel or has_rule(operation.function, operation.args, operation.kwargs):
            spans += [*_cut(operations, readers, start, number), (number, number + 1)]
            start = number + 1
        elif number + 1 in (start + _LONGEST, border):
            spans += _cut(operations, readers, start, number + 1)
            start = number + 1
    return spans + _cut(operations, readers, start, len(operations))


def _cut(
    operations: Sequence[Operation], readers: dict[int, list[int]], start: int, stop: int
) -> list[tuple[int, int]]:
    """Cut a run after each operation whose output both the run and others read: its slope counts both ways."""
    for number in range(start, stop - 1):
        for output in operations[number].outputs:
            reading = [reader for reader in readers.get(id(output), ()) if reader > number]
            if reading and reading[0] < stop <= reading[-1]:
                after = number + 1
                return _cut(operations, readers, start, after) + _cut(operations, readers, after, stop)
    return [(start, stop)] if start < stop else []


def _arguments(operation: Operation) -> list[Tensor]:
    return [item for item in tree_flatten((operation.args, operation.kwargs))[0] if isinstance(item, Tensor)]


def _constant(item: Any) -> Any:
    return item.detach() if isinstance(item, Tensor) else item


def _sizes(steps: Sequence[Step]) -> dict[int, int]:
    """Return the bytes of each storage that the steps keep."""
    nodes = {node for step in steps for node in (*step.inputs, *step.outputs)}
    tensors = [tensor for node in nodes for tensor in (node.value, node.slope) if tensor is not None]
    tensors += [constant for step in steps if isinstance(step, Run) for constant in step.constants()]
    return {_storage(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}


def _storage(tensor: Tensor) -> int:
    """Return what tells the storage of a tensor from others: an address of numbers is not there without numbers."""
    return tensor.untyped_storage()._cdata


def _last_uses(steps: Sequence[Step]) -> list[list[Node]]:
    """Return for each step the nodes that no later one reads."""
    last = {node: number for number, step in enumerate(steps) for node in (*step.inputs, *step.outputs)}
    free: list[list[Node]] = [[] for _ in steps]
    for node, number in last.items():
        free[number].append(node)
    return free


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
