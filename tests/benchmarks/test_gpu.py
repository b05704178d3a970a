"""The script for a GPU: its comparison, and what it says without one."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu


def test_differences_are_relative_to_the_largest_number() -> None:
    assert gpu._apart([1.0, -4.0, np.inf], [1.0, -3.0, np.inf]) == 0.25
    assert gpu._apart([1.0, 2.0], [1.0, np.nan]) == np.inf


def test_without_a_gpu_it_ends_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="no CUDA device that torch can use: pass --device cpu --quick"):
        gpu.main()


@pytest.mark.cuda
def test_values_on_a_gpu_are_those_of_the_cpu() -> None:
    rows = gpu.compared(gpu.QUICK, "cuda")
    assert [row for row in rows if not row[2] <= row[3]] == []
