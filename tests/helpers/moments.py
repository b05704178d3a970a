"""At which moments a test stops what it could stop anywhere."""

from __future__ import annotations


def some(count: int, most: int = 3) -> list[int]:
    """The first and the last of ``count`` moments, and others spread evenly between them."""
    return sorted({round(step * (count - 1) / (most - 1)) for step in range(most)})
