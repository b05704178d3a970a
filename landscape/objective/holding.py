"""Where the entries of the flat vector are: all in this process, or some on each rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from torch import Tensor

#: a range of positions -> the values there; ranges are asked for in ascending order
Values = Callable[[int, int], np.ndarray]


class Holding(Protocol):
    """Which part of each tensor this process holds. Each entry is held by one rank."""

    ranks: int  #: how many hold parts

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over ranks of these values; every rank gets the same bytes."""

    def everyone(self, values: Tensor) -> Tensor:
        """Return the values of each rank, stacked in their order."""

    def gathered(self, name: str, values: Tensor) -> Tensor:
        """Return the whole of a tensor, flat, from the part of each rank, flat."""

    def own(self, name: str, values: Tensor) -> Tensor:
        """Return this rank's part of a tensor, flat, from its whole, flat."""

    def pick(self, name: str, inside: Tensor | None, values: Values) -> np.ndarray:
        """Return this rank's part of values of a tensor's entries.

        Args:
            name: of the tensor.
            inside: which of its entries have a value, flat; None for all.
            values: those of the entries inside, by their position among them.
        """


class Here:
    """All entries are in this process."""

    ranks = 1

    def total(self, values: Tensor) -> Tensor:
        return values

    def everyone(self, values: Tensor) -> Tensor:
        return values[None]

    def gathered(self, name: str, values: Tensor) -> Tensor:
        return values

    def own(self, name: str, values: Tensor) -> Tensor:
        return values

    def pick(self, name: str, inside: Tensor | None, values: Values) -> np.ndarray:
        raise NotImplementedError("the caller takes all values at once")


HERE = Here()
