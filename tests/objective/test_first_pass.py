"""The first pass over data says nothing of our own hooks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import landscape as ls


def test_a_compiled_model_warns_of_no_hook(recwarn: pytest.WarningsRecorder) -> None:
    net = torch.compile(nn.Linear(4, 3), backend="eager")
    ls.Objective(net, (torch.randn(6, 4), torch.arange(6) % 3))
    assert not [warning for warning in recwarn if "hooks" in str(warning.message)]
