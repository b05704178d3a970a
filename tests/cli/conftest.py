"""The folder in which the tests of the command line type their commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.commands import fill


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a trained checkpoint, ckpt.pt, and its task, my_task.py."""
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path)
