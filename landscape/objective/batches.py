"""Batches in memory: what the model gets, what the loss compares with, and how batches are cut and joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from landscape.objective.counting import TARGET_KEYS, is_list, items_of, length_of, target_key, target_of_object

__all__ = ["TARGET_KEYS", "Batch", "copied", "join_batches", "make_batch", "moved_to", "split_batches", "spread"]


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        raw: the batch as it is in the data, on the device of the objective.
        inputs: the positional arguments of the model.
        named: the arguments of the model by name.
        target: what the loss compares with; None if the batch has no target.
        samples: number of samples.
        whole: whether it cannot be cut: it holds more than tensors with one row per sample.
    """

    raw: Any
    inputs: tuple[Any, ...]
    named: dict[str, Any]
    target: Any
    samples: int
    whole: bool = True


def make_batch(raw: Any, samples: int, *, listed: bool = False, whole: bool = False) -> Batch:
    """Return a batch, separated into inputs and target; a list of samples (``listed``) has no target."""
    key = None if listed else target_key(raw)
    target = target_of_object(raw) if key is None else raw[key]
    rest = [(name, item) for name, item in items_of(raw) if key is None or name != key]
    whole = whole or listed or not is_plain(raw) or _rows(raw) != samples
    if isinstance(raw, Mapping):
        return Batch(raw, (), dict(rest), target, samples, whole)
    return Batch(raw, tuple(item for _, item in rest), {}, target, samples, whole)


def split_batches(batches: Iterable[Batch], size: int) -> tuple[Batch, ...]:
    """Cut every batch into pieces of at most ``size`` samples, if it can be cut."""
    pieces: list[Batch] = []
    for batch in batches:
        if batch.samples <= size or batch.whole:
            pieces.append(batch)
            continue
        for start in range(0, batch.samples, size):
            stop = min(start + size, batch.samples)
            pieces.append(make_batch(cut(batch.raw, start, stop), stop - start))
    return tuple(pieces)


def copied(batch: Batch) -> Batch:
    """Return a batch whose tensors are copies."""
    return _like(batch, _changed(batch.raw, Tensor.clone), batch.samples)


