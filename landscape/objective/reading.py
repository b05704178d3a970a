"""Read data of any form into a list of batches in memory, once, so that every evaluation sees the same samples."""

from __future__ import annotations

import ctypes
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from landscape.errors import LandscapeError, TaskError, code_place, keeps_running, type_and_line
from landscape.objective.batches import Batch, cut, is_plain, join_batches, make_batch, moved_to, rebuild, split_batches
from landscape.objective.counting import Count, candidates, count_samples, counted, is_list, items_of, length_of
from landscape.objective.digest import raw_bytes

_DATASET_BATCH = 256  # samples that are read from a Dataset at a time
_TWISTER = 4 * (624 + 1)  # bytes of the Mersenne Twister: its words of 32 bits, and the place of the next one
MOST_BATCHES = 10_000  #: batches that are read from an iterable without a length: it may be endless


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


@dataclass(frozen=True)
class Data:
    """The batches as they came.

    Attributes:
        raws: each batch as it is in the data; numpy arrays are tensors, and mappings are dicts.
        counts: number of samples in each.
        listed: whether each batch is a list of samples.
        notes: what a user should know about how the data were read.
        whole: whether batches are neither cut nor joined.
    """

    raws: list[Any]
    counts: list[int]
    listed: bool
    notes: tuple[str, ...]
    whole: bool = False

    def joined(self) -> Data:
        """Return one batch of all that are alike, for :func:`split_batches` to cut; if they differ, the same data."""
        if self.listed or self.whole:
            return self
        raws, counts = join_batches(self.raws, self.counts)
        return replace(self, raws=raws, counts=counts)

    def time_major(self) -> Data:
        """Return the same batches with the second axis of their tensors counted as samples; they are never cut."""
        counts = [next(item for _, item in items_of(raw)).shape[1] for raw in self.raws]
        return replace(self, counts=counts, whole=True)

    def alone(self, place: Callable[[Any], Any], size: int | None = None) -> Batch:
        """Return the first batch, moved by ``place``; as batches of ``size`` samples are cut, if it is given."""
        if size is not None:
            return split_batches([self.joined().alone(place)], size)[0]
        return self._batch(place(self.raws[0]), self.counts[0])

    def first(self, place: Callable[[Any], Any]) -> Batch:
        """Return the first batch; if it holds one sample, several of them together."""
        if self.counts[0] > 1:
            return self.alone(place)
        together = replace(self, raws=self.raws[:8], counts=self.counts[:8]).joined()
        return self._batch(place(together.raws[0]), together.counts[0])

    def batches(self, place: Callable[[Any], Any]) -> Batches:
        """Return the batches, each moved by ``place``."""
        sha = hashlib.sha256()
        for raw in self.raws:
            _feed(sha, raw)
        pairs = zip(self.raws, self.counts, strict=True)
        batches = tuple(self._batch(place(raw), count) for raw, count in pairs)
        return Batches(batches, sum(self.counts), sha.hexdigest(), self.notes)

    def _batch(self, raw: Any, count: int) -> Batch:
        return make_batch(raw, count, listed=self.listed, whole=self.whole)


@contextmanager
def untouched_rng(*generators: torch.Generator) -> Iterator[None]:
    """Restore the random states of torch, numpy, Python and these generators at the end."""
    python = random.getstate()
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - the caller's global state
    words = None if numpy["has_gauss"] else _words_of_numpy()
    states = [generator.get_state() for generator in generators]
    # a GPU that was not used yet has no state, and asking for it would start the GPU
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            if words is None or words != _words_of_numpy():  # else nothing was drawn
                np.random.set_state(numpy)  # noqa: NPY002
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _words_of_numpy() -> bytes | None:
    """Return the memory of numpy's global generator; None if it is of another kind than numpy's own.

    To compare it takes a microsecond, to set the state fifty. A normal that is kept for the next call is not in it.
    """
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]  # public, though its stubs do not say so
    return ctypes.string_at(bits.ctypes.state_address, _TWISTER) if type(bits) is np.random.MT19937 else None


