"""Normals by entry, for directions that are never stored: (seed, index, entry) gives each number alone.

Entry i of direction (seed, index) is a function of 16 random bits, those at byte 2 i of the stream of Philox4x64-10
(Salmon, Moraes, Dror & Shaw 2011) with

    key = (seed, index)    counter = (1 + i // 16, 0, 0, 2^63 + 80)

So any part of a direction can be made on any device, in any order, and by any number of processes.

The bits k choose one of 2^16 values: the mean of a standard normal between its quantiles k / 2^16 and (k + 1) / 2^16,
in units of 2^-12. So a value is a whole number, called *level* here, and z = level / 2^12. This has two uses:

- A table gives the levels. No logarithm or cosine is computed, so all devices give the same number.
- Squares of levels add up exactly in whole numbers. So the length of a direction is the same for any division of its
  entries.

Each value stands for the exact normals of its bin, and is their mean. A direction of such values lies within 0.15 % of
its length from a direction of exact ones. No value exceeds 4.4.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from landscape.rays.streams import Purpose, stream, words

GENERATOR = "philox4x64-10, 16 bits an entry"  #: what a file says of the generator of its directions
UNIT = 2.0**-12  #: a level of 1 as a number

_BITS = 16
_PER_COUNTER = 16  # entries in the four words of one counter
_PER_WORD = 4
PIECE = 2**17  #: entries that are made at a time: they fit the cache of a processor
_PIECES_OF_THREAD = 4  # fewer pieces take less time than to hand them to a thread
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)  # of Philox4x64, and the steps of its key
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_LOW = 0xFFFFFFFF


def levels(
    seed: int, index: int, start: int, stop: int, *, device: torch.device | None = None, out: Tensor | None = None
) -> Tensor:
    """Return the levels of entries ``start`` to ``stop`` of a direction, shape (stop - start,), int16.

    They are written to ``out`` if it is given, on its device.

    >>> bool(torch.equal(levels(0, 7, 100, 200), levels(0, 7, 0, 300)[100:200]))
    True
    """
    out = torch.empty(stop - start, dtype=torch.int16, device=device) if out is None else out
    if out.device.type != "cpu":
        for a, b in pieces(start, stop):
            out[a - start : b - start] = levels_at(seed, index, torch.arange(a, b, device=device))
        return out
    values, bounds = out.numpy(), list(pieces(start, stop))

    def fill(share: list[tuple[int, int]]) -> None:
        for a, b in share:
            _fill(values[a - start : b - start], seed, index, a)

    threads = max(1, min(torch.get_num_threads(), len(bounds) // _PIECES_OF_THREAD))
    each = max(1, -(-len(bounds) // threads))
    shares = [bounds[i : i + each] for i in range(0, len(bounds), each)]
    others = [_helpers(os.getpid()).submit(fill, share) for share in shares[1:]]
    fill(shares[0] if shares else [])
    for other in others:
        other.result()
    return out


def levels_at(seed: int, index: int, entries: Tensor) -> Tensor:
    """Return the levels of any entries, int64 of any shape, on their device; neighbours are cheapest.

    >>> levels_at(0, 7, torch.tensor([[5, 3]])).tolist() == [levels(0, 7, 3, 6)[[2, 0]].tolist()]
    True
    """
    counters, place = torch.unique_consecutive(entries.reshape(-1) // _PER_COUNTER, return_inverse=True)
    key, rest = words(Purpose.ENTRY, seed, index, 0, 0, 0)
    # numpy counts on before it draws, so the counter of the first entry is 1
    counter = [counters + 1, *(_signed(int(word)) for word in rest[1:])]
    drawn = torch.stack([word.expand_as(counters) for word in philox(counter, [int(word) for word in key])])
    flat = entries.reshape(-1)
    word = drawn[(flat // _PER_WORD) % 4, place]
    bits = (word >> (flat % _PER_WORD * _BITS)) & (2**_BITS - 1)
    return torch.from_numpy(_table()).to(entries.device)[bits].view(entries.shape)


def square_sum(values: Tensor) -> int:
    """Return the sum of the squares of levels, int16, as a whole number: it is exact, so no order changes it.

    >>> square_sum(torch.tensor([3, -4], dtype=torch.int16))
    25
    """
    total = 0
    for piece in values.reshape(-1).split(PIECE):
        wide = piece.double()  # a sum of 2^17 squares of 16 bits is exact in 53 bits
        total += int(torch.dot(wide, wide))
    return total


def usual_length(count: int) -> float:
    """Return the root of the mean of |q|^2 over all directions of so many levels.

    The length of a direction differs from it by a factor whose standard deviation is about 1 / sqrt(2 count): 1.2e-4
    for 2^25 levels.

    >>> levels_of_one = levels(0, 0, 0, 2**16)
    >>> abs(math.sqrt(square_sum(levels_of_one)) / usual_length(2**16) - 1) < 0.01
    True
    """
    return math.sqrt(count * float(np.square(_table(), dtype=np.float64).mean()))


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the pieces in which entries are made; the cuts are at multiples of :data:`PIECE`.

    >>> list(pieces(5, 2**17 + 3))
    [(5, 131072), (131072, 131075)]
    """
    while start < stop:
        end = min(stop, (start // PIECE + 1) * PIECE)
        yield start, end
        start = end


def philox(counter: list[Tensor | int], key: list[int]) -> list[Tensor]:
    """Return the four words of Philox4x64-10 at a counter, int64 tensors that hold the bits of unsigned words.

    Args:
        counter: four words, each a tensor or a number from -2^63 to 2^63 - 1; at least one is a tensor.
        key: two words from 0 to 2^64 - 1.
    """
    like = next(word for word in counter if isinstance(word, Tensor))
    c0, c1, c2, c3 = (word if isinstance(word, Tensor) else like.new_tensor(word) for word in counter)
    for turn in range(_ROUNDS):
        k0, k1 = (_signed((word + turn * step) % 2**64) for word, step in zip(key, _WEYL, strict=True))
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return [c0, c1, c2, c3]


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return the high and the low word of the product of unsigned words, from products of their halves."""
    f_low, f_high = factor & _LOW, factor >> 32
    low, high = x & _LOW, (x >> 32) & _LOW
    across, other = high * f_low, low * f_high
    middle = (((low * f_low) >> 32) & _LOW) + (across & _LOW) + (other & _LOW)
    top = high * f_high + ((across >> 32) & _LOW) + ((other >> 32) & _LOW) + (middle >> 32)
    return top, x * _signed(factor)


def _signed(word: int) -> int:
    """Return the number from -2^63 to 2^63 - 1 with the same bits."""
    return word - 2**64 if word >= 2**63 else word


def _fill(out: np.ndarray, seed: int, index: int, start: int) -> None:
    """Write the levels of the entries from ``start`` on, int16."""
    first = start // _PER_COUNTER
    bits = stream(Purpose.ENTRY, seed, index, draws=first).bit_generator
    count = -(-(start + len(out)) // _PER_WORD) - first * (_PER_COUNTER // _PER_WORD)
    drawn = np.asarray(bits.random_raw(count), dtype="<u8").view("<u2")
    skip = start - first * _PER_COUNTER
    np.take(_table(), drawn[skip : skip + len(out)], out=out, mode="clip")


@cache
def _helpers(process: int) -> ThreadPoolExecutor:
    """Return the threads of a process that make entries besides its main thread; numpy lets them run together."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "entries")


@cache
def _table() -> np.ndarray:
    """Return the level for each value of the bits, shape (2^16,), int16."""
    half = 2 ** (_BITS - 1)
    # the upper half only, so that the table is symmetric to the last bit
    edges = torch.special.ndtri(torch.arange(half, 2 * half, dtype=torch.float64) / (2 * half))
    density = torch.exp(-edges.square() / 2) / (2 * torch.pi) ** 0.5
    density = torch.cat([density, density.new_zeros(1)])  # at infinity
    upper = ((density[:-1] - density[1:]) * 2 * half / UNIT).round().to(torch.int16)
    return torch.cat([-upper.flip(0), upper]).numpy()
