"""Read data of any form into a list of batches in memory, once, so that every evaluation sees the same samples."""

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
from torch.utils.data import DataLoader, Dataset

from landscape.errors import TaskError
from landscape.objective.digest import raw_bytes

TARGET_KEYS = ("labels", "label", "targets", "target", "y", "Y")
_DATASET_BATCH = 256  # samples that are read from a Dataset at a time


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        raw: the batch as it is in the data, on the device of the objective.
        inputs: the positional arguments of the model.
        named: the arguments of the model by name.
        target: what the loss compares with; None if the batch has no target.
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
        digest: SHA-256 of every tensor; if samples were joined, it is the same for any batch size.
        notes: what a user should know about how the data were read.
    """

    batches: tuple[Batch, ...]
    samples: int
    digest: str
    notes: tuple[str, ...]


@contextmanager
def untouched_rng(*generators: torch.Generator) -> Iterator[None]:
    """Restore the random states of torch, numpy, Python and these generators at the end."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the caller's global state
    states = [generator.get_state() for generator in generators]
    # a GPU that was not used yet has no state, and asking for it would start the GPU
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def read_batches(
    data: Any,
    *,
    max_samples: int | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    join: bool = True,
) -> Batches:
    """Read ``data`` once and return its batches.

    Args:
        data: a pair of tensors (inputs, targets), a dict of tensors of equal length, a torch Dataset of samples, or an
            iterable of batches. A batch is a tuple whose last item is the target, a dict (the target under ``labels``
            or ``targets``), a tensor without a target, or any object, which then needs a forward function. Numpy arrays
            become tensors, and mappings of any kind become dicts.
        max_samples: stop after this many samples.
        device: where the batches are kept.
        dtype: dtype of floating-point inputs; targets keep their dtype.
        join: make one batch of all that are alike, for :func:`split_batches` to cut; otherwise keep the batches.

    Raises:
        TaskError: if there is no data, or inputs and targets differ in length.
    """
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=_DATASET_BATCH)
    notes: tuple[str, ...] = ()
    if _is_whole(data):
        raws = [_head(_tensors(data), max_samples)]
    else:
        with untouched_rng(*_generators(data)):
            raws, notes = _read_iterable(data, max_samples)
    raws = _join(raws) if join else raws
    sha = hashlib.sha256()
    for raw in raws:
        _feed(sha, raw)
    batches = tuple(batch for raw in raws if (batch := _batch(_move(raw, device, dtype))).samples)
    samples = sum(batch.samples for batch in batches)
    if samples == 0:
        raise TaskError(
            "the data hold no sample, so there is no loss to measure. Check the data, or `max_samples=...`."
        )
    return Batches(batches, samples, sha.hexdigest(), notes)


def split_batches(batches: Iterable[Batch], size: int) -> tuple[Batch, ...]:
    """Cut every batch into pieces of at most ``size`` samples; a batch without plain tensors stays whole."""
    pieces: list[Batch] = []
    for batch in batches:
        if batch.samples <= size or not _is_plain(batch.raw):
            pieces.append(batch)
            continue
        for start in range(0, batch.samples, size):
            pieces.append(_batch(_slice(batch.raw, start, min(start + size, batch.samples))))
    return tuple(pieces)


def copied(batch: Batch) -> Batch:
    """Return a batch whose tensors are copies."""
    return _batch(_clone(batch.raw))


def _is_whole(data: Any) -> bool:
    """Whether ``data`` is the whole data set as tensors, not an iterable of batches."""
    if isinstance(data, Mapping):
        return True
    return isinstance(data, tuple) and len(data) >= 2 and all(isinstance(item, Tensor | np.ndarray) for item in data)


