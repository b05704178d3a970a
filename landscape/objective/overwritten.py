"""A model's own weights as those of a point: written over in place, and restored to the last bit.

This serves models that hold on to their weights in a way that :mod:`landscape.objective.read_weights` cannot see: in a
list of their own, or by address in a kernel of their own. A copy of all weights is kept while a point is evaluated. The
weights are restored whatever ends the evaluation, Ctrl-C included. SIGKILL ends the process, and the model with it; no
file holds the weights of a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from landscape.objective.moved_weights import Point, moved_tensor
from landscape.objective.parameters import Entry
from landscape.objective.read_weights import uncompiled


class Overwritten(list[Tensor]):
    """The model's own parameters, which hold the weights of a point within :meth:`written`.

    Args:
        pairs: the parameters, and the place of each in the layout.
        point: the point.
        keep_all: restore the weights that do not move too: the model may write to any.
    """

    def __init__(self, pairs: Sequence[tuple[Tensor, Entry]], point: Point, *, keep_all: bool = True) -> None:
        super().__init__(own.data for own, _ in pairs)  # so that writing raises no version of the caller's own
        self._pairs, self._point, self._keep_all = pairs, point, keep_all

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write the point over the weights, and restore them at the end."""
        # by .data: the version counters of the caller's parameters stay as they are
        kept = [
            (own.data, own.data.clone()) for own, entry in self._pairs if self._keep_all or self._point.moves(entry)
        ]
        try:
            with torch.no_grad():
                for own, entry in self._pairs:
                    if self._point.moves(entry):
                        own.data.copy_(moved_tensor(own, entry, self._point))
            yield
        finally:
            with torch.no_grad():
                for own, old in kept:
                    own.copy_(old)


class Apart(Overwritten):
    """Copies of the trained weights for the model; within :meth:`written` its own tensors hold a point.

    A model that reads only the copies shows nothing of the point.

    Args:
        pairs, point: as for :class:`Overwritten`.
    """

    def __init__(self, pairs: Sequence[tuple[Tensor, Entry]], point: Point) -> None:
        super().__init__(pairs, point, keep_all=False)
        self[:] = [own.data.clone() if point.moves(entry) else own.data for own, entry in pairs]

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write the point over the weights, and restore them at the end; nothing is compiled for this one pass."""
        with uncompiled(), super().written():
            yield