def read_batches(
    data: Any,
    *,
    max_samples: int | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    join: bool = True,
) -> Batches:
    """Read ``data`` once and return its batches: those of :func:`read_data`, joined if all are alike.

    Args:
        data, max_samples: as in :func:`read_data`.
        device: where the batches are kept.
        dtype: dtype of floating-point inputs; targets keep their dtype.
        join: make one batch of all that are alike, for :func:`split_batches` to cut; otherwise keep the batches.
    """
    read = read_data(data, max_samples=max_samples)
    return (read.joined() if join else read).batches(
        lambda raw: moved_to(raw, device, () if dtype is None else (dtype,), None)
    )


def read_data(data: Any, *, max_samples: int | None = None, count: Count | None = None) -> Data:
    """Read ``data`` once.

    Args:
        data: a pair of tensors (inputs, targets), one tensor of inputs, a dict of tensors of equal length, a torch
            Dataset of samples, or an iterable of batches. A batch is a tuple whose last item is the target, a dict (the
            target under ``labels`` or ``targets``), or a tensor without a target. Any other object needs a forward
            function. Numpy arrays become tensors.
        max_samples: stop after this many samples.
        count: batch -> number of samples; by default the number of targets, or the length of a list.

    Raises:
        TaskError: if there is no data, inputs and targets differ in length, samples cannot be stacked, batches do not
            tell how many samples they hold, or an iterable does not end.
    """
    if isinstance(data, Dataset):
        data = _loader(data)
    notes: tuple[str, ...] = ()
    if _is_whole(data):
        raws = [_head(_tensors(data), max_samples)]
    else:
        with untouched_rng(*_generators(data)):
            raws, notes = _read_iterable(data, max_samples, count)
    raws = [raw for raw in raws if not _is_empty(raw)]
    if not raws:
        raise TaskError(
            "the data hold no sample, so there is no loss to measure. Check the data, or `max_samples=...`."
        )
    counts, listed, more = count_samples(raws, count)
    return Data(raws, counts, listed, notes + more)


def _loader(data: Dataset[Any]) -> Any:
    if not isinstance(data, IterableDataset) and not _has_length(data):
        raise TaskError(
            f"the dataset {type(data).__name__} cannot be read in order, since it has no length.\nGive it a method "
            "__len__, or pass a DataLoader with a sampler of its own."
        )
    return DataLoader(data, batch_size=_DATASET_BATCH)


def _is_empty(raw: Any) -> bool:
    if is_list(raw) and not raw:
        return True
    tensors = [item for _, item in items_of(raw) if isinstance(item, Tensor) and item.dim()]
    return bool(tensors) and all(length_of(item) == 0 for item in tensors) and is_plain(raw)


def _is_whole(data: Any) -> bool:
    """Whether ``data`` is the whole data set as tensors, not an iterable of batches."""
    if isinstance(data, Mapping | Tensor | np.ndarray):
        return True
    if isinstance(data, tuple) and any(_is_numbers(item) for item in data):
        raise TaskError(
            "the data are a tuple that holds a list of numbers. A list is not made into a tensor.\nPass tensors or "
            "arrays: data=(torch.tensor(inputs), torch.tensor(targets))."
        )
    return isinstance(data, tuple) and len(data) >= 2 and all(isinstance(item, Tensor | np.ndarray) for item in data)


def _is_numbers(item: Any) -> bool:
    """Whether an item is a list of numbers, or of lists of them."""
    while isinstance(item, list) and item:
        item = item[0]
        if isinstance(item, int | float):
            return True
    return False


