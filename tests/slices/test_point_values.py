"""A model that fails away from the trained point gives one clear line on a slice, whichever part of it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.errors import CurvatureError, ObjectiveError


class Fragile(nn.Module):
    """Fails where a weight has moved by more than ``limit``; always, or only while BatchNorm sees its batches."""

    def __init__(self, limit: float, *, always: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(2)
        self.layer = nn.Linear(2, 2)
        self.limit, self.always = limit, always
        self.start = self.layer.weight.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        far = float((self.layer.weight.detach() - self.start).abs().max()) > self.limit
        if far and (self.always or self.norm.training):
            raise ValueError("the weights went too far\nand here is more")
        return self.layer(self.norm(x))


def objective(model: nn.Module, samples: int = 12) -> ls.Objective:
    data = (torch.randn(samples, 2), torch.randint(2, (samples,)))
    return ls.Objective(model, data, "cross_entropy", batch_size=5)


def told(measured: ls.Objective, **more: Any) -> str:
    with pytest.raises(ObjectiveError) as caught:
        ls.slice_1d(measured, steps=5, span=4.0, **more)
    return str(caught.value)


@pytest.mark.parametrize("more", [{}, {"curvature": True}])
def test_the_loss_of_a_slice(more: dict[str, bool]) -> None:
    assert told(objective(Fragile(0.3)), **more).startswith(
        "the loss cannot be evaluated at points of the slice, batch 1 of 3 (samples: 5): "
        "ValueError: the weights went too far (test_point_values.py, line "
    )


def test_the_statistics_of_batchnorm() -> None:
    message = told(objective(Fragile(0.3, always=False)), recalibrate_bn=True)
    assert message.startswith(
        "the loss cannot be evaluated for its BatchNorm statistics, batch 1 of 3 (samples: 5): "
        "ValueError: the weights went too far (test_point_values.py, line "
    )
    assert "batch_size" not in message


def test_a_batch_of_one_has_no_statistics() -> None:
    message = told(objective(Fragile(99.0), samples=11), recalibrate_bn=True)
    assert message.startswith("BatchNorm statistics cannot be estimated: Expected more than 1 value per channel")
    assert "leaves no batch of one" in message


def test_a_model_that_fails_at_the_trained_point() -> None:
    """Nothing changes the model between the objective and the slice but its owner; that fails cleanly too."""
    measured = objective(model := Fragile(0.3))
    model.limit = -1.0
    assert told(measured).startswith("the loss cannot be evaluated at the trained point, batch 1 of 3")


def test_the_second_derivative() -> None:
    """Differentiable once and no more: the slice itself can be measured, its curvature cannot."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context: Any, slope: Tensor) -> Tensor:
            return 2 * slope

    bowl = ls.Objective.from_function(lambda x: Once.apply(x).square().sum(-1), torch.ones(3, dtype=torch.float64))
    assert ls.slice_1d(bowl, steps=3).loss[1] == 12.0
    with pytest.raises(CurvatureError, match="marked as differentiable once only"):
        ls.slice_1d(bowl, steps=3, curvature=True)


def test_a_second_derivative_without_a_rule() -> None:
    class NoRule(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            context.save_for_backward(x)
            return x.square()

        @staticmethod
        def backward(context: Any, slope: Tensor) -> Tensor:
            (x,) = context.saved_tensors
            return Refuses.apply(2 * x * slope)

    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(context: Any, slope: Tensor) -> Tensor:
            raise NotImplementedError("derivative for refuses is not implemented")

    bowl = ls.Objective.from_function(lambda x: NoRule.apply(x).sum(-1), torch.ones(3, dtype=torch.float64))
    with pytest.raises(CurvatureError, match=r"along the slice cannot be computed: NotImplementedError: .*refuses"):
        ls.slice_1d(bowl, steps=3, curvature=True)


def small_net(norm: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), norm or nn.Identity(), nn.Tanh(), nn.Linear(6, 3)).double()


@pytest.mark.parametrize("derivative", ["autograd", "difference"])
def test_a_scripted_module_bends_as_the_module_does(derivative: str) -> None:
    net, data = small_net(), (torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 3)
    lines = [
        ls.slice_1d(ls.Objective(model, data), steps=3, curvature=True, derivative=derivative)
        for model in (net, torch.jit.script(net))
    ]
    np.testing.assert_allclose(lines[1].curvature, lines[0].curvature, rtol=1e-9)


def test_batch_statistics_bend_as_differences_of_the_losses_say() -> None:
    net, data = small_net(nn.BatchNorm1d(6)), (torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 3)
    line = ls.slice_1d(ls.Objective(net, data, training=True), steps=3, span=1e-4, curvature=True)
    assert line.curvature is not None
    assert line.curvature[1] == pytest.approx(np.diff(line.loss, 2)[0] / 1e-8, rel=1e-4)
