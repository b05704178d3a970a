"""Batches that are objects, ragged tensors or mappings of the user's own."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls

SIZES = (5, 7, 3)


class Encoding(UserDict):  # type: ignore[type-arg]
    """Its items are attributes too, as those of a tokenizer's output are."""

    def __getattr__(self, name: str) -> Any:
        if name == "data":
            raise AttributeError(name)
        return self.data[name]


@dataclass
class Sample:
    x: Tensor
    y: Tensor


@pytest.mark.parametrize("kind", [Encoding, Sample, SimpleNamespace])
def test_a_batch_keeps_its_attributes_and_its_target(kind: Any) -> None:
    torch.manual_seed(0)
    net, columns = nn.Linear(4, 3), [(torch.randn(n, 4), torch.arange(n) % 3) for n in SIZES]
    x, y = (torch.cat(column) for column in zip(*columns, strict=True))
    objective = ls.Objective(net, [kind(x=x, y=y) for x, y in columns], forward=lambda m, b: m(b.x))
    assert objective.samples == sum(SIZES)
    assert objective.centre == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-6)
    assert objective.accuracy() == pytest.approx((net(x).argmax(1) == y).double().mean().item())


class MeanOfParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, ragged: Tensor) -> Tensor:
        return torch.stack([self.layer(part).mean(0) for part in ragged.unbind()])


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_counts_its_parts(layout: torch.layout) -> None:
    torch.manual_seed(0)
    net, parts, y = MeanOfParts(), [torch.randn(n, 4) for n in (2, 3, 5, 1)], torch.tensor([0, 1, 2, 0])
    batch = torch.nested.nested_tensor(parts, layout=layout), y
    objective = ls.Objective(net, [batch, batch])
    expected = F.cross_entropy(torch.stack([net.layer(part).mean(0) for part in parts]), y)
    assert objective.samples == 8
    assert objective.centre == pytest.approx(expected.item(), rel=1e-6)


def test_the_loss_that_a_model_returns_by_itself() -> None:
    class Contrastive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 4)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            logits = F.normalize(self.layer(left), dim=1) @ F.normalize(self.layer(right), dim=1).T / 0.2
            return F.cross_entropy(logits, torch.arange(len(logits)))

    torch.manual_seed(0)
    net, data = Contrastive(), [(torch.randn(n, 5), torch.randn(n, 5)) for n in (8, 8, 6)]
    expected = sum(net(*batch).item() * len(batch[0]) for batch in data) / 22
    objective = ls.Objective(net, data, "model")
    assert objective.centre == pytest.approx(expected, rel=1e-6)
    assert any("act on each other" in note for note in objective.notes)