def _head(data: Any, max_samples: int | None) -> Any:
    """Return the first samples of a whole data set, after a check that all tensors have one row per sample."""
    lengths = {name: length_of(item) for name, item in items_of(data) if isinstance(item, Tensor) and item.dim()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise TaskError(
            f"inputs and targets must have one entry per sample, but their lengths differ: {shown}.\nIf they are one "
            "batch whose tensors differ in length, pass a list with this batch: data=[batch]."
        )
    return data if max_samples is None else cut(data, 0, max_samples)


def _tensors(raw: Any) -> Any:
    """Return a batch with numpy arrays of numbers as tensors."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "biuf":
        return torch.from_numpy(np.require(raw, raw.dtype.newbyteorder("="), ["C", "W"]))
    if isinstance(raw, Mapping) or is_list(raw):
        return rebuild(raw, [_tensors(item) for _, item in items_of(raw)])
    return raw


def _generators(data: Any) -> list[torch.Generator]:
    """Return the random generators of a DataLoader and its sampler."""
    owned = [getattr(owner, "generator", None) for owner in (data, getattr(data, "sampler", None))]
    return [generator for generator in owned if isinstance(generator, torch.Generator)]


def _read_iterable(data: Any, max_samples: int | None, count: Count | None) -> tuple[list[Any], tuple[str, ...]]:
    """Return the batches of an iterable, cut at ``max_samples``, and a note if a second pass differs."""
    try:
        iterator = iter(data)
    except TypeError:
        raise TaskError(
            f"the data must be batches: a pair of tensors, a dict of tensors, a Dataset or an iterable such as a "
            f"DataLoader; {type(data).__name__} arrived."
        ) from None
    endless = max_samples is None and not _has_length(data)
    raws: list[Any] = []
    seen = 0
    for raw in map(_tensors, _collated(iterator)):
        if endless and len(raws) == MOST_BATCHES:
            raise TaskError(
                f"reading stopped after {MOST_BATCHES:,} batches: the data have no length, so they may be endless, and "
                "all batches are kept in memory.\nPass `max_samples=...`, or a list of batches."
            )
        size = candidates(raw)[0] if count is None else counted(count, raw)
        if max_samples is not None and seen + size > max_samples:
            if not is_plain(raw) or len(next(iter(items_of(raw)))[1]) != size:
                if not raws:
                    raise TaskError(
                        f"`max_samples={max_samples}` is less than the first batch holds ({size:,} samples), and this "
                        "batch cannot be cut. Pass a larger `max_samples=...`, or smaller batches."
                    )
                break
            raw = cut(raw, 0, max_samples - seen)
            size = max_samples - seen
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


def _has_length(data: Any) -> bool:
    try:
        len(data)
    except (TypeError, NotImplementedError):  # a DataLoader of a stream has the method, and no length
        return False
    return True


def _collated(iterator: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches; what the user's data raise is an error that says where."""
    number = 0
    while True:
        number += 1
        try:
            raw = keeps_running(next)(iterator)
        except StopIteration:
            return
        except LandscapeError:
            raise
        except Exception as error:
            if "default_collate" in str(error) or "stack expects each tensor" in str(error):
                raise TaskError(
                    f"the samples of the dataset cannot be stacked to a batch: {type_and_line(error)}\n"
                    "Give the dataset a transform that makes tensors of equal shape. Or pass a "
                    "DataLoader(dataset, batch_size=..., collate_fn=...) and a forward function for its batches."
                ) from error
            raise TaskError(
                f"batch {number} of the data cannot be read: {type_and_line(error)}{code_place(error)}\n"
                "The dataset or its loader raised this. Try it without landscape: for batch in data: pass."
            ) from error
        yield raw


def _same(first: Any, second: Any) -> bool:
    """Whether the second pass begins with the same batch; the first one may be shorter."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if first.layout != torch.strided or second.layout != torch.strided:
            return _shape(first) != _shape(second) or raw_bytes(first).tobytes() == raw_bytes(second).tobytes()
        return torch.equal(first, second[: len(first)] if first.dim() and second.dim() else second)
    if (isinstance(first, Mapping) or is_list(first)) and (isinstance(second, Mapping) or is_list(second)):
        pairs = zip(items_of(first), items_of(second), strict=False)
        return all(name == other and _same(one, two) for (name, one), (other, two) in pairs)
    return True


def _shape(tensor: Tensor) -> Any:
    """Return the shape of a tensor, or those of its ragged parts."""
    return [tuple(part.shape) for part in tensor.unbind()] if tensor.is_nested else tuple(tensor.shape)


def _feed(sha: Any, raw: Any) -> None:
    """Add a batch to a hash: every tensor's dtype, shape and bytes, and plain values."""
    if isinstance(raw, Tensor):
        sha.update(f"{raw.dtype} {_shape(raw)}".encode())
        sha.update(raw_bytes(raw))
    elif isinstance(raw, Mapping | tuple | list):
        for name, item in raw.items() if isinstance(raw, Mapping) else enumerate(raw):
            sha.update(str(name).encode())
            _feed(sha, item)
    elif isinstance(raw, str | int | float | None):
        sha.update(repr(raw).encode())
    else:  # of an object only what it holds: its repr may name an address, and its attributes may form a circle
        held = getattr(raw, "__dict__", {}).items()
        _feed(sha, {k: v for k, v in held if isinstance(v, Tensor | Mapping | tuple | list | str | int | float)})
