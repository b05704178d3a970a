"""Ctrl-C in the midst of a write: it waits, and what was being written is whole."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.results import Cost, Volume
from landscape.store.interrupts import uninterrupted
from landscape.training.trained_network import save_whole


def press(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have Ctrl-C come right before each call of a function."""
    real = getattr(module, name)

    def pressed(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(module, name, pressed)


def test_an_interrupt_waits_for_the_end_of_a_write() -> None:
    steps = []

    def write() -> None:
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                steps.append("written")
            steps.append("and all that belongs to it")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert steps == ["written", "and all that belongs to it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_checkpoint_is_whole_after_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    press(monkeypatch, torch, "save")
    with pytest.raises(KeyboardInterrupt):
        save_whole({"step": 3}, tmp_path / "net.pt")
    assert torch.load(tmp_path / "net.pt", weights_only=True) == {"step": 3}
    assert os.listdir(tmp_path) == ["net.pt"]


def test_a_result_is_whole_after_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    press(monkeypatch, os, "fsync")
    with ls.Store(tmp_path / "run.h5", write=True) as store:
        for seed in (0, 1):
            with pytest.raises(KeyboardInterrupt):
                store["volume"] = Volume((), np.zeros((2, 1)), "uniform", 3, 2, {"seed": seed}, Cost(2.0, 4, 0.1))
            assert store["volume"].config == {"seed": seed}  # type: ignore[attr-defined]


def test_another_thread_is_left_alone(tmp_path: Path) -> None:
    writer = threading.Thread(target=save_whole, args=({"step": 3}, tmp_path / "net.pt"))
    writer.start()
    writer.join()
    assert (tmp_path / "net.pt").exists()
