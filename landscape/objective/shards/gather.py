"""Whole tensors from the parts of all ranks, differentiable any number of times.

All ranks compute the same loss from the whole tensors W, so each of them knows the whole derivative by W. The
derivative by a rank's own part is that part of it, which needs no exchange. A vector that multiplies it again has parts
on all ranks, so it is gathered. Each of the two maps below is the adjoint of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd import Function

from landscape.objective.shards.places import Shards


def gather(shards: Shards, names: Sequence[str], parts: Sequence[Tensor]) -> list[Tensor]:
    """Return the whole tensors, in their shapes, differentiable by this rank's parts; an exchange for each dtype."""
    wholes: dict[str, Tensor] = {}
    for dtype in dict.fromkeys(part.dtype for part in parts):
        chosen = [i for i, part in enumerate(parts) if part.dtype is dtype]
        of_dtype = tuple(names[i] for i in chosen)
        wholes |= dict(zip(of_dtype, _Gather.apply(shards, of_dtype, *(parts[i] for i in chosen)), strict=True))
    return [wholes[name] for name in names]


class _Gather(Function):
    """The parts of all ranks -> the whole tensors, on every rank."""

    @staticmethod
    def forward(ctx: Any, shards: Shards, names: tuple[str, ...], *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.about = shards, names
        return tuple(shards.wholes(names, parts))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        return None, None, *_Own.apply(*ctx.about, *slopes)


class _Own(Function):
    """Whole tensors, the same on every rank -> this rank's parts."""

    @staticmethod
    def forward(ctx: Any, shards: Shards, names: tuple[str, ...], *wholes: Tensor) -> tuple[Tensor, ...]:
        ctx.about = shards, names
        return tuple(shards.part(name, whole).clone() for name, whole in zip(names, wholes, strict=True))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        return None, None, *_Gather.apply(*ctx.about, *slopes)
