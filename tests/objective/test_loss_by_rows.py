"""Cross-entropy some rows at a time: torch's own value to the last bit, and little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.objective import Objective, loss_by_rows
from landscape.objective.loss_by_rows import LossByRows
from landscape.rays import metric_of, random_directions

CLASSES = 50


class LogSoftmax(TorchDispatchMode):
    """Notes the sizes of the logarithms of probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._log_softmax.default:
            self.sizes.append(result.numel())
        return result


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 400 logits be many, and 150 go at a time."""
    monkeypatch.setattr(loss_by_rows, "_MANY", 400)
    monkeypatch.setattr(loss_by_rows, "_AT_ONCE", 3 * CLASSES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignored", [-100, 0, 7])
def test_the_value_is_that_of_torch_to_the_last_bit(dtype: torch.dtype, reduction: str, ignored: int) -> None:
    logits, target = (3 * torch.randn(100, CLASSES)).to(dtype), torch.randint(0, CLASSES, (100,))
    target[::9] = ignored
    options: dict[str, Any] = {"ignore_index": ignored, "reduction": reduction}
    with torch.no_grad():
        whole = functional.cross_entropy(logits, target, **options)
        with LogSoftmax() as seen, LossByRows():
            by_rows = functional.cross_entropy(logits, target, **options)
    assert torch.equal(by_rows, whole)
    assert by_rows.dtype == whole.dtype
    assert max(seen.sizes) == 3 * CLASSES


def test_without_any_target_the_value_is_that_of_torch() -> None:
    logits, target = torch.randn(20, CLASSES), torch.full((20,), -100)
    with torch.no_grad(), LossByRows():
        assert torch.isnan(functional.cross_entropy(logits, target))
        assert float(functional.cross_entropy(logits, target, reduction="sum")) == 0.0


def test_all_else_is_left_to_torch() -> None:
    logits, target = torch.randn(20, CLASSES), torch.randint(0, CLASSES, (20,))
    weight = torch.rand(CLASSES)
    cases: list[tuple[Tensor, Tensor, dict[str, Any]]] = [
        (logits, target, {"weight": weight}),
        (logits, target, {"label_smoothing": 0.1}),
        (logits, torch.rand(20, CLASSES), {}),
        (logits[0], target[0], {}),
        (logits.view(10, CLASSES, 2), target.view(10, 2), {}),
        (logits[:2], target[:2], {}),
    ]
    with torch.no_grad():
        for z, y, options in cases:
            with LossByRows():
                value = functional.cross_entropy(z, y, **options)
            assert torch.equal(value, functional.cross_entropy(z, y, **options))
        with LossByRows(), pytest.raises(IndexError, match="out of bounds"):
            functional.cross_entropy(logits, target + CLASSES)
    with LossByRows():
        functional.cross_entropy(logits.requires_grad_(), target).backward()
    assert logits.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_the_whole_loss_in_float32(dtype: torch.dtype) -> None:
    logits, target = (3 * torch.randn(100, CLASSES)).to(dtype), torch.randint(0, CLASSES, (100,))
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        whole = functional.cross_entropy(logits, target, reduction="none")
        with LossByRows():
            assert torch.equal(functional.cross_entropy(logits, target, reduction="none"), whole)


def test_a_batch_of_losses_is_left_to_torch() -> None:
    logits, target = torch.randn(2, 20, CLASSES), torch.randint(0, CLASSES, (2, 20))
    with torch.no_grad():
        values = torch.vmap(functional.cross_entropy)(logits, target)
        with LossByRows():
            assert torch.equal(torch.vmap(functional.cross_entropy)(logits, target), values)


class Words(nn.Module):
    """A language model with its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(CLASSES, 8), nn.Linear(8, CLASSES)

    def forward(self, numbers: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.head(torch.tanh(self.words(numbers)))
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


def test_points_of_large_models_take_the_loss_by_rows() -> None:
    numbers = torch.randint(0, CLASSES, (3, 9))
    model, data = Words(), {"numbers": numbers, "labels": numbers}
    flat, moved = (Objective(model, data, "model", flat=how) for how in (True, False))
    assert moved.centre == pytest.approx(flat.centre, rel=1e-6)
    step = random_directions(moved, metric_of(moved, "filter"), 0).steps([0])
    with moved.running(), LogSoftmax() as seen:
        moved.along(step, np.ones(1))
    assert max(seen.sizes) == 3 * CLASSES
