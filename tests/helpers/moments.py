"""At which moments a test stops what it could stop anywhere."""

from __future__ import annotations


def some(count: int, most: int = 4) -> list[int]:
    """The first and the last of ``count`` moments, and a few spread between them."""
    return sorted({round(step * (count - 1) / (most - 1)) for step in range(most)})
