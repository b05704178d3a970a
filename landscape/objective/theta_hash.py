"""The hash of theta. For a large model it takes nearly as long as the first pass, so both run at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Event
from types import TracebackType

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.digest import digest_of
from landscape.objective.moved_weights import AnyPoint

_HASHED = 2**20  # entries of a large model that are hashed at a time
_ALONE = 2**14  # entries that torch converts on the thread that asks: its other threads serve the first pass


def hash_of(program: Program, origin: AnyPoint, stop: Event | None = None) -> str:
    """Return the SHA-256 of theta and of all other tensors that the loss depends on.

    Raises:
        LandscapeError: if ``stop`` is set before the end.
    """
    return digest_of(chain(_values(program, origin, stop), program.constants))


class HashBeside:
    """Within it, a thread makes the hash of a large model on a CPU, if nothing writes to its weights meanwhile.

    Attributes:
        value: the hash, once the context has ended; empty for other models, after an error, and if the model turned
            out to write to its weights.
    """

    def __init__(self, program: ModelProgram, origin: AnyPoint) -> None:
        self.value = ""
        self._stop, self._program, self._origin = Event(), program, origin
        on_cpu = all(own.device.type == "cpu" for own, _ in program.pairs)
        self._pool = None if isinstance(origin, Tensor) or program.in_place or not on_cpu else ThreadPoolExecutor(1)

    def __enter__(self) -> HashBeside:
        if self._pool is not None:
            self._future = self._pool.submit(hash_of, self._program, self._origin, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._pool is None:
            return
        in_vain = kind is not None or self._program.in_place  # a pass may have written to the weights
        if in_vain:
            self._stop.set()
        self._pool.shutdown()
        if not in_vain:
            self.value = self._future.result()


def _values(program: Program, origin: AnyPoint, stop: Event | None) -> Iterator[Tensor]:
    """Yield the values of theta, some at a time, flat: for a large model each tensor in pieces."""
    if isinstance(origin, Tensor):
        layout = program.layout if isinstance(program, ModelProgram) else None
        yield from layout.wholes(origin) if layout is not None else (origin,)
        return
    assert isinstance(program, ModelProgram)
    for own, _ in program.pairs:
        for piece in own.detach().reshape(-1).split(_HASHED):
            if stop is not None and stop.is_set():
                raise LandscapeError("the hash is not needed any more.")
            yield _converted(piece, program.layout.dtype)


def _converted(piece: Tensor, dtype: torch.dtype) -> Tensor:
    if piece.dtype == dtype or piece.device.type != "cpu":
        return piece.to(dtype)
    wide = torch.empty(piece.shape, dtype=dtype)
    for part, place in zip(piece.split(_ALONE), wide.split(_ALONE), strict=True):
        place.copy_(part)
    return wide
