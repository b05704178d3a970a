"""Memory that large models use again: only if nobody has it, and where the tensors are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.objective import Objective
from landscape.objective import read_weights as reading


def test_a_large_result_takes_the_memory_of_the_last_one_once_nobody_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LARGE_RESULT", 40)
    rooms, like = reading.Rooms(), torch.zeros(1, dtype=torch.bfloat16)
    with torch.no_grad():
        first = rooms.for_result(like, (4, 5)).fill_(1.0)
        place, part = first.data_ptr(), first[1:]
        del first
        second = rooms.for_result(like, (4, 5)).fill_(2.0)
        assert second.data_ptr() != place
        assert torch.equal(part, torch.ones(3, 5, dtype=torch.bfloat16))
        del part
        assert rooms.for_result(like, (2, 10)).data_ptr() == place
        assert rooms.for_result(like, (5, 5)).data_ptr() != place


def test_memory_is_where_the_tensors_are_whatever_torch_takes_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LARGE_RESULT", 40)
    model, like = nn.Linear(3, 2).to(torch.bfloat16), torch.zeros(1)
    data = (torch.zeros(4, 3, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.long))
    first, second = (Objective(model, data, "cross_entropy", flat=False) for _ in range(2))
    with torch.no_grad(), torch.device("meta"):
        assert reading.Rooms().for_result(like, (4, 5)).device == like.device
        assert first.theta_hash
    assert first.theta_hash == second.theta_hash
