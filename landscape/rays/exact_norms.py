"""Norms of filters that are the same for any division of a tensor: squares are added up in whole numbers.

A sum of rounded numbers depends on its order, so on how a tensor is cut into shards. Here the largest entry of a filter
settles a unit, every square is rounded to whole units once, and whole numbers add up exactly:

    |w_f|^2 = 4^e 2^-b sum_i round(2^b (w_i / 2^e)^2)    with  2^(e-1) <= max |w_i| < 2^e

b is 52, or less for more than 2^10 entries, so that the sum fits 63 bits. Then the relative error is at most
d_f 2^(1-b): 2^-25 for a filter of 2^18 entries.

Shards of a tensor are combined in two steps: the maxima of :func:`largest` by their maximum, then the sums of
:func:`whole_squares` by their sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_PIECE = 2**18  # entries in float64 at a time, so that a large tensor is never copied whole
_MOST_BITS = 52  # of a rounded square
_LARGE = 2.0**52  # its sum with a number from 0 to 2^52 has the nearest whole number in its last 52 bits, ties to even
_LAST_BITS = 2**52 - 1


def largest(values: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the largest absolute value of each filter, float64; axes within a filter have length 1.

    Args:
        values: a tensor in its filter shape, or a shard of it.
        axes: the axes that count filters.

    >>> largest(torch.tensor([[3.0, -4.0], [0.0, 1.0]]), (0,)).tolist()
    [[4.0], [1.0]]
    """
    out = values.new_zeros(_filters(values, axes), dtype=torch.float64)
    for rows, piece in _pieces(values):
        part = out[rows] if _by_row(values, axes) else out
        part.copy_(torch.maximum(part, piece.abs().amax(_inside(values, axes), keepdim=True)))
    return out


def whole_squares(values: Tensor, axes: Sequence[int], maxima: Tensor, count: int) -> Tensor:
    """Return the sum of the squares of each filter in its whole units, int64, in the shape of ``maxima``.

    Args:
        values, axes: as for :func:`largest`.
        maxima: of the whole filters, over all shards.
        count: entries of a whole filter.
    """
    bits = _bits(count)
    half, odd = divmod(bits, 2)
    scale = 2.0**half / _power(maxima)  # a power of two, so that (value · scale)² rounds as (value / unit)² does
    out, by_row, inside = torch.zeros_like(maxima, dtype=torch.int64), _by_row(values, axes), _inside(values, axes)
    room = torch.empty(0, dtype=torch.float64, device=values.device)
    for rows, piece in _pieces(values):
        if room.numel() < piece.numel():  # always the same room: fresh memory costs more than the sums
            room = room.new_empty(piece.numel())
        squares = room[: piece.numel()].view(piece.shape).copy_(piece)
        squares.mul_(scale[rows] if by_row else scale).square_()
        if odd:
            squares.mul_(2.0)
        whole = squares.add_(_LARGE).view(torch.int64).bitwise_and_(_LAST_BITS)
        part = out[rows] if by_row else out
        part += whole.sum(inside, keepdim=True)
    return out


def norms(sums: Tensor, maxima: Tensor, count: int) -> Tensor:
    """Return the norm of each filter, float64, from the sums of all shards.

    >>> weights = torch.tensor([[3.0, -4.0], [0.0, 1.0]])
    >>> maxima = largest(weights, (0,))
    >>> norms(whole_squares(weights, (0,), maxima, 2), maxima, 2).tolist()
    [[5.0], [1.0]]
    """
    return (sums.double() * 2.0 ** -_bits(count)).sqrt() * _power(maxima)


def _power(maxima: Tensor) -> Tensor:
    """Return 2^e, the power of two just above each maximum; 1 for a maximum of 0."""
    mantissa = torch.frexp(maxima).mantissa
    return torch.where(maxima > 0, maxima / mantissa, 1.0)


def _bits(count: int) -> int:
    return min(_MOST_BITS, 62 - math.ceil(math.log2(max(count, 1))))


def _inside(values: Tensor, axes: Sequence[int]) -> list[int]:
    return [axis for axis in range(values.dim()) if axis not in axes]


def _filters(values: Tensor, axes: Sequence[int]) -> list[int]:
    return [size if axis in axes else 1 for axis, size in enumerate(values.shape)]


def _by_row(values: Tensor, axes: Sequence[int]) -> bool:
    """Whether the first axis counts filters, so that a piece of its rows holds filters of its own."""
    return values.dim() > 0 and 0 in axes


def _pieces(values: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows of a tensor at a time."""
    if not values.numel():
        return
    if values.dim() == 0:
        yield slice(None), values
        return
    step = max(1, _PIECE * values.shape[0] // values.numel())
    for start in range(0, values.shape[0], step):
        yield slice(start, start + step), values[start : start + step]
