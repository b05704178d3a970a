"""Named tensors as one flat vector, and the scope: which of its entries move.

This is the only file that converts between a model's parameters and the vector ``theta``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape.errors import ObjectiveError

_KERNEL_MODULES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


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
        filter_axes: the axes of ``filter_shape`` that count filters; the others lie within one. None of them means
            that the whole tensor is one filter.
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

    Tied tensors appear once, under the first of their names. A *filter* is one output unit: row 0 of a linear or
    convolution weight, one output channel of a transposed convolution (axis 1, within its group), and the whole tensor
    where it has fewer than two dimensions.

    >>> layout = Layout.from_shapes({"w": (2, 3), "b": (2,)}, torch.float32)
    >>> layout.size, layout.views(torch.arange(8.0))["b"]
    (8, tensor([6., 7.]))
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self.size = sum(entry.size for entry in self.entries)
        self._sizes = [entry.size for entry in self.entries]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """Return the layout of a model's parameters."""
        owners = dict(model.named_modules())
        kernels = _kernel_names(model)
        entries, start = [], 0
        for name, parameter in model.named_parameters():
            owner = owners[name.rpartition(".")[0]]
            shape = tuple(parameter.shape)
            filter_shape, filter_axes = _filters(owner, shape)
            entry = Entry(name, shape, parameter.dtype, start, name in kernels, filter_shape, filter_axes)
            entries.append(entry)
            start = entry.stop
        return cls(entries)

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float64) -> Layout:
        """Return a layout of plain tensors, all of them in the scope ``weights``; row 0 counts filters."""
        entries, start = [], 0
        for name, shape in shapes.items():
            axes = (0,) if len(shape) > 1 else ()
            entries.append(Entry(name, tuple(shape), dtype, start, True, tuple(shape), axes))
            start = entries[-1].stop
        return cls(entries)

    @property
    def dtype(self) -> torch.dtype:
        """The flat vector's dtype: wide enough for every tensor, and never narrower than float32."""
        wide = torch.float32
        for entry in self.entries:
            wide = torch.promote_types(wide, entry.dtype)
        return wide

    def flatten(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> Tensor:
        """Return a new flat vector holding ``tensors``, shape (D,)."""
        vector = torch.empty(self.size, dtype=self.dtype, device=device)
        for entry, view in zip(self.entries, vector.split(self._sizes), strict=True):
            view.copy_(tensors[entry.name].detach().reshape(-1))
        return vector

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the named tensors as views of ``vector``, shape (D,); a copy only where the dtype is narrower."""
        pairs = zip(self.entries, vector.split(self._sizes), strict=True)
        return {entry.name: piece.view(entry.shape).to(entry.dtype) for entry, piece in pairs}


class Scope:
    """Which entries of the flat vector move: a list of ranges, and a name that a reader can check.

    Attributes:
        name: ``weights``, ``all`` or the regular expression.
        ranges: (start, stop) in the flat vector, ascending, merged where they touch.
        size: n, the number of entries in scope.
        entries: the layout's entries with at least one position in scope.
    """

    def __init__(self, name: str, layout: Layout, ranges: Iterable[tuple[int, int]]) -> None:
        self.name = name
        self.layout = layout
        self.ranges = _merge(ranges)
        self.size = sum(stop - start for start, stop in self.ranges)
        self.entries = tuple(e for e in layout.entries if any(a < e.stop and e.start < b for a, b in self.ranges))

    @classmethod
    def select(cls, name: str, layout: Layout) -> Scope:
        """Return the scope called ``name``: ``weights``, ``all``, or a regular expression on parameter names."""
        if name == "weights":
            chosen = [entry for entry in layout.entries if entry.kernel]
        elif name == "all":
            chosen = list(layout.entries)
        else:
            try:
                pattern = re.compile(name)
            except re.error as error:
                raise ObjectiveError(
                    f"scope {name!r} is neither 'weights' nor 'all', and as a regular expression it fails: {error}.\n"
                    "Pass weights, all, or a pattern such as 'layer[12].*weight'."
                ) from None
            chosen = [entry for entry in layout.entries if pattern.search(entry.name)]
        scope = cls(name, layout, [(entry.start, entry.stop) for entry in chosen])
        if scope.size == 0:
            known = ", ".join(entry.name for entry in layout.entries[:10]) or "none"
            raise ObjectiveError(
                f"scope {name!r} matches no parameter, so nothing would move.\n"
                f"The model's parameters: {known}{', ...' if len(layout.entries) > 10 else ''}. "
                "Pass --scope all, or a regular expression that matches some of them."
            )
        return scope

    def without(self, ranges: Iterable[tuple[int, int]]) -> Scope:
        """Return this scope with some ranges taken out."""
        kept = list(self.ranges)
        for start, stop in ranges:
            pieces = []
            for a, b in kept:
                pieces += [(a, min(b, start)), (max(a, stop), b)] if a < stop and start < b else [(a, b)]
            kept = [(a, b) for a, b in pieces if a < b]
        return Scope(self.name, self.layout, kept)

    def gather(self, vectors: Tensor) -> Tensor:
        """Return the entries in scope, shape (..., n), of vectors of shape (..., D)."""
        return torch.cat([vectors[..., start:stop] for start, stop in self.ranges], dim=-1)

    def scatter(self, values: Tensor, out: Tensor) -> Tensor:
        """Write ``values``, shape (..., n), to their places in ``out``, shape (..., D), and return it."""
        position = 0
        for start, stop in self.ranges:
            out[..., start:stop] = values[..., position : position + stop - start]
            position += stop - start
        return out


def _merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ranges sorted, with those that touch made one."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and merged[-1][1] >= start:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        elif stop > start:
            merged.append((start, stop))
    return tuple(merged)


def _kernel_names(model: nn.Module) -> set[str]:
    """Return the names, ties resolved, of the kernels of linear and convolution layers.

    Modules of unknown type (hand-written layers, TorchScript) count by their tensor: two or more dimensions and a name
    that ends in ``weight``. Embedding tables, position embeddings, biases and normalisation parameters never do,
    unless a linear layer shares the tensor.
    """
    first_name: dict[int, str] = {}
    chosen = set()
    for path, module in model.named_modules():
        for short, parameter in module.named_parameters(recurse=False):
            name = first_name.setdefault(id(parameter), f"{path}.{short}" if path else short)
            if parameter.dim() < 2 or isinstance(module, _EMBEDDINGS):
                continue
            # a parametrised kernel (weight norm, pruning) lives in a child module called parametrizations.weight
            parametrised = path.endswith("parametrizations.weight")
            if isinstance(module, _KERNEL_MODULES) or parametrised or short.endswith("weight"):
                chosen.add(name)
    return chosen


def _filters(owner: nn.Module, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (filter_shape, filter_axes) of a tensor of this shape in this module."""
    if len(shape) < 2:
        return shape, ()
    if isinstance(owner, nn.modules.conv._ConvTransposeNd):
        groups = owner.groups
        return (groups, shape[0] // groups, *shape[1:]), (0, 2)
    if type(owner).__name__ == "Conv1D" and hasattr(owner, "nf"):  # transformers' linear layer, stored transposed
        return shape, (1,)
    return shape, (0,)
