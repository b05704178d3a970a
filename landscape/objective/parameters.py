"""Named tensors as one flat vector, and the scope: which of its entries move.

Only this file converts between the parameters of a model and the vector ``theta``.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import ObjectiveError
from landscape.objective.holding import HERE, Holding, Values

_OR = " | "  # between the parts of a scope; a regular expression has no reason to hold it
_NO_KERNELS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Entry:
    """One parameter tensor's place in the flat vector.

    Attributes:
        name: its name in the model.
        shape: its shape.
        dtype: its dtype in the model (the flat vector may be wider).
        start: its first position in the flat vector; it ends at ``start`` + ``size``.
        kernel: whether it belongs to the scope ``weights``.
        filter_shape: the shape in which whole axes separate the filters.
        filter_axes: the axes of ``filter_shape`` that count filters; the others lie within a filter. If there are
            none, the whole tensor is one filter.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    kernel: bool
    filter_shape: tuple[int, ...]
    filter_axes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def stop(self) -> int:
        """One past its last position in the flat vector."""
        return self.start + self.size


class Layout:
    """How named tensors lie in one flat vector, in the order of ``model.named_parameters()``.

    Tied tensors appear once, under the first of their names. A *filter* is one output unit:

    - one row (index of axis 0) of a linear or convolution weight
    - one output channel of a transposed convolution (axis 1, within its group)
    - the whole tensor if it has fewer than two dimensions

    >>> layout = Layout.from_shapes({"w": (2, 3), "b": (2,)}, torch.float32)
    >>> layout.size, layout.views(torch.arange(8.0))["b"]
    (8, tensor([6., 7.]))
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        fixed: Sequence[Entry] = (),
        holding: Holding = HERE,
        whole: Layout | None = None,
    ) -> None:
        self.entries = tuple(entries)
        self.fixed = tuple(fixed)  #: parameters that no vector holds: integers and complex numbers
        self.holding = holding
        self.whole = whole or self  #: the layout of the vector that all ranks hold together
        self.held = sum(entry.size for entry in self.entries)  #: length of a vector on this rank
        self.size: int = self.held if whole is None else whole.size  #: D
        self._sizes = [entry.size for entry in self.entries]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """Return the layout of a model's parameters."""
        owners = dict(model.named_modules(remove_duplicate=False))
        kernels = _kernel_names(model, owners)
        entries: list[Entry] = []
        fixed: list[Entry] = []
        start = 0
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            filter_shape, filter_axes = _filters(owners[home(name)[0]], shape)
            entry = Entry(name, shape, parameter.dtype, start, name in kernels, filter_shape, filter_axes)
            if parameter.is_floating_point():
                entries.append(entry)
                start = entry.stop
            else:
                fixed.append(entry)
        return cls(entries, fixed)

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float64) -> Layout:
        """Return a layout of plain tensors, all in the scope ``weights``; axis 0 counts filters."""
        entries, start = [], 0
        for name, shape in shapes.items():
            axes = (0,) if len(shape) > 1 else ()
            entries.append(Entry(name, tuple(shape), dtype, start, True, tuple(shape), axes))
            start = entries[-1].stop
        return cls(entries)

    def sharded(self, holding: Holding, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """Return the layout of the part of the vector that this rank holds; ``shapes`` are those of its tensors."""
        entries, start = [], 0
        for entry in self.entries:
            entries.append(replace(entry, shape=shapes[entry.name], start=start, filter_shape=(), filter_axes=()))
            start = entries[-1].stop
        return Layout(entries, self.fixed, holding, self)

    def wholes(self, vector: Tensor) -> Iterator[Tensor]:
        """Yield the whole of each tensor, flat, from the vector of each rank, shape (held,)."""
        for entry, piece in zip(self.entries, vector.split(self._sizes), strict=True):
            yield self.holding.gathered(entry.name, piece)

    def moves(self, ranges: Sequence[tuple[int, int]]) -> list[bool]:
        """Return for each tensor whether one of the ranges, (start, stop), touches it, on any rank."""
        touched = [any(a < e.stop and e.start < b for a, b in ranges) for e in self.entries]
        return (self.holding.total(torch.tensor(touched, dtype=torch.float64)) > 0).tolist()

    @property
    def dtype(self) -> torch.dtype:
        """The flat vector's dtype: wide enough for every tensor, and never narrower than float32."""
        wide = torch.float32
        for entry in self.entries:
            wide = torch.promote_types(wide, entry.dtype)
        return wide

    @property
    def kernel_dtypes(self) -> tuple[torch.dtype, ...]:
        """The dtypes of tensors with two dimensions or more, in order. If there are none, the dtypes of all tensors."""
        kernels = [entry for entry in self.entries if len(entry.shape) > 1] or self.entries
        return tuple(dict.fromkeys(entry.dtype for entry in kernels))

    def flatten(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> Tensor:
        """Return a new flat vector holding ``tensors``, shape (D,)."""
        vector = torch.empty(self.held, dtype=self.dtype, device=device)
        for entry, view in zip(self.entries, vector.split(self._sizes), strict=True):
            view.copy_(tensors[entry.name].detach().reshape(-1))
        return vector

    def split(self, vector: Tensor) -> list[Tensor]:
        """Return the tensors in order, shapes (..., *shape), as views of ``vector``, shape (..., D), in its dtype."""
        lead = vector.shape[:-1]
        pieces = vector.split(self._sizes, dim=-1)
        return [piece.view((*lead, *entry.shape)) for entry, piece in zip(self.entries, pieces, strict=True)]

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the named tensors, shapes (..., *shape), as views of ``vector``, shape (..., D).

        A tensor with a narrower dtype is a copy.
        """
        pairs = zip(self.entries, self.split(vector), strict=True)
        return {entry.name: piece.to(entry.dtype) for entry, piece in pairs}


class Scope:
    """Which entries of the flat vector move.

    Attributes:
        name: ``weights``, ``all`` or the regular expression; several of them are joined by `` | ``.
        parts: these, one by one.
        ranges: (start, stop) in the flat vector, ascending; ranges that touch are merged.
        size: n, the number of entries in scope.
        held: how many of them are on this rank.
        entries: the layout's entries with at least one position in scope, on any rank.
    """

    def __init__(self, name: str, layout: Layout, ranges: Iterable[tuple[int, int]]) -> None:
        self.name = name
        self.parts = name.split(_OR)
        self.layout = layout
        self.ranges = _merge(ranges)
        self.size = self.held = sum(stop - start for start, stop in self.ranges)
        self.entries = tuple(e for e in layout.entries if self._touches(e))
        if layout.holding.ranks > 1:
            self._count_all_ranks()

    def _count_all_ranks(self) -> None:
        """Set what depends on the parts of the other ranks."""
        inside = torch.zeros(self.layout.held, dtype=torch.bool)
        for start, stop in self.ranges:
            inside[start:stop] = True
        pieces = inside.split([entry.size for entry in self.layout.entries])
        own = torch.stack([piece.sum(dtype=torch.float64) for piece in pieces])
        counts = [int(count) for count in self.layout.holding.total(own).tolist()]
        triples = list(zip(self.layout.whole.entries, pieces, counts, strict=True))
        self.entries = tuple(e for e, count in zip(self.layout.entries, counts, strict=True) if count)
        self.size = sum(counts)
        #: of each tensor how many entries are inside, and which, if not all
        self._inside: dict[str, tuple[int, Tensor | None]] = {}
        for entry, piece, count in triples:
            if count:
                partly = count < entry.size
                mask = self.layout.holding.gathered(entry.name, piece.to(torch.uint8)).bool() if partly else None
                self._inside[entry.name] = count, mask

    def pick(self, values: Values) -> np.ndarray:
        """Return this rank's part, shape (held,), of values for all entries in scope.

        Args:
            values: (start, stop) -> the values of these positions among the n.
        """
        if self.layout.holding.ranks == 1:
            return values(0, self.size)
        pieces, before = [], 0
        for entry in self.entries:
            count, mask = self._inside[entry.name]
            pieces.append(self.layout.holding.pick(entry.name, mask, partial(_shifted, values, before)))
            before += count
        return np.concatenate(pieces)

    def _touches(self, entry: Entry) -> bool:
        after = bisect.bisect_left(self.ranges, (entry.stop, 0))  # the first range that begins past the entry
        return after > 0 and self.ranges[after - 1][1] > entry.start

    @classmethod
    def select(cls, name: str | Sequence[str], layout: Layout) -> Scope:
        """Return the scope called ``name``.

        Args:
            name: ``weights``, ``all``, a regular expression on parameter names, or several of these. A string may hold
                several, with `` | `` between them; so the ``name`` of any scope selects it again.
            layout: the parameters.

        Raises:
            ObjectiveError: if a part matches no parameter, is no regular expression, or matches a parameter that cannot
                move.
        """
        parts = name.split(_OR) if isinstance(name, str) else name
        if not (isinstance(parts, Sequence) and parts and all(isinstance(part, str) for part in parts)):
            raise ObjectiveError(
                f"scope must be a string or a list of strings, not {name!r}. "
                "Pass weights, all, or patterns such as ['layer1', 'head.weight']."
            )
        chosen = [entry for part in parts for entry in _matching(part, layout)]
        return cls(_OR.join(parts), layout, [(entry.start, entry.stop) for entry in chosen])

    def without(self, out: Tensor) -> Scope:
        """Return this scope without the positions marked in ``out``, shape (D,), bool."""
        moving = torch.zeros_like(out, dtype=torch.int8)
        for start, stop in self.ranges:
            moving[start:stop] = 1
        edges = torch.diff(torch.nn.functional.pad(moving.masked_fill_(out, 0), (1, 1)))
        starts, stops = (torch.nonzero(edges == sign).reshape(-1).tolist() for sign in (1, -1))
        return Scope(self.name, self.layout, zip(starts, stops, strict=True))

    def gather(self, vectors: Tensor) -> Tensor:
        """Return the entries in scope, shape (..., n), of vectors of shape (..., D)."""
        if not self.ranges:  # this rank holds none of them
            return vectors[..., :0]
        return torch.cat([vectors[..., start:stop] for start, stop in self.ranges], dim=-1)

    def scatter(self, values: Tensor, out: Tensor) -> Tensor:
        """Write ``values``, shape (..., n), to their places in ``out``, shape (..., D), and return ``out``."""
        position = 0
        for start, stop in self.ranges:
            out[..., start:stop] = values[..., position : position + stop - start]
            position += stop - start
        return out


def _shifted(values: Values, by: int, start: int, stop: int) -> np.ndarray:
    return values(by + start, by + stop)


def _matching(name: str, layout: Layout) -> list[Entry]:
    """Return the entries that one part of a scope matches."""
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise ObjectiveError(
            f"scope {name!r} is neither 'weights' nor 'all', and as a regular expression it fails: {error}.\n"
            "Pass weights, all, or a pattern such as 'layer[12].*weight'."
        ) from None

    def matches(entry: Entry) -> bool:
        if name in ("weights", "all"):
            return entry.kernel or name == "all"
        return pattern.search(entry.name) is not None

    for entry in layout.fixed:
        if matches(entry) and not (name == "all" and not entry.dtype.is_complex):
            kind, hint = (
                ("complex", "") if entry.dtype.is_complex else ("integer", "Measure the model before quantisation. ")
            )
            raise ObjectiveError(
                f"scope {name!r} matches the {kind} parameter {entry.name} ({entry.dtype}), and only real "
                f"floating-point parameters can move.\n{hint}Leave it out with a list of patterns: "
                "`scope=['first.weight', 'second.weight']`."
            )
    chosen = [entry for entry in layout.entries if matches(entry)]
    if not any(entry.size for entry in chosen):
        known = ", ".join(entry.name for entry in layout.entries[:10]) or "none"
        raise ObjectiveError(
            f"scope {name!r} matches {'only empty tensors' if chosen else 'no parameter'}, so nothing would move.\n"
            f"The model's parameters: {known}{', ...' if len(layout.entries) > 10 else ''}. "
            "Pass `scope='all'`, or a regular expression that matches some of them."
        )
    return chosen


def is_hand_written_kernel(entry: Entry) -> bool:
    """Whether a tensor may be a kernel whose name does not say so: two or more dimensions, and no ``weight``."""
    return not entry.kernel and sum(n > 1 for n in entry.shape) > 1 and "weight" not in home(entry.name)[1]


def fixed_parameters(model: nn.Module) -> list[Tensor]:
    """Return the parameters that cannot move: integers and complex numbers."""
    return [parameter for parameter in model.parameters() if not parameter.is_floating_point()]


def moving_parameters(model: nn.Module) -> list[Tensor]:
    """Return the parameters that the flat vector holds, in its order."""
    return [parameter for parameter in model.parameters() if parameter.is_floating_point()]


def _merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the ranges sorted, with those that touch merged."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and merged[-1][1] >= start:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        elif stop > start:
            merged.append((start, stop))
    return tuple(merged)


def home(name: str) -> tuple[str, str]:
    """Return the path of the module that uses a parameter, and the attribute.

    A parametrised tensor (weight norm) lies in a child of the module that uses it.

    >>> home("block.parametrizations.weight.original1")
    ('block', 'weight')
    """
    path, _, attribute = re.sub(r"(^|\.)parametrizations\.(\w+)\.\w+$", r"\1\2", name).rpartition(".")
    return path, attribute


def _kernel_names(model: nn.Module, owners: Mapping[str, nn.Module]) -> set[str]:
    """Return the names of the kernels of linear and convolution layers; a tied tensor has the first of its names.

    A kernel has two or more dimensions and ``weight`` in its name, and does not belong to an embedding or
    normalisation. So the kernels of hand-written layers count too. A tied tensor counts if it is a kernel under any of
    its names. An exported program has lost the types of its modules, so there an embedding counts too.
    """
    first_name: dict[int, str] = {}
    chosen = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = first_name.setdefault(id(parameter), name)
        path, attribute = home(name)
        if parameter.dim() >= 2 and "weight" in attribute and not _is(owners[path], _NO_KERNELS):
            chosen.add(first)
    return chosen


def _is(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module has one of these types, or had it before it became TorchScript."""
    return isinstance(module, kinds) or getattr(module, "original_name", "") in {kind.__name__ for kind in kinds}


def _filters(owner: nn.Module, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (filter_shape, filter_axes) of a tensor of this shape in this module."""
    if len(shape) < 2:
        return shape, ()
    if _is(owner, _TRANSPOSED) and shape[0] % owner.groups == 0:  # type: ignore[operator]
        groups = int(owner.groups)  # type: ignore[arg-type]
        return (groups, shape[0] // groups, *shape[1:]), (0, 2)
    if type(owner).__name__ == "Conv1D" and hasattr(owner, "nf"):  # transformers' linear layer, stored transposed
        return shape, (1,)
    return shape, (0,)
