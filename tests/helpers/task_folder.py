"""A folder with a small net and its task, for tests of commands."""

from __future__ import annotations

from pathlib import Path

import torch

TASK = """
import torch
import landscape as ls

def task():
    torch.manual_seed(0)
    x = torch.randn(60, 2)
    return ls.Task(model=torch.nn.Linear(2, 2), data=(x, (x[:, 0] > 0).long()), loss="cross_entropy")
"""


def with_a_net(folder: Path) -> Path:
    """Write net.pt and task.py into a folder."""
    (folder / "task.py").write_text(TASK)
    weights = {"weight": torch.tensor([[-9.0, 0.0], [9.0, 0.0]]), "bias": torch.zeros(2)}
    torch.save(weights, folder / "net.pt")
    return folder
