"""Which rank holds which entries of each parameter, and the exchanges between them.

Each entry of the flat vector belongs to one rank. A parameter that several ranks hold in full belongs to the first of
them. So an inner product is the sum of the ranks' parts, with nothing counted twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from landscape.distributed import exchanging, fails_alone, let_go
from landscape.errors import RankError, type_and_line

_NUMBERS = count()


@dataclass(frozen=True)
class Box:
    """A part of a tensor: where it starts and how long it is along each axis."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.lengths)

    @property
    def slices(self) -> tuple[slice, ...]:
        """What takes the part from the whole."""
        return tuple(slice(start, start + length) for start, length in zip(self.starts, self.lengths, strict=True))

    def span(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Return (start, stop) of the part in the flat tensor of this shape; None if it has gaps.

        >>> Box((1, 0), (2, 3)).span((4, 3)), Box((0, 1), (4, 2)).span((4, 3))
        ((3, 9), None)
        """
        if not shape or self.size == 0:
            return 0, self.size
        if self.lengths[1:] != shape[1:]:
            return None
        row = math.prod(shape[1:])
        return self.starts[0] * row, (self.starts[0] + self.lengths[0]) * row


class Shards:
    """The parts of all parameters, on all ranks.

    Args:
        shapes: of the whole tensors, by name, in their order.
        boxes: this rank's part of each.
        device: what exchanges between ranks run on.

    Raises:
        RankError: if the parts of the ranks do not make up the tensors.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], boxes: Mapping[str, Box], device: torch.device) -> None:
        self.shapes, self.device = dict(shapes), device
        self.ranks, self.rank = dist.get_world_size(), dist.get_rank()
        self._number, self._failures = next(_NUMBERS), 0
        self._broken = ""  # why no exchange can meet any more
        self.require_same("parameters", {name: tuple(shape) for name, shape in shapes.items()})
        self.boxes: list[dict[str, Box]] = self.exchanged(dict(boxes))
        for name, shape in self.shapes.items():
            held = torch.zeros(shape, dtype=torch.uint8)
            for each in self.boxes:
                if each[name].size:
                    held[each[name].slices] += 1
            if not bool((held == 1).all()) or sum(each[name].size for each in self.boxes) != held.numel():
                raise RankError(
                    f"the shards of {name} do not fit together: the ranks hold {[b[name].lengths for b in self.boxes]} "
                    f"of {shape}. All ranks must build, load and shard the model in the same way."
                )

    def fail(self, error: Exception) -> None:
        """Note that the model fails here: on all ranks, or on this one alone, which then exchanges nothing more."""
        self._failures += 1
        if fails_alone(error, self.ranks, f"landscape: sharded model {self._number}, failure {self._failures}"):
            self._broken = f"this rank failed alone: {type_and_line(error)}"

    def exchanged(self, mine: Any) -> list[Any]:
        """Return what each rank says, in order."""
        said: list[Any] = [None] * self.ranks
        with exchanging(self.ranks):
            dist.all_gather_object(said, mine)
        return said

    def require_same(self, what: str, mine: Any) -> None:
        """Refuse ranks that say different things about ``what``.

        Raises:
            RankError: it names the first rank that differs from rank 0.
        """
        said = self.exchanged(mine)
        for rank, other in enumerate(said):
            if other != said[0]:
                raise RankError(
                    f"rank {rank} has other {what} than rank 0{_difference(said[0], other)}.\n"
                    "A sharded model is measured by all ranks together: start them with the same command, files and "
                    "seeds."
                )

    def total(self, values: Tensor) -> Tensor:
        return self.everyone(values).sum(0)

    def everyone(self, values: Tensor) -> Tensor:
        mine = values.to(self.device)
        everyone = mine.new_empty((self.ranks, *mine.shape))
        if self._broken:
            raise RankError(self._broken)
        if mine.numel():
            rows, sent = everyone.unbind(), mine.contiguous()
            with exchanging(self.ranks), let_go(sent, *rows):
                dist.all_gather(list(rows), sent)
        return everyone.to(values.device)

    def gathered(self, name: str, values: Tensor) -> Tensor:
        return self.wholes([name], [values])[0].reshape(-1)

    def wholes(self, names: Sequence[str], parts: Sequence[Tensor]) -> list[Tensor]:
        """Return whole tensors of one dtype, in their shapes, from this rank's parts, by one exchange."""
        sizes = [sum(boxes[name].size for name in names) for boxes in self.boxes]
        mine = parts[0].new_zeros(max(sizes), device=self.device)
        torch.cat([part.reshape(-1) for part in parts], out=mine[: sizes[self.rank]])
        everyone = self.everyone(mine)
        wholes = [mine.new_empty(self.shapes[name]) for name in names]
        for boxes, held in zip(self.boxes, everyone, strict=True):
            start = 0
            for name, whole in zip(names, wholes, strict=True):
                box = boxes[name]
                if box.size:
                    whole[box.slices] = held[start : start + box.size].view(box.lengths)
                start += box.size
        return wholes

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this rank's part of a whole tensor, both in their shapes."""
        box = self.boxes[self.rank][name]
        return whole[box.slices] if box.size else whole.new_zeros(box.lengths)

    def own(self, name: str, values: Tensor) -> Tensor:
        return self.part(name, values.view(self.shapes[name])).reshape(-1)

    def pick(self, name: str, inside: Tensor | None, values: Callable[[int, int], np.ndarray]) -> np.ndarray:
        box, shape = self.boxes[self.rank][name], self.shapes[name]
        span = box.span(shape)
        if inside is None:
            if span is not None:
                return values(*span)
            whole = torch.from_numpy(values(0, math.prod(shape)))
            return self.own(name, whole).numpy()
        drawn = torch.from_numpy(values(0, int(inside.sum())))
        whole = drawn.new_zeros(math.prod(shape))
        whole[inside] = drawn
        return self.own(name, whole)[self.own(name, inside)].numpy()


def _difference(first: Any, other: Any) -> str:
    """Say in a few words how two things differ, if they are dicts or short."""
    if isinstance(first, dict) and isinstance(other, dict):
        for name in [*first, *other]:
            if first.get(name) != other.get(name):
                return f": {name} is {other.get(name, 'absent')} there and {first.get(name, 'absent')} here"
        return ": they come in another order"
    shown = f": {other!r} there and {first!r} here"
    return shown if len(shown) < 200 else ""
