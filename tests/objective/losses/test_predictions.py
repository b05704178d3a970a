"""What the output is: said by the loss or by the user, checked on the data, and the same KL whichever it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import ObjectiveError, TaskError
from landscape.objective import Objective
from landscape.objective.recognition.recognise import NO_KIND

SAMPLES = 30
ENDS = {"logits": nn.Identity, "probabilities": lambda: nn.Softmax(1), "log-probabilities": lambda: nn.LogSoftmax(1)}
BINARY_ENDS = {"logits": nn.Identity, "probabilities": nn.Sigmoid, "log-probabilities": nn.LogSigmoid}


def inputs() -> torch.Tensor:
    return torch.randn(SAMPLES, 4, dtype=torch.float64)


def opaque(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A loss that says nothing about what the output is."""
    return (output.reshape(len(output), -1).T * target.reshape(len(output), -1).T.double()).square().mean()


def radii(objective: Objective) -> np.ndarray:
    found = ls.basin_radii(objective, cutoffs=(0.05,), directions=4, criterion="kl", metric="identity", rtol=1e-6)
    return found.radii


@pytest.mark.parametrize("loss", ["cross_entropy", opaque])
def test_kl_is_the_same_for_every_output_of_one_network(loss):
    head, x, y = nn.Linear(4, 3).double(), inputs(), torch.randint(0, 3, (SAMPLES,))
    found = {
        output: Objective(nn.Sequential(head, end()), (x, y), loss, output=output, scope="all")
        for output, end in ENDS.items()
    }
    expected = radii(found["logits"])
    right = (head(x).argmax(1) == y).double().mean()
    for output, objective in found.items():
        np.testing.assert_allclose(radii(objective), expected, rtol=1e-5, err_msg=output)
        assert objective.accuracy() == pytest.approx(float(right))
    if loss == "cross_entropy":
        assert [o.centre for o in found.values()] == pytest.approx([F.cross_entropy(head(x), y).item()] * 3, rel=1e-10)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", opaque])
def test_kl_of_yes_or_no_is_the_same_for_every_output(loss):
    head, x, y = nn.Linear(4, 2).double(), inputs(), torch.randint(0, 2, (SAMPLES, 2)).double()
    found = {
        output: Objective(nn.Sequential(head, end()), (x, y), loss, output=output, scope="all")
        for output, end in BINARY_ENDS.items()
    }
    expected, right = radii(found["logits"]), ((head(x) > 0) == (y == 1)).double().mean()
    for output, objective in found.items():
        np.testing.assert_allclose(radii(objective), expected, rtol=1e-5, err_msg=output)
        assert objective.accuracy() == pytest.approx(float(right))


def test_torchs_losses_say_what_the_output_is():
    head, x, y = nn.Linear(4, 3).double(), inputs(), torch.randint(0, 3, (SAMPLES,))
    expected = radii(Objective(head, (x, y), nn.CrossEntropyLoss(), scope="all"))
    network = nn.Sequential(head, nn.LogSoftmax(1))
    np.testing.assert_allclose(radii(Objective(network, (x, y), nn.NLLLoss(), scope="all")), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("output", "end", "words"),
    [
        ("probabilities", nn.Identity(), "must sum to 1 in each row"),
        ("log-probabilities", nn.Identity(), "the exponentials of its values must sum to 1 in each row"),
        ("logits", nn.Softmax(1), r"(?s)at least 0 and sum to 1.*`output='probabilities'`"),
    ],
)
def test_an_output_that_is_something_else_is_refused(output, end, words):
    data = inputs(), torch.randint(0, 3, (SAMPLES,))
    with pytest.raises(TaskError, match=words):
        Objective(nn.Sequential(nn.Linear(4, 3), end).double(), data, output=output)


def test_an_option_that_the_loss_contradicts_or_nobody_knows():
    data = inputs(), torch.randint(0, 3, (SAMPLES,))
    with pytest.raises(TaskError, match="takes logits, and the output is said to be probabilities"):
        Objective(nn.Linear(4, 3).double(), data, nn.CrossEntropyLoss(), output="probabilities")
    with pytest.raises(TaskError, match="Pass one of logits, probabilities, log-probabilities"):
        Objective(nn.Linear(4, 3).double(), data, output="scores")


def test_a_loss_of_logits_on_probabilities_gets_a_note():
    data = inputs(), torch.randint(0, 3, (SAMPLES,))
    (note,) = Objective(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)).double(), data).notes
    assert "sum to 1, as probabilities do, but they are read as logits" in note
    assert not Objective(nn.Linear(4, 3).double(), data).notes


def test_a_loss_of_logits_on_sigmoids_gets_a_note():
    data = inputs(), torch.randint(0, 2, (SAMPLES, 2))
    (note,) = Objective(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()).double(), data, "bce").notes
    assert "between 0 and 1, as probabilities do, but they are read as logits" in note
    assert not Objective(nn.Linear(4, 2).double(), data, "bce").notes


def test_the_first_of_several_tensors_is_read_and_noted():
    class Several(nn.Module):
        def __init__(self, hidden) -> None:
            super().__init__()
            self.layer, self.hidden = nn.Linear(4, 3), hidden

        def forward(self, x):
            logits = self.layer(x)
            return logits, self.hidden(logits)

    data = inputs(), torch.randint(0, 3, (SAMPLES,))
    (note,) = Objective(Several(lambda z: z.sin()).double(), data).notes
    assert "returns 2 things; the first, of shape (8, 3)" in note
    assert not Objective(Several(lambda z: z.sin()[None]).double(), data).notes


def test_numbers_have_no_kl_and_no_accuracy():
    objective = Objective(nn.Linear(4, 2).double(), (inputs(), torch.randn(SAMPLES, 2)), "mse")
    assert objective.accuracy() is None
    with pytest.raises(ObjectiveError, match="`criterion='rise'`"):
        objective.centre_of("kl")


def test_a_reconstruction_is_read_as_yes_or_no():
    """A variational autoencoder: (reconstruction, mean), and a loss of its own on the inputs."""

    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inward, self.outward = nn.Linear(4, 2), nn.Linear(2, 4)

        def forward(self, x):
            mean = self.inward(x)
            return torch.sigmoid(self.outward(mean)), mean

    def loss(output, target):
        return F.binary_cross_entropy(output[0], target, reduction="sum") / len(target) + output[1].square().mean()

    x = inputs().sigmoid()
    objective = Objective(Autoencoder().double(), (x, x), loss, output="probabilities", scope="all")
    with pytest.raises(ObjectiveError, match="does not say what the output is"):
        Objective(Autoencoder().double(), (x, x), loss, scope="all").centre_of("kl")
    point = objective.theta + 0.1
    moved = Autoencoder().double()
    moved.load_state_dict(objective.layout.views(point))
    p, q = objective.program.model(x)[0].detach(), moved(x)[0].detach()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    with objective.running():
        (found,) = objective.along((point - objective.theta)[None], np.ones(1), criterion="kl").values
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_rows_that_nothing_explains_get_a_note():
    x = inputs()
    objective = Objective(nn.Linear(4, 3).double(), (x, x[:, :1]), opaque, output="logits")
    assert NO_KIND in objective.notes


def test_the_description_holds_what_a_user_said():
    data = inputs(), torch.randint(0, 3, (SAMPLES,))
    assert Objective(nn.Linear(4, 3).double(), data).describe()["output"] is None
    assert Objective(nn.Linear(4, 3).double(), data, output="logits").describe()["output"] == "logits"
