"""Points of large models: no flat vector holds them, and each weight is moved where it is used.

A flat vector of a point takes as much memory as the model. A :class:`Point` holds only steps and how far to go along
each. A tensor of the model at a point is made from some rows at a time:

    w + sum_k c_k · step_k    computed in float32 (float64 for a float64 model), then rounded to the model's dtype

That is the arithmetic of flat vectors too: ``theta`` is float32 even for a model in 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from landscape.objective.parameters import Entry

Item = TypeVar("Item")
PIECE = 2**18  #: entries that are moved at a time: they fit the cache of a processor, and calls cost little
FEW_OF_LARGE = 2  #: samples of a large model that are enough to find out what its loss means


class Step(Protocol):
    """A step in parameter space that is never held as a flat vector."""

    def moves(self, entry: Entry) -> bool:
        """Whether any entry of this tensor moves."""

    def add(self, base: Tensor, out: Tensor, entry: Entry, rows: slice, coefficient: float) -> None:
        """Write base + coefficient · step of some rows of a tensor to ``out``, which may be ``base`` itself.

        Both have shape (rows, ...), and are float32 or float64.
        """

    def add_rows(self, block: Tensor, entry: Entry, rows: Tensor, coefficient: float) -> None:
        """Add coefficient · step of any rows, whose numbers are int64, shape (rows,), to ``block``."""

    def sample(self) -> bytes:
        """Return bytes that tell this step from others, for the check that all ranks have the same."""


@dataclass(frozen=True)
class Point:
    """A point: the trained one, and how far to go from there along some steps."""

    shifts: tuple[tuple[float, Step], ...] = ()

    def moves(self, entry: Entry) -> bool:
        """Whether a tensor differs from the trained one."""
        return any(step.moves(entry) for _, step in self.shifts)


AnyPoint = Tensor | Point  #: a flat vector, shape (D,), or a point of a large model


class PointList(Sequence[Point]):
    """Some points, in place of a tensor of shape (k, D)."""

    def __init__(self, points: Sequence[Point], device: torch.device) -> None:
        self._points, self.device = tuple(points), device

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, which: int) -> Point: ...

    @overload
    def __getitem__(self, which: slice | Tensor) -> PointList: ...

    def __getitem__(self, which: int | slice | Tensor) -> Point | PointList:
        if isinstance(which, int):
            return self._points[which]
        return PointList(_chosen(self._points, which), self.device)

    def sample(self) -> bytes:
        """Return bytes that depend on the points, for :func:`landscape.distributed.sample`."""
        shifts = [shift for point in self._points for shift in point.shifts]
        return b"".join(np.float64(coefficient).tobytes() + step.sample() for coefficient, step in shifts)


class StepList(Sequence[Step]):
    """Some steps, in place of a tensor of shape (k, D)."""

    def __init__(self, steps: Sequence[Step], device: torch.device) -> None:
        self._steps, self.device = tuple(steps), device

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, which: int) -> Step: ...

    @overload
    def __getitem__(self, which: slice | Tensor) -> StepList: ...

    def __getitem__(self, which: int | slice | Tensor) -> Step | StepList:
        if isinstance(which, int):
            return self._steps[which]
        return StepList(_chosen(self._steps, which), self.device)

    def sample(self) -> bytes:
        """Return bytes that depend on the steps, for :func:`landscape.distributed.sample`."""
        return b"".join(step.sample() for step in self._steps)

    def on_rays(self, rows: np.ndarray, radii: np.ndarray) -> PointList:
        """Return the points at these radii along the chosen steps, shapes (k,)."""
        pairs = zip(rows, radii, strict=True)
        return PointList([Point(((float(radius), self._steps[row]),)) for row, radius in pairs], self.device)

    def points(self, coefficients: np.ndarray) -> PointList:
        """Return the points at these coefficients of all steps, shape (k, steps)."""
        shifts = [tuple(zip(map(float, row), self._steps, strict=True)) for row in coefficients]
        return PointList([Point(each) for each in shifts], self.device)


class Combination:
    """A sum of steps, each times a number."""

    def __init__(self, parts: Sequence[tuple[float, Step]]) -> None:
        self._parts = tuple(parts)

    def moves(self, entry: Entry) -> bool:
        return any(step.moves(entry) for _, step in self._parts)

    def add(self, base: Tensor, out: Tensor, entry: Entry, rows: slice, coefficient: float) -> None:
        for factor, step in self._parts:
            if step.moves(entry):
                step.add(base, out, entry, rows, factor * coefficient)
                base = out

    def add_rows(self, block: Tensor, entry: Entry, rows: Tensor, coefficient: float) -> None:
        for factor, step in self._parts:
            if step.moves(entry):
                step.add_rows(block, entry, rows, factor * coefficient)

    def sample(self) -> bytes:
        return b"".join(np.float64(factor).tobytes() + step.sample() for factor, step in self._parts)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a tensor of this dtype is moved."""
    return torch.promote_types(dtype, torch.float32)


