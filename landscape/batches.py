"""Data of any shape -> a list of batches kept in memory: read once, so that every evaluation sees the same samples."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from landscape.errors import TaskError

TARGET_KEYS = ("labels", "label", "targets", "target", "y", "Y")
_DATASET_BATCH = 256


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        raw: what the data gave, on the objective's device.
        inputs: what a plain model is called with, positional.
        named: what it is called with by name.
        target: what the loss compares with; None where the batch has none.
        samples: number of samples.
    """

    raw: Any
    inputs: tuple[Any, ...]
    named: dict[str, Any]
    target: Any
    samples: int


@dataclass(frozen=True)
class Batches:
    """All the data, read once.

    Attributes:
        batches: the batches.
        samples: number of samples in all.
        digest: SHA-256 of every tensor, the same for any batch size where samples could be joined.
        notes: what a user should know about how the data were read.
    """

    batches: tuple[Batch, ...]
    samples: int
    digest: str
    notes: tuple[str, ...]


@contextmanager
def untouched_rng() -> Iterator[None]:
    """Leave the random states of torch, numpy and Python as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the caller's global state
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def read_batches(
    data: Any, *, max_samples: int | None = None, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Batches:
    """Read ``data`` once and return its batches.

    Args:
        data: a pair of tensors (inputs, targets), a dict of tensors of equal length, a torch Dataset, or an iterable of
            batches: tuples whose last item is the target, dicts (the target under ``labels`` or ``targets``), tensors
            without a target, or any object, which then needs a forward function.
        max_samples: stop after this many samples.
        device: where the batches are kept.
        dtype: dtype of floating-point inputs; targets keep theirs.

    Raises:
        TaskError: where there is no data, or inputs and targets differ in length.
    """
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=_DATASET_BATCH)
    if _is_whole(data):
        raws, notes = [_head(data, max_samples)], ()
    else:
        with untouched_rng():
            raws, notes = _read_iterable(data, max_samples)
    digest = hashlib.sha256()
    joined = _join(raws)
    for raw in joined:
        _feed(digest, raw)
    batches = tuple(_batch(_move(raw, device, dtype)) for raw in joined)
    samples = sum(batch.samples for batch in batches)
    if samples == 0:
        raise TaskError("the data hold no sample, so there is no loss to measure. Check the data, or --max-samples.")
    return Batches(batches, samples, digest.hexdigest(), notes)


def split_batches(batches: Iterable[Batch], size: int) -> tuple[Batch, ...]:
    """Cut every batch into pieces of at most ``size`` samples; batches that hold no plain tensors stay whole."""
    pieces: list[Batch] = []
    for batch in batches:
        if batch.samples <= size or not _is_plain(batch.raw):
            pieces.append(batch)
            continue
        for start in range(0, batch.samples, size):
            pieces.append(_batch(_slice(batch.raw, start, min(start + size, batch.samples))))
    return tuple(pieces)


def _is_whole(data: Any) -> bool:
    """Whether ``data`` is the whole set as tensors, not an iterable of batches."""
    if isinstance(data, Mapping):
        return True
    return isinstance(data, tuple) and len(data) >= 2 and all(isinstance(item, Tensor) for item in data)


def _head(data: Any, max_samples: int | None) -> Any:
    lengths = {name: len(item) for name, item in _items(data) if isinstance(item, Tensor)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise TaskError(f"inputs and targets must have one entry a sample, but their lengths differ: {shown}.")
    return data if max_samples is None else _slice(data, 0, max_samples)


def _items(raw: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(raw, Mapping):
        return raw.items()
    return enumerate(raw) if isinstance(raw, tuple | list) else [(0, raw)]


def _read_iterable(data: Any, max_samples: int | None) -> tuple[list[Any], tuple[str, ...]]:
    """Return the batches of an iterable, cut at ``max_samples``, and a note where a second pass would differ."""
    try:
        iterator = iter(data)
    except TypeError:
        raise TaskError(
            f"the data must be batches: a pair of tensors, a dict of tensors, a Dataset or an iterable such as a "
            f"DataLoader; {type(data).__name__} arrived."
        ) from None
    raws, seen = [], 0
    for raw in iterator:
        size = _length(raw)
        if max_samples is not None and seen + size > max_samples:
            if not _is_plain(raw):
                break
            raw = _slice(raw, 0, max_samples - seen)
            size = _length(raw)
        raws.append(raw)
        seen += size
        if max_samples is not None and seen >= max_samples:
            break
    one_pass = iterator is data or isinstance(data, list | tuple)
    if raws and not one_pass and not _same(raws[0], next(iter(data), None)):
        return raws, (
            "a second pass over the data gives other samples (shuffling or augmentation); the first pass was kept, so "
            "this run is consistent, but it cannot be resumed or compared. Pass a loader without them.",
        )
    return raws, ()


def _same(first: Any, second: Any) -> bool:
    """Whether the second pass begins with the same batch (up to a cut at the first one's length)."""
    for (name, one), (other_name, two) in zip(_items(first), _items(second), strict=False):
        if isinstance(one, Tensor) and isinstance(two, Tensor):
            cut = two[: len(one)] if one.dim() else two
            if name != other_name or one.shape != cut.shape or not torch.equal(one, cut):
                return False
    return True


def _join(raws: list[Any]) -> list[Any]:
    """Return one batch where all are alike (same structure, same sample shape), else the batches as they came."""
    if len(raws) < 2 or not all(_is_plain(raw) for raw in raws):
        return raws
    forms = {(type(raw), tuple((name, item.dtype, item.shape[1:]) for name, item in _items(raw))) for raw in raws}
    if len(forms) > 1:
        return raws
    names = [name for name, _ in _items(raws[0])]
    columns = [torch.cat([dict(_items(raw))[name] for raw in raws]) for name in names]
    if isinstance(raws[0], Mapping):
        return [dict(zip(names, columns, strict=True))]
    return [tuple(columns) if isinstance(raws[0], tuple | list) else columns[0]]


def _is_plain(raw: Any) -> bool:
    """Whether a batch consists of tensors with one row a sample, so that it can be cut and joined."""
    if not isinstance(raw, Mapping | tuple | list | Tensor):
        return False
    items = [item for _, item in _items(raw)]
    if not items or not all(isinstance(item, Tensor) and item.dim() > 0 for item in items):
        return False
    return len({len(item) for item in items}) == 1


def _length(raw: Any) -> int:
    """Return the number of samples in a batch: the length of its first tensor, 1 where it has none."""
    for _, item in _items(raw):
        if isinstance(item, Tensor):
            return len(item) if item.dim() else 1
        if isinstance(item, tuple | list | Mapping):
            return _length(item)
    for item in vars(raw).values() if hasattr(raw, "__dict__") else ():
        if isinstance(item, Tensor) and item.dim():
            return len(item)
    return 1


def _slice(raw: Any, start: int, stop: int) -> Any:
    if isinstance(raw, Mapping):
        return {name: item[start:stop] for name, item in raw.items()}
    return type(raw)(item[start:stop] for item in raw) if isinstance(raw, tuple | list) else raw[start:stop]


def _move(raw: Any, device: torch.device | None, dtype: torch.dtype | None, *, target: bool = False) -> Any:
    """Return a batch on ``device``, its floating-point inputs in ``dtype``; targets and unknown objects keep theirs."""
    if isinstance(raw, Tensor):
        cast = dtype if raw.is_floating_point() and not target else None
        return raw.detach().to(device=device, dtype=cast)
    if isinstance(raw, Mapping):
        key = _target_key(raw)
        return {name: _move(item, device, dtype, target=name == key) for name, item in raw.items()}
    if isinstance(raw, tuple | list) and not hasattr(raw, "_fields"):
        last = len(raw) - 1
        return type(raw)(_move(item, device, dtype, target=0 < i == last) for i, item in enumerate(raw))
    return raw.to(device) if device is not None and hasattr(raw, "to") else raw


def _batch(raw: Any) -> Batch:
    """Return the batch with its inputs told from its target."""
    samples = _length(raw)
    if isinstance(raw, Mapping):
        key = _target_key(raw)
        return Batch(raw, (), {k: v for k, v in raw.items() if k != key}, None if key is None else raw[key], samples)
    if isinstance(raw, tuple | list) and len(raw) > 1:
        return Batch(raw, tuple(raw[:-1]), {}, raw[-1], samples)
    if isinstance(raw, tuple | list):
        return Batch(raw, tuple(raw), {}, None, samples)
    return Batch(raw, (raw,), {}, None, samples)


def _target_key(raw: Mapping[str, Any]) -> str | None:
    return next((key for key in TARGET_KEYS if key in raw), None)


def _feed(digest: Any, raw: Any) -> None:
    """Add a batch to a hash: every tensor's dtype, shape and bytes."""
    if isinstance(raw, Tensor):
        data = raw.detach().cpu().contiguous()
        digest.update(f"{data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy() if data.numel() else b"")
    elif isinstance(raw, Mapping | tuple | list):
        for name, item in _items(raw):
            digest.update(str(name).encode())
            _feed(digest, item)
    elif hasattr(raw, "__dict__"):
        _feed(digest, vars(raw))
    else:
        digest.update(repr(raw).encode())
