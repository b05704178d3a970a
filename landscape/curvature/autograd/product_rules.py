"""Rules of products for layers that are bilinear in input and weight: see :mod:`.product_tape`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(eq=False)
class Node:
    """A tensor of a tape: its value, and its slope g = dL/dx if a rule needs it and the total depends on it."""

    value: Tensor
    slope: Tensor | None = None


Tangents = dict[Node, Tensor]


class Bent:
    """The derivatives of slopes along v, by tensor. Derivatives of leaves are added to the caller's tensors.

    Args:
        leaves: the caller's tensor for each leaf.
    """

    def __init__(self, leaves: dict[Node, Tensor]) -> None:
        self.leaves = leaves
        self._inner: dict[Node, Tensor] = {}

    def pop(self, node: Node) -> Tensor | None:
        """Return what has come for an output, and forget it."""
        return self._inner.pop(node, None)

    def add(self, node: Node, part: Tensor | None) -> None:
        """Add a part that an operation gives for one of its inputs."""
        if part is None:
            return
        if node in self.leaves:
            self.leaves[node] += part
        else:
            self._inner[node] = part if node not in self._inner else self._inner[node] + part


class Step(Protocol):
    """One or more operations of a tape, with their sweeps.

    Attributes:
        inputs: tensors that the operations read; those that depend on the leaves are among them.
        outputs: tensors that others read, or the total.
        curved: whether the second derivative can differ from zero, so that the slopes of the outputs are needed.
    """

    inputs: Sequence[Node]
    outputs: Sequence[Node]
    curved: bool

    def push(self, tangents: Tangents, *, bent: bool = False) -> Tensor | float:
        """Add the tangents of the outputs; if ``bent``, return g . D²f[x', x']."""

    def pull(self, tangents: Tangents, bent: Bent) -> None:
        """Add to the inputs what comes from the outputs, and from the second derivative."""


@dataclass
class Linear:
    """y = x w^T + b if ``transposed``, or x w + b: input, weight and bias, each of which may have a tangent."""

    x: Node
    w: Node
    b: Node | None
    y: Node
    transposed: bool
    curved: bool = True
    inputs: Sequence[Node] = field(init=False)
    outputs: Sequence[Node] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = [self.x, self.w] if self.b is None else [self.x, self.w, self.b]
        self.outputs = [self.y]

    def _times(self, x: Tensor, w: Tensor) -> Tensor:
        return F.linear(x, w) if self.transposed else x @ w

    def _times_back(self, g: Tensor, w: Tensor) -> Tensor:
        return g @ (w if self.transposed else w.t())

    def push(self, tangents: Tangents, *, bent: bool = False) -> Tensor | float:
        x, w, b = (None if node is None else tangents.get(node) for node in (self.x, self.w, self.b))
        slope = self.y.slope if bent else None
        tangent: Tensor | None = None
        second: Tensor | float = 0.0
        if w is not None and x is not None and slope is not None:
            rows = self.x.value[..., 0].numel()
            both = self._times(torch.cat([_rows(self.x.value), _rows(x)]), w)  # the weight is read once for both
            tangent, second = both[:rows].reshape(slope.shape), 2 * dot(slope, both[rows:])
        elif w is not None:
            tangent = self._times(self.x.value, w)
        if x is not None:
            part = self._times(x, self.w.value)
            tangent = part if tangent is None else tangent.add_(part)
        if b is not None:
            wide = (*self.x.value.shape[:-1], len(b))
            tangent = b.expand(wide).clone() if tangent is None else tangent.add_(b)
        if tangent is not None:
            tangents[self.y] = tangent
        return second

    def pull(self, tangents: Tangents, bent: Bent) -> None:
        x, w, b = (None if node is None else tangents.get(node) for node in (self.x, self.w, self.b))
        arrived, slope = bent.pop(self.y), self.y.slope
        if x is not None:
            part = None if arrived is None else self._times_back(arrived, self.w.value)
            if w is not None and slope is not None:
                other = self._times_back(slope, w)
                part = other if part is None else part.add_(other)
            bent.add(self.x, part)
        if w is not None:
            pairs = [(self.x.value, arrived), (x, slope)]
            self._add_weight(bent, [(_rows(a), _rows(g)) for a, g in pairs if a is not None and g is not None])
        if b is not None and arrived is not None and self.b is not None:
            bent.add(self.b, _rows(arrived).sum(0))

    def _add_weight(self, bent: Bent, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Add the sum of x^T g over the pairs to the weight, in its orientation."""
        if not pairs:
            return
        x, g = (torch.cat(each) if len(each) > 1 else each[0] for each in zip(*pairs, strict=True))
        first, second = (g, x) if self.transposed else (x, g)
        place = bent.leaves.get(self.w)
        if place is not None and place.dtype == x.dtype:
            place.addmm_(first.t(), second)
        else:
            bent.add(self.w, first.t() @ second)


@dataclass
class Lookup:
    """y = the rows of a weight with these numbers; ``padding`` is a row without a gradient."""

    numbers: Tensor
    w: Node
    y: Node
    padding: int | None
    curved: bool = False
    inputs: Sequence[Node] = field(init=False)
    outputs: Sequence[Node] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs, self.outputs = [self.w], [self.y]

    def push(self, tangents: Tangents, *, bent: bool = False) -> Tensor | float:
        w = tangents.get(self.w)
        if w is not None:
            tangents[self.y] = F.embedding(self.numbers, w)
        return 0.0

    def pull(self, tangents: Tangents, bent: Bent) -> None:
        arrived = bent.pop(self.y)
        if arrived is None or self.w not in tangents:
            return
        rows = arrived.reshape(-1, arrived.shape[-1])
        if self.padding is not None:
            rows = rows * (self.numbers.reshape(-1, 1) != self.padding)
        place = bent.leaves.get(self.w)
        if place is None:
            place = torch.zeros_like(self.w.value)
            bent.add(self.w, place)
        place.index_add_(0, self.numbers.reshape(-1), rows.to(place.dtype))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return a . b as float64, for tensors with equally many entries."""
    return torch.dot(a.reshape(-1), b.to(a.dtype).reshape(-1)).double()


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
