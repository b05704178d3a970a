"""Samples are counted by targets or by the lengths of lists; where both change, the option is named."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

import landscape as ls
from landscape.errors import TaskError
from landscape.objective import reading
from landscape.objective.counting import candidates, count_samples, is_sample_list
from landscape.objective.reading import read_data

D = torch.float64
IMAGES = [torch.randn(3, 4, 4, dtype=D, generator=torch.Generator().manual_seed(i)) for i in range(10)]
TARGETS = torch.randn(10, 2, dtype=D, generator=torch.Generator().manual_seed(11))
Pair = namedtuple("Pair", "inputs target")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()


def stacked(model: nn.Module, batch) -> Tensor:
    return model(torch.stack([*batch[0]]))


def pieces(of):
    return [of[:4], of[4:8], of[8:]]


ROWS = list(zip(IMAGES, TARGETS, strict=True))
LISTS = {
    "tuples": [(tuple(IMAGES[:4]), TARGETS[:4]), (tuple(IMAGES[4:8]), TARGETS[4:8]), (tuple(IMAGES[8:]), TARGETS[8:])],
    "lists": [(IMAGES[:4], TARGETS[:4]), (IMAGES[4:8], TARGETS[4:8]), (IMAGES[8:], TARGETS[8:])],
    "one batch": [(IMAGES, TARGETS)],
    "targets in a list": [(a, [*b]) for a, b in zip(pieces(IMAGES), pieces(TARGETS), strict=True)],
    "zipped": DataLoader(ROWS, batch_size=4, collate_fn=lambda rows: tuple(zip(*rows, strict=True))),
}


@pytest.mark.parametrize("form", LISTS)
def test_images_in_lists_are_counted_one_by_one(form):
    def loss(output, target):
        return F.mse_loss(output, target if isinstance(target, Tensor) else torch.stack([*target]))

    model = net()
    objective = ls.Objective(model, LISTS[form], loss, forward=stacked)
    assert objective.samples == 10
    assert objective.centre == pytest.approx(F.mse_loss(model(torch.stack(IMAGES)), TARGETS).item(), rel=1e-12)


@pytest.mark.parametrize("form", ["pairs", "images"])
def test_a_batch_may_be_a_list_of_samples(form):
    def loss(output, batch):
        targets = torch.stack([item[1] for item in batch]) if form == "pairs" else torch.zeros_like(output)
        return F.mse_loss(output, targets)

    model = net()
    data = DataLoader(ROWS if form == "pairs" else IMAGES, batch_size=4, collate_fn=list)

    def forward(model, batch):
        return model(torch.stack([item[0] if form == "pairs" else item for item in batch]))

    objective = ls.Objective(model, data, loss, forward=forward)
    assert objective.samples == 10
    targets = TARGETS if form == "pairs" else torch.zeros(10, 2, dtype=D)
    want = F.mse_loss(model(torch.stack(IMAGES)), targets).item()
    assert objective.centre == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (torch.ones(7, 5), 7),
        ((torch.ones(7, 5), torch.ones(7)), 7),
        (Pair(torch.ones(7, 5), torch.ones(7)), 7),
        ((torch.arange(20), torch.arange(0, 20, 4), torch.ones(5)), 5),  # EmbeddingBag
        ((torch.ones(7, 5, 3), torch.ones(5)), 5),  # time-major
        ((torch.ones(30, 3), torch.ones(2, 50), torch.ones(30), torch.ones(4)), 4),  # nodes, edges, graph, target
        ({"x": torch.ones(7, 5, 3), "lengths": torch.ones(5), "y": torch.ones(5)}, 5),
        ({"input_ids": torch.ones(6, 9), "attention_mask": torch.ones(6, 9)}, 6),
        ({"pixel_values": torch.ones(4, 3, 8, 8), "labels": [{}, {}, {}, {}]}, 4),
        ((list(torch.ones(5, 3, 8, 8)), [{"boxes": torch.ones(2, 4)}] * 5), 5),
        (((torch.ones(7, 2), torch.ones(7, 3)), torch.ones(7)), 7),
        ((torch.ones(7, 2), [1, 2, 3, 4, 5, 6, 7]), 7),
        ((pack_padded_sequence(torch.ones(6, 4, 2), [6, 5, 3, 1]), torch.ones(4)), 4),
        ([{"x": torch.ones(3)}, {"x": torch.ones(3)}], 2),
        ([("a text", 1), ("another", 0), ("third", 1)], 3),
        ((torch.ones(8, 3), torch.tensor(0.5)), 1),  # a cloud of points with one target
    ],
)
def test_what_a_batch_holds(raw, count):
    assert candidates(raw)[0] == count


@pytest.mark.parametrize(
    ("raw", "listed"),
    [
        ([(torch.ones(3, 4, 4), 1), (torch.ones(3, 4, 4), 0)], True),
        ((list(torch.ones(5, 3, 8, 8)), [{}] * 5), False),
        (((torch.ones(7), torch.ones(7)), (torch.ones(7), torch.ones(7))), False),
        ((["a", "b"], [0, 1]), False),
        ((torch.ones(3), torch.ones(3)), False),
        (Pair({"x": torch.ones(3)}, {"x": torch.ones(3)}), False),
    ],
)
def test_lists_of_samples_are_told_from_inputs_and_targets(raw, listed):
    assert is_sample_list(raw) == listed


def triplets(*sizes):
    return [(torch.ones(n, 3), torch.zeros(n, 3), -torch.ones(n, 3)) for n in sizes]


def test_lists_of_tensors_are_told_apart_by_the_length_that_changes():
    assert count_samples(triplets(4, 4, 2)) == ([4, 4, 2], False, ())
    assert count_samples([[*torch.ones(n, 3, 4, 4)] for n in (8, 8, 5)]) == ([8, 8, 5], True, ())


def test_an_assumption_that_changes_no_weight_is_noted():
    counts, listed, (note,) = count_samples(triplets(4, 4))
    assert (counts, listed) == ([4, 4], False)
    assert note.startswith("a batch may hold 4 samples or 3; 4 was assumed")
    assert "count_samples=lambda batch" in note


def test_samples_that_cannot_be_told_are_asked_for():
    raws = [[*torch.ones(8, 3, 4, 4)], [*torch.ones(5, 7, 4, 4)]]
    with pytest.raises(
        TaskError, match=r"3 or 8 in the first one, and 7 or 5 in the last one\.\n.*count_samples=lambda"
    ):
        count_samples(raws)
    assert count_samples(raws, len)[0] == [8, 5]
    with pytest.raises(TaskError, match="number of samples of a batch, at least 1, not 'many'"):
        count_samples(raws, lambda batch: "many")


def test_lengths_that_change_elsewhere_are_asked_about():
    """Time-major frames, and a target of flat labels and two lengths, as CTC takes it."""
    sizes = ((3, 7), (5, 8))
    raws = [(torch.ones(12, n, 5), (torch.ones(m), torch.ones(n), torch.ones(n))) for n, m in sizes]
    with pytest.raises(TaskError, match=r"12 or 3 in the first one, and 12 or 3 in the last one\.\n.*count_samples="):
        count_samples(raws)
    assert count_samples(raws, lambda raw: len(raw[1][1]))[0] == [3, 5]
    assert count_samples(raws[:1])[0] == [12]  # one batch: its weight is 1, and a note says so


def test_a_function_counts_the_samples():
    model = nn.EmbeddingBag(11, 3).double()
    tokens, offsets, y = torch.arange(20) % 11, torch.arange(0, 20, 4), torch.arange(5) % 3
    objective = ls.Objective(model, [(tokens, offsets, y)], nn.CrossEntropyLoss(), scope="all")
    assert objective.samples == 5
    assert objective.centre == pytest.approx(F.cross_entropy(model(tokens, offsets), y).item(), rel=1e-12)
    counted = ls.Objective(
        model, [(tokens, offsets, y)], nn.CrossEntropyLoss(), scope="all", count_samples=lambda batch: len(batch[0])
    )
    assert counted.samples == 20


class Tagger(nn.Module):
    """Recurrent over the first axis; a class for every step, or one for the sequence."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.layer, self.head, self.last = nn.LSTM(4, 6), nn.Linear(6, 3), last

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer(x)[0]
        return self.head(hidden[-1] if self.last else hidden)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_time_major_inputs_count_sequences(last, named):
    torch.manual_seed(0)
    model = Tagger(last).double()

    def batch(n):
        return torch.randn(7, n, 4, dtype=D), torch.randint(0, 3, (n,) if last else (7, n))

    data = [batch(5), batch(5), batch(2)]

    def loss(output, target):
        return F.cross_entropy(output.reshape(-1, 3), target.reshape(-1))

    objective = ls.Objective(model, data, "cross_entropy" if named else loss)
    assert objective.samples == 12
    want = sum(loss(model(x), y).item() * n for (x, y), n in zip(data, (5, 5, 2), strict=True)) / 12
    assert objective.centre == pytest.approx(want, rel=1e-12)
    assert any("time-major" in note for note in objective.notes) == (not last)


