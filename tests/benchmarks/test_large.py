"""The benchmark of large models: its children find ``benchmarks``, and a doctor that fails makes it fail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from benchmarks import large
from benchmarks.large import doctor
from helpers.children import Child, command

_NEAR = "import landscape\nimport torch\nfrom benchmarks.nets import DATA\n"
_SMALL = f"""{_NEAR}

class Net(torch.nn.Linear):
    def forward(self, input_ids, labels):
        logits = super().forward(input_ids)
        return {{"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}}


def task():
    torch.manual_seed(0)
    data = {{"input_ids": torch.randn(8, 3), "labels": torch.randint(0, 2, (8,))}}
    return landscape.Task(model=Net(3, 2), data=data, loss="model")
"""


def small(*_: int) -> tuple[nn.Module, Any]:
    return nn.Linear(3, 2), None


def test_children_find_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    line = doctor(_SMALL, small)
    assert re.match(r"doctor: [\d.]+ s, [\d.]+ s of the processor, .* a bare pass: [\d.]+ s", line)


def forked(arguments: list[str], folder: str) -> large.Child:
    """Run ``-c CODE COMMAND...`` in a fork, which starts at once; the test above starts fresh processes."""
    with Child(command(*arguments[2:]), cwd=Path(folder)) as process:
        printed, _ = process.communicate()
    assert process.returncode == 0
    return large.Child(printed, 0.0, 0.0, 0)


def test_a_doctor_that_fails_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "child", forked)
    with pytest.raises(SystemExit, match=r"the doctor failed\ntask: .*No module named 'nowhere'"):
        doctor(f"import nowhere\n{_SMALL}", small)
