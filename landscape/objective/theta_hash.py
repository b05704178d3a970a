"""The hash of theta, by which a stored run knows its weights again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.digest import digest_of
from landscape.objective.moved_weights import AnyPoint

_HASHED = 2**20  # entries of a large model that are hashed at a time
_ALONE = 2**14  # entries that torch converts on the thread that asks: others may be at work meanwhile


def hash_of(program: Program, origin: AnyPoint) -> str:
    """Return the SHA-256 of theta and of all other tensors that the loss depends on."""
    return digest_of(chain(_values(program, origin), program.constants))


def _values(program: Program, origin: AnyPoint) -> Iterator[Tensor]:
    """Yield the values of theta, some at a time, flat: for a large model each tensor in pieces."""
    if isinstance(origin, Tensor):
        layout = program.layout if isinstance(program, ModelProgram) else None
        yield from layout.wholes(origin) if layout is not None else (origin,)
        return
    assert isinstance(program, ModelProgram)
    for own, _ in program.pairs:
        for piece in own.detach().reshape(-1).split(_HASHED):
            yield _converted(piece, program.layout.dtype)


def _converted(piece: Tensor, dtype: torch.dtype) -> Tensor:
    if piece.dtype == dtype or piece.device.type != "cpu":
        return piece.to(dtype)
    wide = torch.empty(piece.shape, dtype=dtype)
    for part, place in zip(piece.split(_ALONE), wide.split(_ALONE), strict=True):
        place.copy_(part)
    return wide
