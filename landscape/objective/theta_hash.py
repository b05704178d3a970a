"""The hash of theta, by which a stored run knows its weights again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.digest import digest_of
from landscape.objective.moved_weights import AnyPoint

_HASHED = 2**20  # entries of a large model that are hashed at a time


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
    # always the same: fresh memory costs more than to convert
    room = torch.empty(_HASHED, dtype=program.layout.dtype, device="cpu")
    for own, _ in program.pairs:
        for piece in own.detach().reshape(-1).split(_HASHED):
            yield _converted(piece, room[: len(piece)])


def _converted(piece: Tensor, room: Tensor) -> Tensor:
    """Return the piece in the dtype of ``room``, if it is in 16 bits there.

    numpy converts it, on the thread that asks: others may be at work meanwhile.
    """
    if piece.device.type != "cpu" or room.dtype != torch.float32 or piece.dtype not in (torch.bfloat16, torch.float16):
        return piece.to(room.dtype)
    if piece.dtype == torch.float16:
        np.copyto(room.numpy(), piece.numpy())
    else:  # bfloat16 is the upper half of float32
        bits = piece.view(torch.int16).numpy().view(np.uint16)
        np.left_shift(bits, 16, out=room.view(torch.int32).numpy().view(np.uint32), dtype=np.uint32)
    return room
