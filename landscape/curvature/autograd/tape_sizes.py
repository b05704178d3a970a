"""What a tape takes in memory: while it is made, while it is kept, and while its steps are at work.

A run that is differentiated twice keeps more than a tape shows of it. Attention keeps a dozen matrices with one entry
for each pair of tokens, and none of them is an input or output of a step. So the runs are tried on tensors that have
shapes and no numbers, one of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from landscape.curvature.autograd.live_bytes import LiveBytes
from landscape.curvature.autograd.product_rules import Bent
from landscape.curvature.autograd.product_tape import ProductTape, Run

_AT_ONCE = 2  # tensors of an operation of the backward pass: the slope that it reads, and the one that it gives


@dataclass(frozen=True)
class TapeSizes:
    """The memory of a tape in bytes.

    Attributes:
        kept: of values and slopes.
        made: the most at a time while the tape is made.
        working: the most at a time that a run takes besides what is kept.
    """

    kept: int
    made: int
    working: int


def sizes_of(
    program: Callable[[], Any], leaves: Sequence[Tensor], loss: Callable[[Any], Tensor] | None = None
) -> TapeSizes:
    """Return the sizes of a tape (:class:`.product_tape.ProductTape`), without a backward pass over numbers."""
    with LiveBytes() as live:
        tape = ProductTape(program, leaves, loss, measured_alone=True)
    made = live.most + tape.slopes + _AT_ONCE * live.largest
    runs = {_kind(step): step for step in tape.steps if isinstance(step, Run)}
    return TapeSizes(tape.bytes, made, max(map(_working, runs.values()), default=0))


def _kind(run: Run) -> Hashable:
    """Return what runs that take the same memory have in common."""
    tensors = [node.value for node in (*run.inputs, *run.outputs)]
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in (*tensors, *run.constants())]
    return run.functions, run.curved, tuple(shapes)


def _working(run: Run) -> int:
    """Return the most bytes that a run takes at a time in a sweep; with numbers if it does not run without."""
    if any(isinstance(node.value, FakeTensor) for node in run.inputs):
        return _swept(run)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return _swept(run)
    except Exception:  # such as of operations that decide by numbers
        return _swept(run)


def _swept(run: Run) -> int:
    slopes = [node.slope for node in run.outputs]
    try:
        tangents = {node: torch.zeros_like(node.value) for node in run.inputs}
        bent = Bent({})
        for node in run.outputs:
            node.slope = torch.zeros_like(node.value)
            bent.add(node, torch.zeros_like(node.value))
        with LiveBytes() as live:  # the sweep back keeps the graph of a gradient, which the sweep forward does not
            run.pull(tangents, bent)
        return live.most
    finally:
        for node, slope in zip(run.outputs, slopes, strict=True):
            node.slope = slope