# Data that cannot be read


class Ragged(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return torch.ones(i + 1, dtype=D), torch.tensor(i % 2)


class Pictures(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return object(), i


@pytest.mark.parametrize("data", [Ragged(), Pictures(), DataLoader(Ragged(), batch_size=3)])
def test_samples_that_cannot_be_stacked_say_what_to_pass(data):
    with pytest.raises(TaskError, match=r"cannot be stacked to a batch(.|\n)*collate_fn=.*forward function"):
        read_data(data)


def test_ragged_samples_run_by_a_collate_function_of_their_own():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, rows):
            return self.layer(torch.stack([row.sum(0, keepdim=True) for row in rows]))

    torch.manual_seed(0)
    model = Sum().double()

    def collate(rows):
        return [x for x, _ in rows], torch.stack([y for _, y in rows])

    objective = ls.Objective(model, DataLoader(Ragged(), batch_size=4, collate_fn=collate))
    want = F.cross_entropy(model([Ragged()[i][0] for i in range(6)]), torch.arange(6) % 2)
    assert objective.centre == pytest.approx(want.item(), rel=1e-12)
    assert objective.samples == 6


def test_endless_data_are_refused_after_a_stated_number_of_batches(monkeypatch):
    monkeypatch.setattr(reading, "MOST_BATCHES", 20)

    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.ones(3), torch.tensor(0)

    def forever():
        while True:
            yield torch.ones(2, 3), torch.zeros(2)

    for data in (forever(), Endless()):
        with pytest.raises(TaskError, match=r"stopped after 20 batches.*\n.*`max_samples=...`"):
            read_data(data)
    assert sum(read_data(forever(), max_samples=100).counts) == 100
    assert len(read_data([(torch.ones(2, 3), torch.zeros(2))] * 30).raws) == 30


def test_a_dataset_without_a_length_is_refused():
    class Unsized(Dataset):
        def __getitem__(self, i):
            return torch.ones(3), 0

    with pytest.raises(TaskError, match="cannot be read in order"):
        read_data(Unsized())


def test_a_first_batch_that_cannot_be_cut_is_named():
    with pytest.raises(TaskError, match=r"`max_samples=3` is less than the first batch holds \(10 samples\)"):
        read_data([(IMAGES, TARGETS)], max_samples=3)
    assert read_data(LISTS["tuples"], max_samples=9).counts == [4, 4]
