"""Kinds of targets, batches and outputs that look like other kinds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import landscape as ls
from landscape.errors import LandscapeError
from landscape.objective.recognition import weighting


@pytest.mark.parametrize("loss", ["cross_entropy", nn.CrossEntropyLoss()])
def test_class_156_in_eight_bits_is_not_minus_100(loss: str | nn.Module) -> None:
    torch.manual_seed(0)
    net, x, y = nn.Linear(4, 200), torch.randn(300, 4), (torch.arange(300) % 200).to(torch.uint8)
    objective = ls.Objective(net, (x, y), loss)
    logits = net(x).detach()
    assert objective.centre == pytest.approx(F.cross_entropy(logits, y.long()).item(), rel=1e-6)
    assert objective.accuracy() == pytest.approx((logits.argmax(1) == y).double().mean().item())


def test_a_loss_that_counts_is_a_number() -> None:
    torch.manual_seed(0)
    net, x, y = nn.Linear(4, 3), torch.randn(30, 4), torch.arange(30) % 3
    wrong = (net(x).argmax(1) != y).sum().item()
    assert ls.Objective(net, [(x, y)], lambda z, t: (z.argmax(1) != t).sum()).centre == wrong


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.layer(x).square().mean(), self.layer(x).mean()


def test_scalars_in_place_of_predictions_are_one_clear_error() -> None:
    batch = torch.randn(8, 4), torch.arange(8) % 3
    with pytest.raises(LandscapeError, match="class index for each row"):
        ls.Objective(Two(), [batch])
    with pytest.raises(LandscapeError, match="without"):
        ls.Objective(nn.Linear(4, 3), [batch], "mse", forward=lambda m, b: ())


def columns(count: int) -> tuple[tuple[Tensor, ...], ...]:
    """What ``tuple(zip(*samples))`` makes of images, boxes and labels."""
    boxes, labels = torch.rand(2, 4), torch.ones(2, dtype=torch.int64)
    return tuple(torch.randn(3, 4, 4) for _ in range(count)), (boxes,) * count, (labels,) * count


def test_columns_of_images_boxes_and_labels_count_the_images() -> None:
    torch.manual_seed(0)
    net = nn.Linear(48, 2)

    def loss(output: Tensor, _: object) -> Tensor:
        return output.square().mean()

    def forward(model: nn.Module, batch: tuple[tuple[Tensor, ...], ...]) -> Tensor:
        return model(torch.stack(batch[0]).flatten(1))  # type: ignore[no-any-return]

    data = [columns(4), columns(4), columns(2)]
    objective = ls.Objective(net, data, loss, forward=forward)
    assert objective.samples == 10
    images = torch.stack([image for batch in data for image in batch[0]])
    assert objective.centre == pytest.approx(net(images.flatten(1)).square().mean().item(), rel=1e-5)
    assert weighting.UNCHECKED in objective.notes  # nothing shows what these means are divided by


def test_packed_sequences_count_their_rows() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)

    def packed(rows: int) -> object:
        return pack_padded_sequence(torch.randn(rows, 5, 3), [5] * rows, batch_first=True)

    data = [(packed(6), packed(6)), (packed(2), packed(2))]
    objective = ls.Objective(net, data, lambda z, _: z.square().mean(), forward=lambda m, b: m(b[0].data))
    assert objective.samples == 8


class Capacity(nn.Module):
    """Only the first 16 samples of a batch are served."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (torch.arange(len(x)) < 16)[:, None]


def test_samples_that_act_on_each_other_only_when_there_are_many() -> None:
    torch.manual_seed(0)
    net, data = Capacity(), [(torch.randn(32, 4), torch.arange(32) % 3) for _ in range(2)]
    expected = sum(F.cross_entropy(net(x), y).item() for x, y in data) / 2
    objective = ls.Objective(net, data, "cross_entropy")
    assert objective.centre == pytest.approx(expected, rel=1e-6)
    assert any("act on each other" in note for note in objective.notes)


@pytest.mark.parametrize(
    ("last", "output"), [(nn.Softmax(1), "probabilities"), (nn.LogSoftmax(1), "log-probabilities")]
)
def test_distributions_in_16_bits_are_distributions(last: nn.Module, output: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), last).bfloat16()
    x, y = torch.randn(200, 4, dtype=torch.bfloat16), torch.arange(200) % 3
    ls.Objective(net, (x, y), "cross_entropy", output=output)


def test_soft_targets_a_rounding_above_one_are_taken() -> None:
    net, x = nn.Linear(4, 3), torch.randn(6, 4)
    target = torch.zeros(6, 3)
    target[:, 0] = 1.0000001
    assert ls.Objective(net, (x, target)).centre == pytest.approx(F.cross_entropy(net(x), target).item(), rel=1e-5)


@pytest.mark.parametrize("whole", [torch.Tensor.clone, torch.Tensor.numpy])
def test_one_tensor_of_inputs_is_all_the_data(whole: Callable[[Tensor], object]) -> None:
    net, x = nn.Linear(4, 4), torch.randn(10, 4)
    objective = ls.Objective(net, whole(x), lambda output, batch: F.mse_loss(output, batch))
    assert objective.samples == 10
    assert objective.centre == pytest.approx(F.mse_loss(net(x), x).item(), rel=1e-5)


class Mixed(nn.Module):
    """Kernels of some dtypes, and a first parameter of float64 without dimensions, as ``np.log`` makes it."""

    def __init__(self, *dtypes: torch.dtype) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(np.log(2)))
        self.parts = nn.ModuleList(nn.Linear(4, 3, dtype=dtype) for dtype in dtypes)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [part(x.to(part.weight.dtype) if len(self.parts) > 1 else x).float() for part in self.parts]
        return self.scale.exp() * torch.stack(outputs).sum(0)


@pytest.mark.parametrize("dtypes", [(torch.float32,), (torch.float16, torch.float32)])
def test_inputs_keep_a_dtype_that_a_kernel_has(dtypes: tuple[torch.dtype, ...]) -> None:
    net, x, y = Mixed(*dtypes), torch.randn(10, 4), torch.arange(10) % 3
    assert ls.Objective(net, (x, y)).centre == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-6)
    assert ls.Objective(Mixed(torch.float32), (x.double(), y)).samples == 10  # no kernel has it: so float32


@pytest.mark.parametrize(("shape", "layer"), [((8,), nn.Linear(4, 3)), ((8, 2, 2), nn.Conv2d(4, 3, 1))])
def test_class_indices_as_floats_are_told_from_probabilities(shape: tuple[int, ...], layer: nn.Module) -> None:
    x = torch.randn(8, 4, *shape[1:])
    with pytest.raises(LandscapeError, match=r"Make the class indices integers: target.long\(\)"):
        ls.Objective(layer, (x, (torch.arange(x[:, 0].numel()) % 3).float().view(shape)))


def test_numbers_in_lists_are_named() -> None:
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    with pytest.raises(LandscapeError, match=r"tuple that holds a list of numbers(.|\n)*torch.tensor\(inputs\)"):
        ls.Objective(nn.Linear(4, 3), (x, y.tolist()))
    with pytest.raises(LandscapeError, match=r"A list of numbers stays a list(.|\n)*torch.tensor\(numbers\)"):
        ls.Objective(nn.Linear(4, 3), [(x.tolist(), y.tolist())])