def _head(data: Any, max_samples: int | None) -> Any:
    """Return the first samples of a whole data set, after a check that all tensors have one row per sample."""
    lengths = {name: len(item) for name, item in _items(data) if isinstance(item, Tensor) and item.dim()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise TaskError(f"inputs and targets must have one entry per sample, but their lengths differ: {shown}.")
    return data if max_samples is None else _slice(data, 0, max_samples)


def _items(raw: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(raw, Mapping):
        return raw.items()
    return enumerate(raw) if isinstance(raw, tuple | list) else [(0, raw)]


def _rebuild(raw: Any, items: Iterable[Any]) -> Any:
    """Return a batch with the structure of ``raw`` and other ``items``; a mapping of any kind becomes a dict."""
    if isinstance(raw, Mapping):
        return dict(zip(raw, items, strict=True))
    if isinstance(raw, tuple | list):
        return type(raw)(*items) if hasattr(raw, "_fields") else type(raw)(items)
    return next(iter(items))


def _tensors(raw: Any) -> Any:
    """Return a batch with numpy arrays of numbers as tensors."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "biuf":
        return torch.from_numpy(np.require(raw, raw.dtype.newbyteorder("="), ["C", "W"]))
    if isinstance(raw, Mapping | tuple | list):
        return _rebuild(raw, [_tensors(item) for _, item in _items(raw)])
    return raw


def _clone(raw: Any) -> Any:
    if isinstance(raw, Mapping | tuple | list):
        return _rebuild(raw, [_clone(item) for _, item in _items(raw)])
    return raw.clone() if isinstance(raw, Tensor) else raw


def _generators(data: Any) -> list[torch.Generator]:
    """Return the random generators of a DataLoader and its sampler."""
    owned = [getattr(owner, "generator", None) for owner in (data, getattr(data, "sampler", None))]
    return [generator for generator in owned if isinstance(generator, torch.Generator)]


def _read_iterable(data: Any, max_samples: int | None) -> tuple[list[Any], tuple[str, ...]]:
    """Return the batches of an iterable, cut at ``max_samples``, and a note if a second pass differs."""
    try:
        iterator = iter(data)
    except TypeError:
        raise TaskError(
            f"the data must be batches: a pair of tensors, a dict of tensors, a Dataset or an iterable such as a "
            f"DataLoader; {type(data).__name__} arrived."
        ) from None
    raws, seen = [], 0
    for raw in map(_tensors, iterator):
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
    if raws and not one_pass and not _same(raws[0], _tensors(next(iter(data), None))):
        return raws, (
            "a second pass over the data gives other samples (shuffling or augmentation). The first pass was kept, so "
            "this run is consistent, but it cannot be resumed or compared. Pass a loader without shuffling or "
            "augmentation.",
        )
    return raws, ()


def _same(first: Any, second: Any) -> bool:
    """Whether the second pass begins with the same batch; the first one may be shorter."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second[: len(first)] if first.dim() and second.dim() else second)
    if isinstance(first, Mapping | tuple | list) and isinstance(second, Mapping | tuple | list):
        pairs = zip(_items(first), _items(second), strict=False)
        return all(name == other and _same(one, two) for (name, one), (other, two) in pairs)
    return True


def _join(raws: list[Any]) -> list[Any]:
    """Return one batch if all have the same structure and sample shape, else the batches unchanged."""
    if len(raws) < 2 or not all(_is_plain(raw) for raw in raws):
        return raws
    forms = {(type(raw), tuple((name, item.dtype, item.shape[1:]) for name, item in _items(raw))) for raw in raws}
    if len(forms) > 1:
        return raws
    rows = zip(*([item for _, item in _items(raw)] for raw in raws), strict=True)
    return [_rebuild(raws[0], [torch.cat(column) for column in rows])]


def _is_plain(raw: Any) -> bool:
    """Whether a batch consists of tensors with one row per sample, so that it can be cut and joined."""
    if not isinstance(raw, Mapping | tuple | list | Tensor):
        return False
    items = [item for _, item in _items(raw)]
    if not items or not all(isinstance(item, Tensor) and item.dim() > 0 for item in items):
        return False
    return len({len(item) for item in items}) == 1


def _length(raw: Any) -> int:
    """Return the number of samples in a batch: the length of its first tensor, or 1 without tensors."""
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
    return _rebuild(raw, [item[start:stop] for _, item in _items(raw)])


def _move(raw: Any, device: torch.device | None, dtype: torch.dtype | None, *, target: bool = False) -> Any:
    """Return a batch on ``device``, with floating-point inputs in ``dtype``; targets and other objects keep theirs."""
    if isinstance(raw, Tensor):
        cast = dtype if raw.is_floating_point() and not target else None
        return raw.detach().to(device=device, dtype=cast)
    if isinstance(raw, Mapping | tuple | list):
        key = _target_key(raw)
        return _rebuild(raw, [_move(item, device, dtype, target=target or name == key) for name, item in _items(raw)])
    return raw.to(device) if device is not None and hasattr(raw, "to") else raw


def _batch(raw: Any) -> Batch:
    """Return the batch, separated into inputs and target."""
    samples = _length(raw)
    key = _target_key(raw)
    target = None if key is None else raw[key]
    rest = [(name, item) for name, item in _items(raw) if key is None or name != key]
    if isinstance(raw, Mapping):
        return Batch(raw, (), dict(rest), target, samples)
    return Batch(raw, tuple(item for _, item in rest), {}, target, samples)


def _target_key(raw: Any) -> Any:
    """Return the key or the position of the target; None if the batch has no target."""
    if isinstance(raw, Mapping):
        return next((key for key in TARGET_KEYS if key in raw), None)
    return len(raw) - 1 if isinstance(raw, tuple | list) and len(raw) > 1 else None


def _feed(sha: Any, raw: Any) -> None:
    """Add a batch to a hash: every tensor's dtype, shape and bytes, and plain values."""
    if isinstance(raw, Tensor):
        sha.update(f"{raw.dtype} {tuple(raw.shape)}".encode())
        sha.update(raw_bytes(raw))
    elif isinstance(raw, Mapping | tuple | list):
        for name, item in _items(raw):
            sha.update(str(name).encode())
            _feed(sha, item)
    elif isinstance(raw, str | int | float | None):
        sha.update(repr(raw).encode())
    else:  # of an object only what it holds: its repr may name an address, and its attributes may form a circle
        held = getattr(raw, "__dict__", {}).items()
        _feed(sha, {k: v for k, v in held if isinstance(v, Tensor | Mapping | tuple | list | str | int | float)})
