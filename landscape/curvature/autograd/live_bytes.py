"""How many bytes the tensors of some operations take at a time, whether they hold numbers or only shapes."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary


class LiveBytes(TorchDispatchMode):
    """Within it, the memory of tensors that operations make is counted until they are freed.

    Attributes:
        most: the largest number of bytes at a time.
        largest: number of bytes of the largest tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = self.largest = self._now = 0
        self._known = WeakIdKeyDictionary()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that torch need not look for its compiler at each operation: nothing here is compiled."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for storage in _storages((*args, *(kwargs or {}).values())):
            self._known.setdefault(storage, None)  # what is not known by now was there before
        result = func(*args, **(kwargs or {}))
        for storage in _storages((result,)):
            if storage not in self._known:
                self._known[storage] = None
                self._add(storage, storage.nbytes())
        return result

    def _add(self, storage: UntypedStorage, size: int) -> None:
        weakref.finalize(storage, self._free, size).atexit = False
        self._now += size
        self.most, self.largest = max(self.most, self._now), max(self.largest, size)

    def _free(self, size: int) -> None:
        self._now -= size


def _storages(items: Iterable[Any]) -> Iterator[UntypedStorage]:
    """Yield the storages of all tensors among these items; sparse tensors have none of their own."""
    for item in items:
        if isinstance(item, Tensor):
            if item.layout == torch.strided and not item.is_nested:
                yield item.untyped_storage()
        elif isinstance(item, list | tuple):
            yield from _storages(item)
