"""Parameters that a model or a loss keeps outside of the modules: moved all the same, or one clear error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import ObjectiveError

D = torch.float64


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(20, 4, dtype=D), torch.arange(20) % 3


class InList(nn.Module):
    """Its forward pass reads attributes, a list and a dict of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
        self.weights, self.biases = [self.first.weight], {"second": self.second.bias}
        vars(self)["again"] = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(x @ self.weights[0].T + self.first.bias), self.again, self.biases["second"])


def test_parameters_in_lists_dicts_and_attributes_move() -> None:
    net, (x, y) = InList(), data()
    line = ls.slice_1d(ls.Objective(net, (x, y), scope="all"), steps=5, seed=1)

    def plain(model: InList, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model.second(torch.tanh(model.first(batch[0])))  # type: ignore[no-any-return]

    expected = ls.slice_1d(ls.Objective(net, (x, y), scope="all", forward=plain), steps=5, seed=1)
    assert (line.loss == expected.loss).all()
    assert line.loss[0] != line.loss[2]


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_what_a_closure_holds_is_refused(dtype: torch.dtype) -> None:
    net, (x, y) = nn.Linear(4, 3).to(dtype), data()
    x = x.to(dtype)
    held, before = list(net.parameters()), net.weight.detach().clone()

    def decayed(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) + 1e-3 * sum(p.square().sum() for p in held)

    with pytest.raises(ObjectiveError, match="held outside of the modules"):
        ls.Objective(net, (x, y), decayed)
    with pytest.raises(ObjectiveError, match="held outside of the modules"):
        ls.Objective(net, (x, y), forward=lambda model, batch: batch[0] @ held[0].T)
    assert torch.equal(net.weight, before)


def test_a_view_made_with_the_model_is_refused() -> None:
    net, (x, y) = nn.Linear(4, 3).double(), data()
    turned = net.weight.T
    with pytest.raises(ObjectiveError, match="held outside of the modules"):
        ls.Objective(net, (x, y), forward=lambda model, batch: batch[0] @ turned)


def test_a_loss_that_reads_the_model_itself_is_measured() -> None:
    net, (x, y) = nn.Linear(4, 3).double(), data()

    def decayed(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) + 0.1 * sum(p.square().sum() for p in net.parameters())

    assert ls.Objective(net, (x, y), decayed).centre == pytest.approx(decayed(net(x), y).item(), rel=1e-12)
