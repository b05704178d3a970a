"""Graphs that do not keep whole parameters: autograd saves where a parameter's parts are, and gathers it again.

Without this a gradient would hold the whole model on each rank from the forward pass to the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from landscape.objective.shards.places import Shards


@dataclass(frozen=True)
class _Saved:
    """A view of a whole parameter, as its parts."""

    name: str
    part: Tensor
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class Regather:
    """Remembers which tensors are whole parameters, so that a graph need not keep them.

    All ranks run the same graph in the same order. So the exchanges of a backward pass meet.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._known: dict[int, tuple[StorageWeakRef, str, Tensor]] = {}

    def remember(self, names: Iterable[str], parts: Iterable[Tensor], wholes: Iterable[Tensor]) -> None:
        """Note that these whole parameters come from these parts, while they are in memory."""
        self._known = {key: held for key, held in self._known.items() if not held[0].expired()}
        for name, part, whole in zip(names, parts, wholes, strict=True):
            reference = StorageWeakRef(whole.untyped_storage())
            self._known[reference.cdata] = reference, name, part.detach()

    def in_memory(self) -> list[str]:
        """Return the names of the parameters that are whole on this rank now."""
        return [name for reference, name, _ in self._known.values() if not reference.expired()]

    def hooks(self) -> saved_tensors_hooks:
        """Return the context in which graphs save parts instead of wholes."""
        return saved_tensors_hooks(self._save, self._restore)

    def _save(self, tensor: Tensor) -> Tensor | _Saved:
        if type(tensor).__name__ == "DTensor" or tensor.layout != torch.strided:
            return tensor
        held = self._known.get(tensor.untyped_storage()._cdata)
        if held is None or held[0].expired():
            return tensor
        return _Saved(held[1], held[2], tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def _restore(self, saved: Tensor | _Saved) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        with torch.no_grad():
            whole = self._shards.wholes([saved.name], [saved.part])[0]
        self.remember([saved.name], [saved.part], [whole])
        return whole.as_strided(saved.size, saved.stride, saved.offset)
