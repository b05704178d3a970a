"""What a function says about predictions and its divisor is found on data; if nothing says it, nothing is made up."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.objective.recognition.weighting import HIDDEN

D = torch.float64


def table(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(40, 4, dtype=D), torch.randint(0, classes, (40,))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.classes = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.boxes(x), self.classes(x)


def test_accuracy_is_that_of_the_head_the_loss_reads():
    model, (x, _) = TwoHeads().double(), table()
    y = model(x)[1].argmax(1)
    assert Objective(model, (x, y), lambda out, t: F.cross_entropy(out[1], t)).accuracy() == 1.0


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, t: F.cross_entropy(out[1], t) + out[0].square().mean(),
        lambda out, t: out[0].square().mean(),
        lambda out, t: F.multi_margin_loss(out[1], t, p=2),
    ],
)
def test_a_loss_that_is_none_of_torchs_has_no_accuracy_and_no_kl(loss):
    objective = Objective(TwoHeads().double(), table(), loss)
    assert objective.accuracy() is None
    with pytest.raises(ObjectiveError, match="does not say what the output is"):
        objective.centre_of("kl")


def test_a_sigmoid_output_is_right_above_one_half():
    model, (x, _) = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()).double(), table()
    y = (model(x)[:, 0] > 0.5).double()
    assert Objective(model, (x, y[:, None]), nn.BCELoss()).accuracy() == 1.0
    assert Objective(model, (x, y), lambda p, t: F.binary_cross_entropy(p[:, 0], t)).accuracy() == 1.0


def test_log_probabilities_of_a_function():
    model, (x, _) = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)).double(), table()
    y = model(x).argmax(1)
    objective = Objective(model, (x, y), lambda log_p, t: -log_p[torch.arange(len(t)), t].mean())
    assert objective.accuracy() == 1.0


def test_tokens_left_out_do_not_weigh_in_a_function():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9)).double()
    ids, target = torch.randint(0, 9, (12, 5)), torch.randint(0, 9, (12, 5))
    for row in range(12):
        target[row, row % 5 :] = -100

    def smoothed(output, t):  # none of torch's losses, yet a mean over labels
        return F.cross_entropy(output.flatten(0, 1), t.flatten(), label_smoothing=0.1)

    for loss in (smoothed, lambda output, t: F.cross_entropy(output.flatten(0, 1), t.flatten())):
        expected = float(loss(model(ids), target))
        assert Objective(model, (ids, target), loss, batch_size=5).centre == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("ignored", [255, -1, 0])
def test_pixels_left_out_in_a_function_do_not_weigh_or_count(ignored):
    model, x = nn.Conv2d(2, 3, 1).double(), torch.randn(20, 2, 4, 4, dtype=D)
    y = torch.randint(1, 3, (20, 4, 4))
    for row in range(9, 20):  # the first samples have none
        y[row, : row % 4] = ignored
    kept = y != ignored
    plain = lambda z, t: F.cross_entropy(z, t, ignore_index=ignored)  # noqa: E731
    odd = lambda z, t: F.cross_entropy(z, t, ignore_index=ignored, label_smoothing=0.1)  # noqa: E731
    for loss in (plain, odd):
        objective = Objective(model, (x, y), loss, batch_size=3)
        assert objective.centre == pytest.approx(float(loss(model(x), y)), rel=1e-10)
    objective = Objective(model, (x, y), plain, batch_size=3)
    right = (model(x).argmax(1) == y)[kept]
    assert objective.accuracy() == pytest.approx(float(right.double().mean()))


def test_a_function_may_leave_out_any_class():
    model, (x, y) = nn.Linear(4, 3).double(), table()
    y[30:35] = 254
    loss = lambda z, t: F.cross_entropy(z[t != 254], t[t != 254])  # noqa: E731
    objective = Objective(model, (x, y), loss)
    assert objective.centre == pytest.approx(float(loss(model(x), y)), rel=1e-10)
    assert objective.accuracy() is None
    assert HIDDEN in Objective(model, (x, y), loss, batch_size=8).notes


def test_classes_on_either_axis_are_noted():
    objective = Objective(nn.Linear(4, 5).double(), (torch.randn(8, 5, 4, dtype=D), torch.randint(0, 5, (8, 5))))
    assert any("second axis or on its last" in note for note in objective.notes)


def test_a_function_that_sums_gives_the_sum_over_all_data():
    model, (x, y) = nn.Linear(4, 3).double(), table()
    ragged = [(x[start : start + 7], y[start : start + 7]) for start in range(0, 40, 7)]
    for loss in (lambda z, t: F.cross_entropy(z, t, reduction="sum"), lambda z, t: z[:, 0].square().sum()):
        for data, size in ((ragged, None), ((x, y), 6), ((x, y), None)):
            objective = Objective(model, data, loss, batch_size=size)
            assert objective.centre == pytest.approx(float(loss(model(x), y)), rel=1e-10)
            assert not objective.notes


def test_hidden_weights_are_noted_and_plain_means_are_not():
    model, data = nn.Linear(4, 3).double(), table()
    weight = torch.tensor([0.1, 1.0, 9.0], dtype=D)
    weighted = Objective(model, data, lambda z, y: F.cross_entropy(z, y, weight=weight), batch_size=10)
    assert HIDDEN in weighted.notes
    whole = Objective(model, data, lambda z, y: F.cross_entropy(z, y, weight=weight))
    plain = Objective(model, data, lambda z, y: (z.logsumexp(1) - z[:, 0]).mean(), batch_size=10)
    terms = Objective(model, data, lambda z, y: z.square().sum(1) * weight[y], batch_size=10)
    assert HIDDEN not in [*whole.notes, *plain.notes, *terms.notes]


def test_class_weights_are_noticed_although_halves_of_the_data_hold_the_same_classes():
    """The classes of a batch of 16 come in periods of 4, so its halves alone agree with any divisor."""
    torch.manual_seed(0)
    net, x, y = nn.Linear(4, 4), torch.randn(32, 4), torch.arange(32) % 4
    weight = torch.tensor([0.2, 1.0, 3.0, 9.0])
    objective = Objective(net, (x, y), lambda z, t: F.cross_entropy(z, t, weight=weight), batch_size=5)
    assert HIDDEN in objective.notes
