"""How many samples a batch holds: as many as it has targets, or as its lists are long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from landscape.errors import LandscapeError, TaskError, code_place, keeps_running, type_and_line

TARGET_KEYS = ("labels", "label", "targets", "target", "y", "Y")
Count = Callable[[Any], int]  #: batch as it is in the data -> number of samples


def items_of(raw: Any) -> Iterable[tuple[Any, Any]]:
    """Return the (name, item) pairs of a batch; the names in a tuple or list are positions."""
    if isinstance(raw, Mapping):
        return raw.items()
    return enumerate(raw) if is_list(raw) else [(0, raw)]


def is_list(raw: Any) -> bool:
    """Whether a batch is a tuple or list of items; a packed sequence is one item."""
    return isinstance(raw, tuple | list) and not isinstance(raw, PackedSequence)


def length_of(tensor: Tensor) -> int:
    """Return the number of rows of a tensor that has at least one axis; a nested tensor has no ``len``."""
    return tensor.size(0)


def target_key(raw: Any) -> Any:
    """Return the key or the position of the target; None if the batch has no target."""
    if isinstance(raw, Mapping):
        return next((key for key in TARGET_KEYS if key in raw), None)
    return len(raw) - 1 if is_list(raw) and len(raw) > 1 and not is_sample_list(raw) else None


def target_of_object(raw: Any) -> Tensor | None:
    """Return the target that an object of the user's own, such as a dataclass, holds under a usual name."""
    if isinstance(raw, Mapping | Tensor | PackedSequence) or is_list(raw):
        return None
    held = (getattr(raw, key, None) for key in TARGET_KEYS)
    return next((item for item in held if isinstance(item, Tensor)), None)


def is_sample_list(raw: Any) -> bool:
    """Whether a batch is certainly a list of samples, as ``collate_fn=list`` returns, and not a tuple of inputs.

    >>> import torch
    >>> is_sample_list([(torch.ones(3, 4, 4), 1), (torch.ones(3, 5, 5), 0)])
    True
    >>> is_sample_list((torch.ones(2, 3), torch.ones(2)))
    False
    """
    if not is_list(raw) or len(raw) < 2 or hasattr(raw, "_fields"):
        return False
    if all(isinstance(item, Mapping) for item in raw):
        return len({tuple(item) for item in raw}) == 1
    if all(is_list(item) for item in raw):
        kinds = {tuple(_kind(part) for part in item) for item in raw}
        if len(kinds) > 1 or _are_columns(raw):
            return False
        return len(raw) > 2 or {"row", "value"} <= set(*kinds)
    return not any(isinstance(item, Tensor | Mapping | PackedSequence) or is_list(item) for item in raw)


def _are_columns(raw: Sequence[Sequence[Any]]) -> bool:
    """Whether each list holds one kind of thing, and other lists hold others: images, boxes, labels.

    >>> import torch
    >>> _are_columns([(torch.ones(3, 4, 4),) * 2, (torch.ones(1, 4),) * 2, (torch.ones(1).long(),) * 2])
    True
    """
    kinds = [{(part.dtype, part.dim()) if isinstance(part, Tensor) else type(part) for part in item} for item in raw]
    return all(len(kind) == 1 for kind in kinds) and len({*map(frozenset, kinds)}) > 1


def count_samples(raws: Sequence[Any], count: Count | None = None) -> tuple[list[int], bool, tuple[str, ...]]:
    """Return the number of samples of each batch, whether the batches are lists of samples, and notes.

    A list of tensors may be a list of samples or one of inputs. If the lengths of the lists change from batch to batch,
    they count samples. If the lengths of the tensors change, these do. If no length changes, every batch has the same
    weight, and a note says what was assumed.

    Args:
        raws: all batches.
        count: counts the samples of a batch instead.

    Raises:
        TaskError: if both lengths change, or only those of tensors beside these; or if ``count`` gives no positive
            number.
    """
    if count is not None:
        return [counted(count, raw) for raw in raws], False, ()
    if any(map(is_sample_list, raws)) and all(map(is_list, raws)):
        return [len(raw) for raw in raws], True, ()
    options = [candidates(raw) for raw in raws]
    if all(len(option) == 1 for option in options):
        return [option[0] for option in options], False, ()
    lists = [len(raw) if is_list(raw) else 0 for raw in raws]
    by_list = all(option[1] == n for option, n in zip(options, lists, strict=True) if len(option) > 1)
    first = [option[0] for option in options]
    # a list of one or two samples is told from inputs and a target by the longer lists
    second = [
        option[1] if len(option) > 1 else n if by_list else option[0] for option, n in zip(options, lists, strict=True)
    ]
    lengths_vary = len({tuple(_all_lengths(raw)) for raw in raws}) > 1
    if len(set(first)) == len(set(second)) == 1 and not lengths_vary:
        note = (
            f"a batch may hold {first[0]:,} samples or {second[0]:,}; {first[0]:,} was assumed. If that is wrong, pass "
            "count_samples=lambda batch: ..."
        )
        return first, first == lists, (note,)
    if (len(set(first)) > 1) == (len(set(second)) > 1):
        raise TaskError(
            f"the batches do not tell how many samples they hold: {first[0]:,} or {second[0]:,} in the first one, and "
            f"{first[-1]:,} or {second[-1]:,} in the last one.\nPass a function that counts them: "
            "count_samples=lambda batch: ..."
        )
    chosen = first if len(set(first)) > 1 else second
    return chosen, chosen == lists, ()


