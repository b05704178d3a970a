"""Data of any form become the same batches, read once."""

from __future__ import annotations

import random
from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from landscape.errors import TaskError
from landscape.objective.batches import split_batches
from landscape.objective.reading import read_batches, untouched_rng

X = torch.arange(50.0).reshape(10, 5)
Y = torch.arange(10) % 3
Pair = namedtuple("Pair", "inputs target")


class Encoding(UserDict):
    """A mapping that is not a dict, as tokenizers return."""


class Thing:
    """A batch that is neither a tensor nor a container."""

    def __init__(self, x, y):
        self.x, self.y, self.note, self.me = x, y, object(), self


class Noisy(Dataset):
    """Augmentation that draws from all three global generators."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return X[i] + torch.rand(()) + random.random() + np.random.rand(), int(Y[i])  # noqa: NPY002


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def pieces(*sizes):
    return list(zip(X.split(sizes), Y.split(sizes), strict=True))


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        (X.numpy().astype(">f4"), Y.numpy()),
        pieces(4, 4, 2),
        tuple(pieces(5, 5)),
        [list(pair) for pair in pieces(4, 4, 2)],
        [(x.numpy(), y.numpy()) for x, y in pieces(4, 4, 2)],
        [Pair(x, y) for x, y in pieces(4, 4, 2)],
        TensorDataset(X, Y),
        Stream(),
        DataLoader(TensorDataset(X, Y), batch_size=3),
        [*pieces(9, 1)],
    ],
    ids=[
        "tensors",
        "arrays",
        "big-endian",
        "pairs",
        "tuple",
        "lists",
        "pairs of arrays",
        "named",
        "dataset",
        "stream",
        "loader",
        "uneven",
    ],
)
def test_every_form_of_the_same_data_is_the_same_data(data):
    read = read_batches(data)
    assert read.samples == 10
    assert not read.notes
    assert len(read.batches) == 1  # all alike, so joined
    batch = read.batches[0]
    assert torch.equal(batch.inputs[0], X)
    assert torch.equal(batch.target, Y)
    assert batch.named == {}
    # lists and tuples, whose items are numbered alike, hash alike
    assert read.digest == read_batches((X, Y)).digest


def test_generator_is_read_once():
    read = read_batches(pair for pair in pieces(4, 4, 2))
    assert (read.samples, read.notes) == (10, ())


@pytest.mark.parametrize("make", [dict, Encoding])
@pytest.mark.parametrize("key", ["labels", "label", "targets", "target", "y"])
def test_mappings_keep_their_class_and_have_the_target_told_apart(make, key):
    whole = make({"x": X, key: Y})
    parts = [make({"x": x, key: y}) for x, y in pieces(4, 4, 2)]
    for data in (whole, parts):
        (batch,) = read_batches(data).batches
        assert list(batch.named) == ["x"]
        assert batch.inputs == ()
        assert type(batch.raw) is make
        assert torch.equal(batch.named["x"], X)
        assert torch.equal(batch.target, Y)
    assert read_batches(whole).digest == read_batches(parts).digest


def test_batches_that_differ_in_shape_stay_apart_and_are_still_cut():
    padded = [(torch.zeros(4, 7, dtype=torch.long), Y[:4]), (torch.zeros(3, 9, dtype=torch.long), Y[4:7])]
    read = read_batches(padded)
    assert [batch.samples for batch in read.batches] == [4, 3]
    assert [batch.samples for batch in split_batches(read.batches, 3)] == [3, 1, 3]


def test_batches_can_be_kept_as_they_came():
    read = read_batches(pieces(4, 4, 2), join=False)
    assert [batch.samples for batch in read.batches] == [4, 4, 2]
    # where the batches matter, other batches are other data
    assert read.digest != read_batches(pieces(5, 5), join=False).digest
    assert read_batches(pieces(4, 4, 2)).digest == read_batches(pieces(5, 5)).digest


def test_digest_tells_apart_what_has_the_same_bytes():
    same = [X, X.reshape(10, 1, 5), X.view(torch.int32)]
    assert len({read_batches((x, Y)).digest for x in same}) == 3


@pytest.mark.parametrize("size", [1, 3, 5, 10, 999])
def test_cut_pieces_hold_every_sample_once_and_in_order(size):
    for data in ((X, Y), {"x": X, "labels": Y}, Pair(X, Y), [Pair(X, Y)], [(X, X + 1, Y)]):
        parts = split_batches(read_batches(data).batches, size)
        assert sum(part.samples for part in parts) == 10
        assert max(part.samples for part in parts) == min(size, 10)
        assert torch.equal(torch.cat([part.target for part in parts]), Y)
        first = [next(iter([*part.inputs, *part.named.values()])) for part in parts]
        assert torch.equal(torch.cat(first), X)


@pytest.mark.parametrize("most", [1, 4, 6, 10, 11])
def test_max_samples_cuts_exactly(most):
    for data in ((X, Y), pieces(4, 4, 2), DataLoader(TensorDataset(X, Y), batch_size=4), {"x": X, "y": Y}):
        read = read_batches(data, max_samples=most)
        assert read.samples == min(most, 10)
        assert torch.equal(torch.cat([batch.target for batch in read.batches]), Y[:most])


def test_max_samples_reads_no_further_than_it_must():
    def endless():
        while True:
            yield X, Y

    assert read_batches(endless(), max_samples=25).samples == 25


def test_objects_stay_whole_and_are_hashed_by_what_they_hold():
    read = read_batches([Thing(x, y) for x, y in pieces(4, 4, 2)])
    assert [batch.samples for batch in read.batches] == [4, 4, 2]
    assert isinstance(read.batches[0].raw, Thing)
    assert len(split_batches(read.batches, 2)) == 3
    # equal in another process, though every object has an address of its own
    assert read.digest == read_batches([Thing(x, y) for x, y in pieces(4, 4, 2)]).digest
    assert read.digest != read_batches([Thing(x + 1, y) for x, y in pieces(4, 4, 2)]).digest
    assert read_batches([Thing(x, y) for x, y in pieces(4, 4, 2)], max_samples=9).samples == 8


@pytest.mark.parametrize(
    "data",
    [
        DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
        DataLoader([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)], batch_size=4, shuffle=True),
        DataLoader(
            TensorDataset(X, Y),
            batch_size=4,
            shuffle=True,
            collate_fn=lambda rows: [[torch.stack([row[0] for row in rows])]],
        ),
        Noisy(),
    ],
)
def test_data_that_change_are_noted(data):
    torch.manual_seed(0)
    (note,) = read_batches(data).notes
    assert "shuffling or augmentation" in note
    assert "Pass a loader without shuffling or augmentation" in note


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_reading_leaves_every_random_state_alone(own, shuffle):
    generator = torch.Generator().manual_seed(3) if own else None
    loader = DataLoader(Noisy(), batch_size=4, shuffle=shuffle, generator=generator)

    def states():
        own_state = generator.get_state().tolist() if generator else None
        numpy = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2:], own_state

    before = states()
    read_batches(loader)
    assert states() == before


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("draw", ["standard_normal", "random_sample", "get_bit_generator"])
def test_numpys_state_is_restored(draw, kept, bits):
    """Normals come in pairs: numpy keeps the second one for the next call, outside of its generator."""
    own, state = np.random.get_bit_generator(), np.random.get_state()  # noqa: NPY002
    np.random.set_bit_generator(bits(0))
    try:
        for _ in range(kept):
            np.random.standard_normal()  # noqa: NPY002
        before = repr(np.random.get_state(legacy=False))  # noqa: NPY002
        with untouched_rng():
            getattr(np.random, draw)()
        assert repr(np.random.get_state(legacy=False)) == before  # noqa: NPY002
    finally:
        np.random.set_bit_generator(own)
        np.random.set_state(state)  # noqa: NPY002


def test_random_states_survive_data_that_fail():
    def broken():
        yield X + torch.rand(()), Y
        raise OSError("disk on fire")

    before = torch.get_rng_state()
    with pytest.raises(TaskError, match=r"batch 2 of the data cannot be read: OSError: disk on fire \(test_batches.py"):
        read_batches(broken())
    assert torch.equal(torch.get_rng_state(), before)


def test_floating_inputs_take_the_dtype_and_nothing_else_does():
    soft = torch.rand(10, 3, dtype=torch.float64)
    (batch,) = read_batches([(X.double(), Y.int(), soft)], dtype=torch.float16).batches
    assert [item.dtype for item in batch.inputs] == [torch.float16, torch.int32]
    assert batch.target.dtype == torch.float64
    (batch,) = read_batches({"ids": Y, "mask": X > 3, "x": X, "labels": soft}, dtype=torch.float64).batches
    assert [item.dtype for item in batch.named.values()] == [torch.int64, torch.bool, torch.float64]
    nested = [(X, {"boxes": soft})]
    assert read_batches(nested, dtype=torch.float16).batches[0].target["boxes"].dtype == torch.float64


def test_read_only_arrays_are_copied_without_a_warning(recwarn):
    fixed = X.numpy().copy()
    fixed.flags.writeable = False
    assert torch.equal(read_batches((fixed[::-1], Y.numpy())).batches[0].inputs[0], X.flip(0))
    (kept,) = read_batches((fixed, Y.numpy())).batches[0].inputs
    assert torch.equal(kept, X)
    assert kept.data_ptr() != fixed.ctypes.data
    assert not recwarn.list


@pytest.mark.parametrize("data", [[], (X[:0], Y[:0]), iter(()), {"x": X[:0]}, TensorDataset(X[:0], Y[:0])])
def test_empty_data_are_refused(data):
    with pytest.raises(TaskError, match="hold no sample"):
        read_batches(data)


def test_empty_batches_are_left_out():
    read = read_batches([(X[:0], Y[:0]), (torch.zeros(3, 7), Y[:3])])
    assert [batch.samples for batch in read.batches] == [3]


@pytest.mark.parametrize(("data", "word"), [(7, "int arrived"), ((X, Y[:3]), "lengths differ: 0: 10, 1: 3")])
def test_what_is_no_data_is_refused(data, word):
    with pytest.raises(TaskError, match=word):
        read_batches(data)
