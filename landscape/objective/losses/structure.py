"""The tensors in a model's output of any structure, and the same structure with other tensors in their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

from torch import Tensor


def tensors_of(output: Any, *, whole: bool = True) -> list[Tensor]:
    """Return the floating-point tensors in an output, in order.

    It looks into mappings, tuples and lists, and into the attributes of the output itself if it is another object.

    Args:
        output: the output.
        whole: whether this is the output itself, not a part of one.

    >>> import torch
    >>> [len(item) for item in tensors_of({"logits": torch.zeros(2), "more": (torch.zeros(3), torch.arange(4))})]
    [2, 3]
    """
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    return [tensor for _, part in _parts(output, whole=whole) for tensor in tensors_of(part, whole=False)]


def with_tensors(output: Any, tensors: list[Tensor]) -> Any:
    """Return the output with these in the places of :func:`tensors_of`."""
    return _rebuilt(output, iter(tensors), whole=True)


def _rebuilt(output: Any, tensors: Iterator[Tensor], *, whole: bool) -> Any:
    if isinstance(output, Tensor):
        return next(tensors) if output.is_floating_point() else output
    parts = [(name, _rebuilt(part, tensors, whole=False)) for name, part in _parts(output, whole=whole)]
    if isinstance(output, tuple | list):
        items = [part for _, part in parts]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    if not parts:
        return output
    other = copy(output)
    for name, part in parts:
        if isinstance(output, Mapping):
            other[name] = part  # an output of transformers sets its attribute too
        else:
            object.__setattr__(other, name, part)
    return other


def _parts(output: Any, *, whole: bool) -> list[tuple[Any, Any]]:
    """Return the parts of a structure by name; none of anything else."""
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, tuple | list):
        return list(enumerate(output))
    return list(getattr(output, "__dict__", {}).items()) if whole else []