def candidates(raw: Any) -> tuple[int, ...]:
    """Return the numbers of samples that a batch may hold, the likeliest first.

    >>> import torch
    >>> candidates((torch.ones(7, 5, 3), torch.ones(5)))  # as many as targets
    (5,)
    >>> candidates((tuple(torch.ones(4, 3, 8, 8)), [{}] * 4))  # as many as images
    (4,)
    """
    if is_sample_list(raw):
        return (len(raw),)
    if not (isinstance(raw, Mapping | Tensor) or is_list(raw)):
        return _of_object(raw)
    key = target_key(raw)
    target = None if key is None else raw[key]
    if isinstance(target, Tensor):
        rows = length_of(target) if target.dim() else 1
        alike = is_list(raw) and len(raw) > 2 and len({_shape_of(item) for item in raw}) == 1
        return (rows, len(raw)) if alike and rows != len(raw) else (rows,)
    options = [option for _, item in items_of(raw) if (option := _lengths(item))]
    shared = tuple(n for n in options[0] if all(n in option for option in options)) if options else ()
    return shared or tuple(dict.fromkeys(n for option in options for n in option))[:2] or (1,)


def _of_object(raw: Any) -> tuple[int, ...]:
    """Return the number of targets of an object, or the length of its first tensor."""
    held = [target_of_object(raw), *getattr(raw, "__dict__", {}).values()]
    rows = _lengths(raw) or next(((length_of(item),) for item in held if isinstance(item, Tensor) and item.dim()), (1,))
    return rows[:1]


def _lengths(item: Any) -> tuple[int, ...]:
    """Return the lengths by which one item of a batch may count samples."""
    if isinstance(item, PackedSequence):
        return (int(item.batch_sizes[0]),)
    if isinstance(item, Tensor):
        return (length_of(item),) if item.dim() else ()
    if not (isinstance(item, Mapping) or is_list(item)):
        return ()
    parts = list(item.values()) if isinstance(item, Mapping) else list(item)
    inner = {len(part) if isinstance(part, Tensor) and part.dim() else 0 for part in parts}
    rows = tuple(inner) if len(inner) == 1 and 0 not in inner else ()
    if isinstance(item, Mapping):
        return rows
    both = (*rows, len(parts)) if len(parts) == 1 else (len(parts), *rows)
    return tuple(dict.fromkeys(both))


def _all_lengths(raw: Any) -> Iterator[int]:
    """Yield the lengths of all tensors of a batch, also of those in tuples, lists and mappings."""
    if isinstance(raw, Tensor) and raw.dim():
        yield length_of(raw)
    elif isinstance(raw, Mapping) or is_list(raw):
        for _, item in items_of(raw):
            yield from _all_lengths(item)


def _shape_of(item: Any) -> Any:
    """Return the shape of a tensor; None of anything else, and of ragged parts."""
    return item.shape if isinstance(item, Tensor) and not item.is_nested else None


def _kind(part: Any) -> str:
    """Return what a part of a sample is: rows of numbers, a single value, or a container."""
    if isinstance(part, Tensor):
        return "row" if part.dim() else "value"
    return type(part).__name__ if isinstance(part, Mapping) or is_list(part) else "value"


def counted(count: Count, raw: Any) -> int:
    """Return what a user's function says of a batch.

    Raises:
        TaskError: if it fails, or returns no positive number.
    """
    try:
        said = keeps_running(count)(raw)
    except LandscapeError:
        raise
    except Exception as error:
        raise TaskError(
            f"count_samples fails on a batch ({type(raw).__name__}): {type_and_line(error)}{code_place(error)}\n"
            "It gets a batch as it is in the data, and must return the number of samples."
        ) from error
    if isinstance(said, Tensor) and said.numel() == 1:
        said = int(said)
    if not isinstance(said, int) or said < 1:
        raise TaskError(f"count_samples must return the number of samples of a batch, at least 1, not {said!r}.")
    return said