def row_pieces(shape: Sequence[int], piece: int = PIECE) -> Iterator[slice]:
    """Yield ranges of rows of about ``piece`` entries.

    >>> list(row_pieces((5, 10), 20))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    rows, entries = (shape[0] if shape else 1), math.prod(shape)
    step = max(1, piece * rows // max(entries, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def flat_step(step: Step, entries: Sequence[Entry], device: torch.device) -> Tensor:
    """Return a step as a flat vector, shape (D,), for what needs one."""
    dtype = wide(max((entry.dtype for entry in entries), key=lambda dtype: dtype.itemsize))
    flat = torch.zeros(sum(entry.size for entry in entries), dtype=dtype, device=device)
    for entry in entries:
        if step.moves(entry):
            block = flat[entry.start : entry.stop].view(entry.shape or (1,))
            step.add(block, block, entry, slice(0, len(block)), 1.0)
    return flat


def moved_rows(weight: Tensor, entry: Entry, point: Point, rows: slice, room: Tensor | None = None) -> Tensor:
    """Return some rows of a tensor of the model at a point, in the dtype of the model.

    Args:
        weight: the trained tensor; one without axes has one row.
        entry: its place in the layout.
        point: the point.
        rows: which rows.
        room: where to write them, flat, in the dtype of the model; by default fresh memory.
    """
    source = _with_rows(weight)
    shape = source[rows].shape
    out = source.new_empty(shape) if room is None else room[: shape.numel()].view(shape)
    shifts = [(coefficient, step) for coefficient, step in point.shifts if step.moves(entry)]
    dtype = wide(out.dtype)
    # a mode such as that of :mod:`.narrow_products` would look at each of many small operations
    with torch._C._DisableTorchDispatch() if type(source) is type(out) is Tensor else nullcontext():
        for part in row_pieces(out.shape):
            there = slice(rows.start + part.start, rows.start + part.stop)
            base = source[there].to(dtype)
            moved = torch.empty_like(base) if out.dtype != dtype else out[part]
            for coefficient, step in shifts:
                step.add(base, moved, entry, there, coefficient)
                base = moved
            if out.dtype != dtype or not shifts:
                out[part].copy_(base)
    return out


def moved_tensor(weight: Tensor, entry: Entry, point: Point, room: Tensor | None = None) -> Tensor:
    """Return a tensor of the model at a point, in ``room``; the trained tensor itself if it does not move."""
    if not point.moves(entry):
        return weight
    return moved_rows(weight, entry, point, slice(0, len(_with_rows(weight))), room).view(weight.shape)


def moved_chosen(weight: Tensor, entry: Entry, point: Point, rows: Tensor) -> Tensor:
    """Return any rows of a tensor at a point; their numbers are int64, shape (rows,)."""
    block = weight[rows].to(wide(weight.dtype))
    for coefficient, step in point.shifts:
        if step.moves(entry):
            step.add_rows(block, entry, rows, coefficient)
    return block.to(weight.dtype)


def _with_rows(weight: Tensor) -> Tensor:
    weight = weight.detach()
    return weight.reshape(1) if weight.dim() == 0 else weight


def _chosen(items: tuple[Item, ...], which: slice | Tensor) -> Sequence[Item]:
    return items[which] if isinstance(which, slice) else [items[int(i)] for i in which]
