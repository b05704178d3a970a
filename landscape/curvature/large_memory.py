"""What products of a large model take in memory, beyond the model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from landscape.curvature.autograd.live_bytes import LiveBytes
from landscape.errors import CurvatureError

VECTORS = 2  #: the vector and the product
PER_PRODUCT = 2.4  #: a product keeps so many tapes of its piece: values, slopes, tangents, and one layer at work
PER_FORM = 2.0  #: the same for a form, which frees tangents on its way


@dataclass(frozen=True)
class LargeMemory:
    """The memory of products of a large model, beyond the model.

    Attributes:
        vector: bytes of a flat vector.
        sample: bytes of values and slopes of one sample.
        made: bytes of one sample while its tape is made.
        working: bytes of one sample that what is computed again takes, such as attention.
        rows: samples in a piece.
        room: bytes that activations may take, tapes that are kept and copies included.
        copies: bytes for each sample of copies in float32, of one operation in 16 bits and of its backward pass.
        checked: bytes of the comparison with differences, which takes one sample of the loss's Hessian.
    """

    vector: int
    sample: int
    made: int
    working: int
    rows: int
    room: int
    copies: int = 0
    checked: int = 0

    def each(self, tapes: float) -> float:
        """Return the bytes at a time for each sample of a piece, without vectors; ``tapes`` are kept on the way."""
        return max(self.made, tapes * self.sample + self.working) + self.copies

    def least(self) -> int:
        """Return the largest number of bytes at a time, without what is kept."""
        return VECTORS * self.vector + max(round(self.each(PER_PRODUCT) * self.rows), self.checked)

    def peak(self) -> int:
        """Return the largest number of bytes at a time."""
        return max(self.least(), VECTORS * self.vector + self.room)


def require_graph(product: Callable[[], object], vector: int, limit: int) -> None:
    """Refuse a product by torch's double backward pass that a memory budget does not hold.

    Args:
        product: computes one for the first piece, on tensors that have shapes and no numbers.
        vector: bytes of a flat vector. The comparison makes a vector and a product of its own.
        limit: the budget.

    Raises:
        CurvatureError: if the budget is too small.
    """
    with LiveBytes() as live, suppress(Exception):  # what fails here fails again on numbers, and is told there
        product()
    needed = live.most + 2 * VECTORS * vector
    if needed > limit:
        raise CurvatureError(
            f"to compare a tape with torch's graph takes {needed:,} bytes at a time, and the memory budget "
            f"is {limit:,}. Pass `memory={needed}` or more."
        )
