"""torch's own losses: batches of any size give what torch gives on all data at once."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape import log_volume
from landscape.errors import CurvatureError, TaskError
from landscape.objective import Objective
from landscape.objective.losses.make import make_loss

pytestmark = pytest.mark.filterwarnings("ignore:Using a target size", "ignore:reduction. .mean. divides")

SAMPLES, CLASSES = 30, 3
WEIGHT = torch.tensor([0.1, 1.0, 9.0])


def line(outputs: int = CLASSES) -> nn.Module:
    return nn.Linear(4, outputs).double()


def inputs() -> torch.Tensor:
    return torch.randn(SAMPLES, 4, dtype=torch.float64)


def classes() -> torch.Tensor:
    target = torch.randint(0, CLASSES, (SAMPLES,))
    target[::4] = 1  # one of the ignored classes below
    return target


def soft() -> torch.Tensor:
    return torch.randn(SAMPLES, CLASSES).softmax(1)


def bits() -> torch.Tensor:
    return torch.randint(0, 2, (SAMPLES, CLASSES)).float()


def numbers() -> torch.Tensor:
    return torch.randn(SAMPLES, CLASSES)


def signs() -> torch.Tensor:
    return 2 * bits() - 1


def several() -> torch.Tensor:
    target = torch.full((SAMPLES, CLASSES), -1)
    target[:, 0] = torch.randint(0, CLASSES, (SAMPLES,))
    return target


LOSSES = {
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), classes),
    "ignored class": (nn.CrossEntropyLoss(ignore_index=1), classes),
    "label smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), classes),
    "all of them": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, label_smoothing=0.2), classes),
    "probabilities": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), soft),
    "log-likelihood": (nn.NLLLoss(weight=WEIGHT, ignore_index=1), classes),
    "function": (F.cross_entropy, classes),
    "partial": (partial(F.cross_entropy, weight=WEIGHT, ignore_index=1), classes),
    "binary": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), bits),
    "squares": (nn.MSELoss(), numbers),
    "absolute": (nn.L1Loss(), numbers),
    "huber": (partial(F.huber_loss, delta=0.5), numbers),
    "smooth": (nn.SmoothL1Loss(beta=0.5), numbers),
    "poisson": (nn.PoissonNLLLoss(), lambda: numbers().abs().round()),
    "soft margin": (nn.SoftMarginLoss(), signs),
    "hinge": (nn.HingeEmbeddingLoss(), signs),
    "margin": (nn.MultiMarginLoss(weight=WEIGHT.double()), classes),
    "margin of several": (nn.MultiLabelMarginLoss(), several),
    "soft margin of several": (nn.MultiLabelSoftMarginLoss(), bits),
    "kl": (nn.KLDivLoss(), soft),
    "kl of samples": (nn.KLDivLoss(reduction="batchmean"), soft),
    "sum": (nn.MSELoss(reduction="sum"), numbers),
    "sum of classes": (nn.CrossEntropyLoss(reduction="sum", weight=WEIGHT, ignore_index=1), classes),
}


def on_all(loss, output: torch.Tensor, target: torch.Tensor) -> float:
    """Return what torch says on all data, in float64."""
    wide = loss.double() if isinstance(loss, nn.Module) else loss
    if isinstance(loss, partial):
        wide = partial(loss.func, **{k: v.double() if torch.is_tensor(v) else v for k, v in loss.keywords.items()})
    return float(wide(output, target.double() if target.is_floating_point() else target))


@pytest.mark.parametrize("name", LOSSES)
def test_batches_of_any_size_give_the_loss_on_all_data(name):
    loss, make_target = LOSSES[name]
    model, x, target = line(), inputs(), make_target()
    with torch.no_grad():
        expected = on_all(loss, model(x), target)
    ragged = [(x[start : start + 7], target[start : start + 7]) for start in range(0, SAMPLES, 7)]
    for data, size in (((x, target), None), (ragged, None), ((x, target), 4)):
        assert Objective(model, data, loss, batch_size=size).centre == pytest.approx(expected, rel=1e-10), size


def test_pixels_that_are_left_out_do_not_weigh():
    model = nn.Conv2d(2, CLASSES, 1).double()
    x, target = torch.randn(9, 2, 4, 4, dtype=torch.float64), torch.randint(0, CLASSES, (9, 4, 4))
    target[:4, 1:] = 255
    loss = nn.CrossEntropyLoss(ignore_index=255)
    objective = Objective(model, (x, target), loss, batch_size=2)
    assert objective.centre == pytest.approx(loss(model(x), target).item(), rel=1e-12)
    right = (model(x).argmax(1) == target)[target != 255]
    assert objective.accuracy() == pytest.approx(float(right.double().mean()), rel=1e-12)


def test_none_is_the_mean_of_the_terms():
    model, x, target = line(), inputs(), numbers()
    objective = Objective(model, (x, target), nn.MSELoss(reduction="none"), batch_size=4)
    assert objective.centre == pytest.approx(float(F.mse_loss(model(x), target.double())), rel=1e-12)


def test_a_class_of_ones_own_without_a_forward_counts_as_torchs():
    class Mine(nn.CrossEntropyLoss):
        pass

    class Half(nn.CrossEntropyLoss):
        def forward(self, output, target):
            return super().forward(output, target) / 2

    model, x, target = line(), inputs(), classes()
    for kind, factor in ((Mine, 1.0), (Half, 0.5)):
        objective = Objective(model, [(x[:7], target[:7]), (x[7:], target[7:])], kind(label_smoothing=0.1))
        expected = factor * float(F.cross_entropy(model(x), target, label_smoothing=0.1))
        assert objective.centre == pytest.approx(expected, rel=1e-12)
    hooked = nn.CrossEntropyLoss()
    hooked.register_forward_hook(lambda module, given, value: value / 2)
    assert Objective(model, (x, target), hooked).centre == pytest.approx(float(hooked(model(x), target)), rel=1e-12)


def test_a_target_that_torch_would_broadcast_is_refused():
    with pytest.raises(TaskError, match=r"which torch broadcasts to \(30, 30\)"):
        Objective(line(1), (inputs(), torch.randn(SAMPLES)), nn.MSELoss())


def test_class_indices_out_of_range_are_refused():
    with pytest.raises(TaskError, match="from 0 to 2 for this model, and the targets run from 0 to 7"):
        Objective(line(), (inputs(), torch.arange(SAMPLES) % 8), nn.CrossEntropyLoss())


def test_targets_with_an_axis_too_many_are_told_what_to_drop():
    for loss in ("cross_entropy", nn.CrossEntropyLoss()):
        with pytest.raises(TaskError, match=r"Drop the last axis of the targets: target.squeeze\(1\)"):
            Objective(line(), (inputs(), classes()[:, None]), loss)


def test_weights_of_single_samples_are_refused():
    loss = nn.BCEWithLogitsLoss(weight=torch.rand(SAMPLES))
    with pytest.raises(TaskError, match=r"a weight for each of 30 samples.*\n.*part of the data"):
        Objective(nn.Sequential(line(1), nn.Flatten(0)), (inputs(), torch.ones(SAMPLES)), loss)


def test_kl_leaves_out_the_ignored_class():
    model, x, target = line(), inputs(), classes()
    objective = Objective(model, (x, target), nn.CrossEntropyLoss(ignore_index=1), batch_size=4, scope="all")
    point = objective.theta + 0.1 * torch.randn(objective.layout.size, dtype=torch.float64)
    moved = line()
    moved.load_state_dict(objective.layout.views(point))
    p, q = (F.log_softmax(each(x[target != 1]), 1) for each in (model, moved))
    with objective.running():
        (found,) = objective.along((point - objective.theta)[None], torch.ones(1).numpy(), criterion="kl").values
    assert found == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-9, abs=1e-15)


def test_the_curvature_of_kl_is_that_of_a_plain_cross_entropy():
    model, x, target = line(), inputs(), classes()

    def volume(loss):
        objective = Objective(model, (x, target), loss)
        options = {"estimator": "laplace", "criterion": "kl", "metric": "identity", "max_radius": 1.0}
        return log_volume(objective, cutoffs=(0.1,), **options).results[0].log_volume

    expected = volume("cross_entropy")
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), lambda z, y: F.cross_entropy(z, y)):
        assert volume(loss) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(CurvatureError, match="unweighted cross-entropy"):
        volume(nn.CrossEntropyLoss(weight=WEIGHT))


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (nn.CrossEntropyLoss(WEIGHT, ignore_index=255), "CrossEntropyLoss(ignore_index=255, weight=[0.1, 1, 9])"),
        (nn.HuberLoss(reduction="sum", delta=0.5), "HuberLoss(reduction=sum, delta=0.5)"),
        (F.cross_entropy, "cross_entropy()"),
        (partial(F.cross_entropy, label_smoothing=0.1), "cross_entropy(label_smoothing=0.1)"),
        (partial(lambda z, y, power: (z - y[:, None]) ** power, power=2), "<lambda>()"),
    ],
)
def test_the_name_tells_what_differs(loss, name):
    assert make_loss(loss).name == name


def test_the_name_of_many_weights_tells_them_apart():
    one, other = (make_loss(nn.CrossEntropyLoss(torch.full((20,), value))).name for value in (1.0, 2.0))
    assert one.startswith("CrossEntropyLoss(weight=20 values ")
    assert one != other


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_binary_targets_may_be_integers(dtype):
    net, x, y = nn.Linear(4, 2), torch.randn(30, 4), (torch.arange(60).reshape(30, 2) % 3 == 0)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0]))
    objective = Objective(net, (x, y.to(dtype)), loss)
    assert objective.centre == pytest.approx(loss(net(x), y.float()).item(), rel=1e-6)
