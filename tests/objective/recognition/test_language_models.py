"""Causal language models: labels that are the inputs are moved by one position, as in the model's own loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.models import CausalLM
from landscape.errors import TaskError
from landscape.objective import Objective

ROWS, LENGTH = 12, 7


def sentences() -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens, and labels that leave out another number in each row."""
    ids = torch.randint(0, 11, (ROWS, LENGTH))
    labels = ids.clone()
    for row in range(ROWS):
        labels[row, : row % 5] = -100
    return ids, labels


def expected(model: nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return loss and accuracy over all labels, position i against label i + 1."""
    logits, moved = model(ids).logits[:, :-1], labels[:, 1:]
    kept = moved != -100
    loss = F.cross_entropy(logits[kept], moved[kept])
    return float(loss), float((logits.argmax(-1) == moved)[kept].double().mean())


@pytest.mark.parametrize("loss", ["model", "cross_entropy", nn.CrossEntropyLoss(), "own function"])
@pytest.mark.parametrize("form", ["dict", "pair"])
@pytest.mark.parametrize("size", [None, 4])
def test_loss_and_accuracy_of_the_next_token(loss, form, size):
    def of_output(output, target):
        return F.cross_entropy(output.logits[:, :-1].flatten(0, 1), target[:, 1:].flatten())

    model, (ids, labels) = CausalLM().double(), sentences()
    data = {"input_ids": ids, "labels": labels} if form == "dict" else (ids, labels)
    objective = Objective(model, data, of_output if loss == "own function" else loss, batch_size=size)
    loss_there, accuracy = expected(model, ids, labels)
    assert objective.centre == pytest.approx(loss_there, rel=1e-10)
    assert objective.accuracy() == pytest.approx(accuracy, rel=1e-12)


def test_the_shift_is_noted():
    ids, labels = sentences()
    shifted = Objective(CausalLM(), {"input_ids": ids, "labels": labels}, "cross_entropy")
    assert any("entry i + 1 of the labels" in note for note in shifted.notes)


def test_labels_that_were_moved_already_stay():
    model, (ids, _) = CausalLM().double(), sentences()
    objective = Objective(model, (ids[:, :-1], ids[:, 1:]), "cross_entropy")
    assert objective.centre == pytest.approx(expected(model, ids, ids)[0], rel=1e-10)
    assert not objective.notes


def test_as_many_positions_as_words():
    model, ids = CausalLM(LENGTH).double(), torch.randint(0, LENGTH, (ROWS, LENGTH))
    objective = Objective(model, {"input_ids": ids, "labels": ids}, "cross_entropy")
    loss, accuracy = expected(model, ids, ids)
    assert (objective.centre, objective.accuracy()) == pytest.approx((loss, accuracy), rel=1e-10)


def test_a_forward_that_passes_the_labels_on():
    model, (ids, labels) = CausalLM().double(), sentences()
    data = {"input_ids": ids, "labels": labels}
    objective = Objective(model, data, "cross_entropy", forward=lambda m, b: m(**b))
    assert objective.centre == pytest.approx(expected(model, ids, labels)[0], rel=1e-10)


def test_a_forward_of_ones_own_on_a_causal_model():
    class TinyForCausalLM(CausalLM):
        pass

    ids, labels = sentences()
    data = {"input_ids": ids, "labels": labels}
    model = TinyForCausalLM().double()
    objective = Objective(model, data, "cross_entropy", forward=lambda m, b: m(b["input_ids"]).logits)
    assert objective.centre == pytest.approx(expected(model, ids, labels)[0], rel=1e-10)


def test_a_model_that_fills_in_its_own_inputs_is_not_shifted():
    class Masked(CausalLM):
        def forward(self, input_ids, labels=None):
            output = super().forward(input_ids)
            if labels is not None:
                output.loss = F.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
            return output

    model, (ids, labels) = Masked().double(), sentences()
    objective = Objective(model, {"input_ids": ids, "labels": labels}, "cross_entropy")
    kept = labels != -100
    assert objective.centre == pytest.approx(float(F.cross_entropy(model(ids).logits[kept], labels[kept])), rel=1e-10)
    assert not objective.notes


def test_a_model_without_a_loss_of_its_own_gets_a_note():
    model, (ids, _) = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)), sentences()
    (note,) = Objective(model, (ids, ids), "cross_entropy").notes
    assert "the targets are the model's own inputs" in note


def test_kl_leaves_out_the_positions_that_the_loss_leaves_out():
    model, (ids, labels) = CausalLM().double(), sentences()
    objective = Objective(model, {"input_ids": ids, "labels": labels}, "model")
    point = objective.theta + 0.1 * torch.randn(objective.layout.size, dtype=torch.float64)
    moved = CausalLM().double()
    moved.load_state_dict(objective.layout.views(point))
    kept = labels[:, 1:] != -100
    p, q = (F.log_softmax(each(ids).logits[:, :-1][kept], -1) for each in (model, moved))
    with objective.running():
        (found,) = objective.along((point - objective.theta)[None], torch.ones(1).numpy(), criterion="kl").values
    assert found == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-8)


def test_a_loss_with_more_in_it_needs_the_word_of_the_user():
    class SparseForCausalLM(CausalLM):
        def forward(self, input_ids, labels=None):
            output = super().forward(input_ids, labels)
            if labels is not None:
                output.loss = output.loss + 0.1 * output.logits.square().mean()  # as for a mixture of experts
            return output

    model, (ids, labels) = SparseForCausalLM().double(), sentences()
    data = {"input_ids": ids, "labels": labels}
    assert Objective(model, data, "model").accuracy() is None
    told = Objective(model, data, "model", output="logits")
    assert told.accuracy() == pytest.approx(expected(model, ids, labels)[1], rel=1e-12)
    named = Objective(model, data, "cross_entropy")
    assert named.centre == pytest.approx(expected(model, ids, labels)[0], rel=1e-10)


def test_a_model_that_needs_its_labels_is_told_the_loss():
    class NeedsLabels(CausalLM):
        def forward(self, input_ids, labels=None):
            if labels is None:
                raise ValueError("labels are needed")
            return super().forward(input_ids, labels)

    ids, labels = sentences()
    data = {"input_ids": ids, "labels": labels}
    with pytest.raises(TaskError, match=r"labels are needed(.|\n)*`loss='model'`"):
        Objective(NeedsLabels(), data, "cross_entropy")
    assert Objective(NeedsLabels(), data, "model").accuracy() is not None
