"""A step of uniform noise, for points near the trained one at which a large model is tried."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.objective.moved_weights import PIECE, row_pieces
from landscape.objective.parameters import Entry

_PERIOD = 2**16 + 1


class Noise:
    """A step that moves every tensor by uniform numbers of its own root mean square; any entry can be made alone.

    The numbers repeat after 2^16 + 1 entries. They only have to show that a weight is read, and to leave no loss at
    rest.
    """

    def __init__(self, pairs: Sequence[tuple[Tensor, Entry]]) -> None:
        self._size = {entry.name: float(rms(own)) or 1.0 for own, entry in pairs}
        uniform = 2 * torch.rand(_PERIOD, generator=torch.Generator().manual_seed(0)) - 1
        self._uniform = torch.cat([uniform] * (2 + PIECE // _PERIOD))  # a piece that begins anywhere lies in it

    def moves(self, entry: Entry) -> bool:
        return entry.name in self._size

    def add(self, base: Tensor, out: Tensor, entry: Entry, rows: slice, coefficient: float) -> None:
        if out.numel() > PIECE:
            out.copy_(base)
            self.add_rows(out, entry, torch.arange(rows.start, rows.stop, device=out.device), coefficient)
            return
        start = (entry.start + rows.start * (out.numel() // max(len(out), 1))) % _PERIOD
        uniform = self._uniform[start : start + out.numel()].to(out).view(out.shape)
        torch.add(base, uniform, alpha=coefficient * self._size[entry.name], out=out)

    def add_rows(self, block: Tensor, entry: Entry, rows: Tensor, coefficient: float) -> None:
        width = entry.size // (entry.shape[0] if entry.shape else 1)
        places = rows[:, None] * width + torch.arange(width, device=block.device) + entry.start
        uniform = self._uniform.to(block.device)[places % _PERIOD]
        block.add_(uniform.to(block).view(block.shape), alpha=coefficient * self._size[entry.name])

    def sample(self) -> bytes:
        return repr(sorted(self._size.items())).encode()


def rms(weight: Tensor) -> float:
    """Return the root mean square of a tensor, summed in float64 some rows at a time."""
    rows = weight.detach().reshape(len(weight) if weight.dim() else 1, -1)
    total = sum(float(rows[part].double().square().sum()) for part in row_pieces(rows.shape))
    return (total / max(weight.numel(), 1)) ** 0.5
