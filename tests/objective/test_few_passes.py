"""A pass of a large model takes long: what one pass tells is not computed again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

import landscape as ls
from helpers.models import CausalLM
from landscape.errors import ObjectiveError
from landscape.objective.centre import check_centre
from landscape.objective.theta_hash import hash_of

CENTRE = 1  # passes at the trained point
READING = 1  # passes after it that show how a large model reads its weights


class Passes:
    """Counts the passes of a model, without those on tensors that hold no numbers."""

    def __init__(self, model: nn.Module) -> None:
        self.count = 0
        model.register_forward_hook(self)

    def __call__(self, model: nn.Module, inputs: object, output: Any) -> None:
        self.count += not isinstance(output.logits, FakeTensor)


def sentences(rows: int = 1, same: bool = False) -> dict[str, Tensor]:
    ids = torch.randint(1, 11, (rows, 7), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": torch.full_like(ids, 3) if same else ids}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_objective_of_a_large_model_makes_two_passes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = CausalLM().to(dtype)
    passes = Passes(model)
    objective = ls.Objective(model, sentences(), "model", flat=False)
    assert passes.count == READING + CENTRE
    accuracy = objective.accuracy()
    ls.Hessian(objective).memory()
    assert passes.count == READING + CENTRE
    flat = ls.Objective(model, sentences(), "model", flat=True)
    assert (objective.centre, accuracy) == (flat.centre, flat.accuracy())
    assert (objective.program.losses[0].reading, objective.notes) == (flat.program.losses[0].reading, flat.notes)  # type: ignore[attr-defined]


def test_a_slice_of_a_large_model_makes_no_pass_for_what_is_known_at_the_trained_point() -> None:
    torch.manual_seed(0)
    model = CausalLM().double()
    objective, flat = (ls.Objective(model, sentences(3), "model", flat=how, batch_size=2) for how in (False, True))
    passes = Passes(model)
    line = ls.slice_1d(objective, steps=5)
    assert passes.count == 4 * objective.batches
    middle = ls.slice_1d(flat, steps=5)
    assert (line.loss[2], line.accuracy[2]) == (pytest.approx(middle.loss[2], rel=1e-14), middle.accuracy[2])
    assert np.isfinite(line.accuracy).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_head_of_zeros_does_not_tell_how_a_loss_reads_it(dtype: torch.dtype) -> None:
    """At the trained point all losses over classes are log(words) then, moved labels or not."""
    model = CausalLM().to(dtype)
    nn.init.zeros_(model.head.weight), nn.init.zeros_(model.head.bias)
    readings = [ls.Objective(model, sentences(), "model", flat=how).program.losses[0].reading for how in (False, True)]  # type: ignore[attr-defined]
    assert readings[0] == readings[1]
    assert readings[0].next_token


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_hash_of_a_large_model_is_made_when_it_is_asked_for(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, calls = CausalLM().to(dtype), count()
    flat = ls.Objective(model, sentences(), "model", flat=True).theta_hash
    module = sys.modules[ls.Objective.__module__]
    monkeypatch.setattr(module, "hash_of", lambda *given: (next(calls), hash_of(*given))[1])
    objective = ls.Objective(model, sentences(), "model", flat=False)
    assert next(calls) == 0
    assert (objective.theta_hash, objective.describe()["theta_hash"]) == (flat, flat)
    assert next(calls) == 2, "once"


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize("loss", ["model", "cross_entropy"])
def test_what_is_shared_is_right_for_any_number_of_samples(rows: int, loss: str) -> None:
    torch.manual_seed(0)
    model, data = CausalLM().double(), sentences(rows)
    large, flat = (ls.Objective(model, data, loss, flat=how, batch_size=2) for how in (False, True))
    assert (large.centre, large.accuracy()) == (pytest.approx(flat.centre, rel=1e-14), flat.accuracy())


def test_an_objective_with_other_losses_counts_by_them() -> None:
    torch.manual_seed(0)
    model = CausalLM().double()
    one, other = (ls.Objective(model, sentences(same=same), "model", flat=False) for same in (False, True))
    assert one.accuracy() != other.accuracy()
    assert one.with_program(other.program).accuracy() == other.accuracy()


def test_a_loss_that_writes_to_its_output_is_no_random_loss() -> None:
    def shrunk(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.mul_(0.5), target)

    torch.manual_seed(0)
    model, data = nn.Linear(3, 4).double(), (torch.randn(2, 3).double(), torch.tensor([1, 3]))
    truth = float(nn.functional.cross_entropy(model(data[0]) / 2, data[1]))
    for flat in (False, True):
        assert ls.Objective(model, data, shrunk, flat=flat).centre == pytest.approx(truth, rel=1e-14)


def drawing(call: int) -> float:
    return float(torch.rand(()))


def counting(call: int) -> float:
    return float(call)


@pytest.mark.parametrize("change", [drawing, counting])
def test_a_loss_function_that_changes_is_found_without_a_pass(
    change: Callable[[int], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[check_centre.__module__], "_SECONDS", 0.0)
    calls = count()

    def changing(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target) + 1e-3 * change(next(calls))

    torch.manual_seed(0)
    data = torch.randn(2, 3), torch.tensor([1, 3])
    with pytest.raises(ObjectiveError, match="not deterministic"):
        ls.Objective(nn.Linear(3, 4), data, changing, flat=False)


class Noisy(CausalLM):
    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        output = super().forward(input_ids, labels)
        return type(output)(output.logits, output.loss + 1e-3 * torch.rand(()))


def test_a_draw_that_a_shared_pass_repeats_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass before the check begins from the same random state as the check, so it draws the same."""
    monkeypatch.setattr(sys.modules[check_centre.__module__], "_SECONDS", 0.0)  # as for a model whose passes take long
    with pytest.raises(ObjectiveError, match=r"not deterministic.*\n.*draws random numbers"):
        ls.Objective(Noisy(), sentences(), "model", flat=False)


def test_an_accuracy_that_cannot_be_counted_is_told_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Callable[..., Any]:
        raise ValueError("no classes")

    objective = sys.modules[ls.Objective.__module__]
    for module in (sys.modules[check_centre.__module__], objective):
        monkeypatch.setattr(module, "accuracy_counts", broken)
    large = ls.Objective(CausalLM(), sentences(), "model", flat=False)
    with pytest.raises(ValueError, match="no classes"):
        large.accuracy()


class Remembering(CausalLM):
    count = 0

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        output = super().forward(input_ids, labels)
        self.count += 1
        return type(output)(output.logits, output.loss * self.count)


def test_an_attribute_that_changes_the_loss_is_found() -> None:
    """A pass before the check begins with the attributes of the check."""
    with pytest.raises(ObjectiveError, match=r"not deterministic.*\n.*keeps something from one call"):
        ls.Objective(Remembering(), sentences(), "model", flat=False)
