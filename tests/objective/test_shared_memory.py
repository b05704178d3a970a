"""Parameters whose entries share memory are refused; tied ones, and those that lie side by side, are measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.errors import ObjectiveError


class Net(nn.Module):
    """Two kernels that the forward pass takes as different ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def set_data(net: Net) -> None:
    net.second.weight.data = net.first.weight.data


def set_transposed(net: Net) -> None:
    net.second.weight = nn.Parameter(net.first.weight.data.T)


def set_part(net: Net) -> None:
    net.register_parameter("part", nn.Parameter(net.first.weight.data[1:3]))


def set_bytes(net: Net) -> None:
    net.register_parameter("other", nn.Parameter(net.first.weight.data.view(torch.float16)))


def expand(net: Net) -> None:
    net.second.weight = nn.Parameter(torch.ones(4, 1).expand(4, 4))


def set_buffer(net: Net) -> None:
    net.register_buffer("kept", net.first.weight.data[0].expand(2, 4))


REFUSED: dict[Callable[[Net], None], str] = {
    set_data: r"first.weight and second.weight share memory.*\n.*model.second.weight = model.first.weight\. ",
    set_transposed: r"share memory.*\n.*keep one, and compute the other from it in the forward pass",
    set_part: "share memory",
    set_bytes: "share memory",
    expand: r"second.weight \(4, 4\) was made by expand",
    set_buffer: "the buffer kept shares memory with the parameter first.weight",
}


@pytest.mark.parametrize("change", REFUSED)
@pytest.mark.parametrize("dtype", [None, "float64"])  # a cast would part them without a word
def test_entries_that_share_memory_are_refused(change: Callable[[Net], None], dtype: str | None) -> None:
    net = Net()
    change(net)
    with pytest.raises(ObjectiveError, match=REFUSED[change]):
        ls.Objective(net, (torch.eye(4), torch.arange(4)), dtype=dtype)


def test_tied_parameters_and_neighbours_in_one_storage_are_measured() -> None:
    net, both = Net(), torch.randn(4, 8)
    net.first.weight.data, net.second.weight.data = both[:, :4], both[:, 4:]  # their ranges overlap, not their entries
    net.register_parameter("tied", net.first.weight)
    net.register_buffer("one", both.new_ones(4))
    net.register_buffer("part", net.one[:2])  # buffers never move
    apart = Net()
    apart.load_state_dict(net.state_dict(), strict=False)
    data = (torch.eye(4), torch.arange(4))
    lines = [ls.slice_1d(ls.Objective(each, data, scope="all"), steps=3, seed=1) for each in (net, apart)]
    assert lines[0].loss.tolist() == lines[1].loss.tolist()