def spread(batch: Batch, most: int) -> Batch:
    """Return a copy of at most this many samples, taken evenly from the batch; all samples if it cannot be cut."""
    if batch.whole or batch.samples <= most:
        return copied(batch)
    chosen = [i * batch.samples // most for i in range(most)]
    return _like(batch, _changed(batch.raw, lambda tensor: tensor[chosen]), most)


def shuffled(batch: Batch, order: Tensor) -> Batch:
    """Return a copy of a batch that can be cut with its samples in another order, shape (samples,)."""
    return _like(batch, _changed(batch.raw, lambda tensor: tensor[order.to(tensor.device)]), batch.samples)


def join_batches(raws: list[Any], counts: list[int]) -> tuple[list[Any], list[int]]:
    """Return one batch if all have the same structure and sample shape, else the batches unchanged."""
    if len(raws) < 2 or not all(is_plain(raw) and _rows(raw) == n for raw, n in zip(raws, counts, strict=True)):
        return raws, counts
    forms = {(type(raw), tuple((name, item.dtype, item.shape[1:]) for name, item in items_of(raw))) for raw in raws}
    if len(forms) > 1:
        return raws, counts
    columns = zip(*([item for _, item in items_of(raw)] for raw in raws), strict=True)
    return [rebuild(raws[0], [torch.cat(column) for column in columns])], [sum(counts)]


def moved_to(
    raw: Any,
    device: torch.device | None,
    dtypes: Sequence[torch.dtype],
    target_dtype: torch.dtype | None,
    *,
    target: bool = False,
) -> Any:
    """Return a batch on ``device``, with floating-point inputs in one of ``dtypes``; other objects keep theirs.

    Args:
        raw: the batch as it is in the data.
        device: None for where it is.
        dtypes: of floating-point inputs. An input in another dtype gets the first of them, if there is one.
        target_dtype: of floating-point targets; None for their own.
        target: whether ``raw`` is a target.
    """
    if isinstance(raw, Tensor):
        cast = target_dtype if target else _one_of(dtypes, raw.dtype)
        return raw.detach().to(device=device, dtype=cast if raw.is_floating_point() else None)
    if isinstance(raw, PackedSequence):
        packed: Any = raw  # torch declares only some of the forms of its method
        return packed.to(device=device, dtype=_one_of(dtypes, raw.data.dtype))
    if isinstance(raw, Mapping) or is_list(raw):
        key = target_key(raw)
        return rebuild(
            raw,
            [
                moved_to(item, device, dtypes, target_dtype, target=target or (key is not None and name == key))
                for name, item in items_of(raw)
            ],
        )
    return raw.to(device) if device is not None and hasattr(raw, "to") else raw


def _one_of(dtypes: Sequence[torch.dtype], own: torch.dtype) -> torch.dtype | None:
    """Return the dtype that an input gets; None for its own."""
    return dtypes[0] if dtypes and own.is_floating_point and own not in dtypes else None


def rebuild(raw: Any, items: Iterable[Any]) -> Any:
    """Return a batch with the structure of ``raw`` and other ``items``; a fixed mapping becomes a dict.

    >>> from collections import UserDict
    >>> rebuild(UserDict(x=1, y=2), [3, 4])
    {'x': 3, 'y': 4}
    >>> type(_).__name__
    'UserDict'
    """
    if isinstance(raw, Mapping):
        named = dict(zip(raw, items, strict=True))
        return named if type(raw) is dict else _mapping_like(raw, named)
    if is_list(raw):
        return type(raw)(*items) if hasattr(raw, "_fields") else type(raw)(items)
    return next(iter(items))


def _mapping_like(raw: Mapping[Any, Any], named: dict[Any, Any]) -> Any:
    """Return a copy of a mapping with other items, since users read some by attribute; else the items as a dict."""
    other: Any
    try:
        other = copy(raw)
        for name, item in named.items():
            other[name] = item
        kept = other is not raw and all(other[name] is item for name, item in named.items())
    except Exception:  # whatever a mapping of the user's own says
        return named
    return other if kept else named


def is_plain(raw: Any) -> bool:
    """Whether a batch consists of dense tensors of one length, so that it can be cut and joined."""
    if not isinstance(raw, Mapping | Tensor) and not is_list(raw):
        return False
    items = [item for _, item in items_of(raw)]
    if not items or not all(isinstance(item, Tensor) and item.dim() > 0 for item in items):
        return False
    return all(is_dense(item) for item in items) and len({length_of(item) for item in items}) == 1


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is neither sparse nor a list of ragged parts."""
    return tensor.layout == torch.strided and not tensor.is_nested


def cut(raw: Any, start: int, stop: int) -> Any:
    """Return the samples from ``start`` to ``stop`` of a batch of tensors with one row per sample."""
    return rebuild(raw, [_rows_of(item, start, stop) for _, item in items_of(raw)])


def _rows_of(tensor: Tensor, start: int, stop: int) -> Tensor:
    if is_dense(tensor):
        return tensor[start:stop]
    chosen = torch.arange(start, min(stop, len(tensor)), device=tensor.device)
    return tensor.to_sparse_coo().index_select(0, chosen).to_sparse(layout=tensor.layout)


def _rows(raw: Any) -> int:
    return next((length_of(item) for _, item in items_of(raw) if isinstance(item, Tensor) and item.dim()), 0)


def _like(batch: Batch, raw: Any, samples: int) -> Batch:
    return make_batch(raw, samples, listed=batch.whole and batch.target is None and is_list(batch.raw))


def _changed(raw: Any, change: Any) -> Any:
    """Return a batch with every tensor changed."""
    if isinstance(raw, Mapping) or is_list(raw):
        return rebuild(raw, [_changed(item, change) for _, item in items_of(raw)])
    return change(raw) if isinstance(raw, Tensor) else raw
