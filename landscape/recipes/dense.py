"""The hidden layers of the dense recipes."""

from __future__ import annotations

from collections.abc import Sequence

from landscape.errors import TaskError


def hidden_widths(usual: Sequence[int], width: int | None, depth: int | None) -> tuple[int, ...]:
    """Return the widths of the hidden layers: the recipe's own, or ``depth`` layers of ``width`` units.

    Args:
        usual: the recipe's own.
        width: units of each layer; None means the recipe's mean width, rounded.
        depth: number of hidden layers; None means the recipe's.

    Raises:
        TaskError: if a number is below 1.

    >>> hidden_widths((23, 16, 26), None, None), hidden_widths((23, 16, 26), 8, None)
    ((23, 16, 26), (8, 8, 8))
    >>> hidden_widths((23, 16, 27), None, 2)
    (22, 22)
    """
    for name, number in (("width", width), ("depth", depth)):
        if number is not None and number < 1:
            raise TaskError(f"expected a {name} of at least 1, got {number}. Pass `{name}=4`.")
    if width is None and depth is None:
        return tuple(usual)
    return (width or round(sum(usual) / len(usual)),) * (depth or len(usual))


def given(**keywords: int | None) -> dict[str, int]:
    """Return the keywords that have a value: a record holds no others, so that older records stay the same."""
    return {name: value for name, value in keywords.items() if value is not None}
