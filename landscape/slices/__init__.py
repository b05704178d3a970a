"""The loss on lines and planes through the trained point."""

from landscape.slices.slices import slice_1d, slice_2d

__all__ = ["slice_1d", "slice_2d"]
