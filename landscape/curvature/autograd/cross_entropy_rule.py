"""The rule of products for cross-entropy, some rows of the logits at a time.

torch makes a dozen tensors of the size of the logits to differentiate cross-entropy twice. For a language model each
is as large as all other activations together. Let p be the softmax of a row of logits z, and c the slope of the total
by the loss of that row. Then the loss has the tangent p . z' - z'[target], and the slope of z changes by

    c p (z' - p . z').
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.curvature.autograd.product_rules import Bent, Node, Tangents

_ENTRIES = 2**21  # of the logits at a time


@dataclass
class CrossEntropy:
    """y = cross-entropy of the logits z, (N, C), for class indices, (N,); rows with the index ``ignored`` are left out.

    ``reduction`` is that of :func:`torch.nn.functional.cross_entropy`.
    """

    z: Node
    target: Tensor
    y: Node
    reduction: str
    ignored: int
    curved: bool = True
    inputs: Sequence[Node] = field(init=False)
    outputs: Sequence[Node] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs, self.outputs = [self.z], [self.y]
        self._counts = self.target != self.ignored
        self._index = self.target.where(self._counts, 0)[:, None]

    def push(self, tangents: Tangents, *, bent: bool = False) -> Tensor | float:
        along = tangents.get(self.z)
        if along is None:
            return 0.0
        by_row, spread = [], []
        for rows, p in self._parts():
            moved = along[rows].to(p.dtype)
            mean = (p * moved).sum(1, keepdim=True)
            by_row.append((mean - moved.gather(1, self._index[rows]))[:, 0])
            if bent:
                spread.append((moved - mean).square_().mul_(p).sum(1))
        tangent = torch.cat(by_row) * self._counts
        if self.reduction != "none":
            tangent = tangent.sum() / self._number()
        tangents[self.y] = tangent.to(self.y.value.dtype)
        if not bent or self.y.slope is None:
            return 0.0
        return torch.dot(self._per_row(self.y.slope).double(), torch.cat(spread).double())

    def pull(self, tangents: Tangents, bent: Bent) -> None:
        arrived, slope, along = bent.pop(self.y), self.y.slope, tangents.get(self.z)
        if along is None or (arrived is None and slope is None):
            return
        out = torch.empty_like(self.z.value)
        for rows, p in self._parts():
            part = torch.zeros_like(p)
            if slope is not None:
                moved = along[rows].to(p.dtype)
                part = (moved - (p * moved).sum(1, keepdim=True)).mul_(p).mul_(self._per_row(slope)[rows, None])
            if arrived is not None:
                weight = self._per_row(arrived)[rows, None].to(p.dtype)
                part.addcmul_(p, weight).scatter_add_(1, self._index[rows], -weight)
            out[rows] = part
        bent.add(self.z, out)

    def _parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows and their softmax, in float32 at least."""
        z = self.z.value
        dtype = torch.promote_types(z.dtype, torch.float32)
        step = max(1, _ENTRIES // z.shape[1])
        for start in range(0, len(z), step):
            rows = slice(start, start + step)
            yield rows, torch.softmax(z[rows], 1, dtype=dtype)

    def _number(self) -> Tensor | int:
        return self._counts.sum() if self.reduction == "mean" else 1

    def _per_row(self, given: Tensor) -> Tensor:
        """Return a derivative by the output as derivatives by the losses of the rows, (N,)."""
        return given / self._number() * self._counts


def is_cross_entropy(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether :func:`cross_entropy_step` has a rule for a call."""
    if function is not F.cross_entropy:
        return False
    named = _named(args, kwargs)
    plain = all(named.get(name) is None for name in ("weight", "size_average", "reduce"))
    target = named["target"]
    return plain and not named.get("label_smoothing") and named["input"].dim() == 2 and not target.is_floating_point()


def cross_entropy_step(args: tuple[Any, ...], kwargs: dict[str, Any], z: Node, y: Node) -> CrossEntropy:
    """Return the rule for a call with the logits z and the output y."""
    named = _named(args, kwargs)
    return CrossEntropy(z, named["target"], y, named.get("reduction", "mean"), named.get("ignore_index", -100))


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
    return dict(zip(names, args, strict=False)) | kwargs
