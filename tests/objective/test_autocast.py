"""Models in float32 that compute in 16 bits under torch.autocast."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import landscape as ls
from landscape.objective import narrow_products, read_weights
from landscape.objective.moved_weights import flat_step
from landscape.rays import metric_of, random_directions

NARROW = [torch.bfloat16, torch.float16]


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype, *, inside: bool) -> None:
        super().__init__()
        self.dtype, self.inside = dtype, inside
        self.conv, self.hidden = nn.Conv1d(2, 4, 3), nn.Linear(40, 30)
        self.last = nn.Linear(30, 3, bias=False)
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype) if self.inside else nullcontext():
            hidden = self.hidden(self.conv(x).flatten(1))
            self.seen.append(hidden.dtype)
            return self.last(hidden.tanh())


def around(model: Any, batch: Any) -> Tensor:
    with torch.autocast("cpu", dtype=model.dtype):
        output: Tensor = model(batch[0])
    return output


class Narrow(TorchDispatchMode):
    """Notes the products and convolutions of torch in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in narrow_products._RULES and any(isinstance(item, Tensor) and item.dtype in NARROW for item in args):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize("inside", [False, True], ids=["around", "inside"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("dtype", NARROW)
def test_a_point_is_what_the_model_computes_under_autocast(
    dtype: torch.dtype, flat: bool, inside: bool, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: slow and dtype in NARROW)
    for rule in ("_LITTLE", "_FEW", "_SMALL_WEIGHT"):
        monkeypatch.setattr(narrow_products, rule, 1)
    monkeypatch.setattr(read_weights, "LARGE_LINEAR", 200)
    torch.manual_seed(0)
    net, forward = Net(dtype, inside=inside), None if inside else around
    x, y = torch.randn(6, 2, 12), torch.randint(0, 3, (6,))
    large, plain = (ls.Objective(net, (x, y), forward=forward, flat=how, lanes=1) for how in (False, True))
    of = plain if flat else large
    directions = random_directions(large, metric_of(large, "layer"), 0).steps([0])
    step = flat_step(directions[0], large.layout.entries, large.device)
    net.seen.clear()
    with Narrow() as torchs, of.running():
        value = of.along(step[None] if flat else directions, np.array([0.5])).values[0]
    assert set(net.seen) == {dtype}
    assert bool(torchs.names) != slow

    moved = Net(dtype, inside=inside)
    nn.utils.vector_to_parameters(plain.theta + 0.5 * step, moved.parameters())
    with torch.no_grad():
        truth = float(F.cross_entropy((around if forward else Net.__call__)(moved, (x,) if forward else x).float(), y))
    assert value == pytest.approx(truth, rel=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("how", ["autocast", "by hand"])
@pytest.mark.parametrize("dtype", NARROW)
def test_a_loss_may_compute_in_16_bits_by_itself(
    dtype: torch.dtype, how: str, flat: bool, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow_products, "is_slow", lambda dtype: slow and dtype in NARROW)
    for rule in ("_LITTLE", "_FEW"):
        monkeypatch.setattr(narrow_products, rule, 1)
    torch.manual_seed(0)
    net, head = Net(dtype, inside=False), torch.randn(3, 200)
    x, y = torch.randn(6, 2, 12), torch.randint(0, 200, (6,))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if how == "by hand":
            return F.cross_entropy((output.to(dtype) @ head.to(dtype)).float(), target)
        with torch.autocast("cpu", dtype=dtype):
            return F.cross_entropy((output @ head).float(), target)

    of = ls.Objective(net, (x, y), loss, flat=flat, lanes=1)
    directions = random_directions(of, metric_of(of, "layer"), 0).steps([0])
    moved = Net(dtype, inside=False)
    step = directions[0] if flat else flat_step(directions[0], of.layout.entries, of.device)
    nn.utils.vector_to_parameters(of.theta + 0.5 * step, moved.parameters())
    with Narrow() as torchs, of.running():
        value = of.along(directions, np.array([0.5])).values[0]
    assert bool(torchs.names) != slow
    assert (of.plan.copies > 0) == slow
    with torch.no_grad():
        truth = float(loss(moved(x), y))
    assert value == pytest.approx(truth, rel=4 * torch.finfo(dtype).eps)
