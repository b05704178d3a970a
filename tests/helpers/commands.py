"""Typing commands in tests: a trained checkpoint with its task, and what the commands printed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import landscape as ls

TASK = '''
"""A net of 8 hidden units that tells the points near the origin from those further out."""
import torch
from torch import nn

import landscape


def task():
    torch.manual_seed(0)
    points = torch.randn(64, 2)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    return landscape.Task(model=net, data=(points, (points.norm(dim=1) > 1.2).long()), loss="cross_entropy")
'''
MAIN = "from landscape_cli.main import main; main()"  #: the command, for a Python process of its own
SMALL = "ckpt.pt --task my_task.py --directions 60"
KEYS = {
    "estimator", "criterion", "metric", "scope", "dimension", "directions", "seed", "evaluations", "seconds", "results",
}  # fmt: skip


def make_task() -> ls.Task:
    """The task of TASK, its net untrained."""
    names: dict[str, Any] = {}
    exec(TASK, names)
    made = names["task"]()
    assert isinstance(made, ls.Task)
    return made


@cache
def trained_weights() -> dict[str, Tensor]:
    """The net's weights after a short training."""
    task = make_task()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(task.model(task.data[0]), task.data[1]).backward()
        optimizer.step()
    return task.model.state_dict()


def fill(folder: Path) -> Path:
    """Put ckpt.pt and my_task.py into a folder."""
    (folder / "my_task.py").write_text(TASK)
    torch.save(trained_weights(), folder / "ckpt.pt")
    return folder


def landscape(*words: object) -> Result:
    """Type ``landscape WORDS`` and return what it printed."""
    from landscape_cli.main import cli

    return CliRunner().invoke(cli, [str(word) for word in words], prog_name="landscape")


def run(line: str, code: int = 0) -> Result:
    """Type ``landscape LINE`` and return what it printed, having checked the exit code."""
    done = landscape(*line.split())
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return done


def flat(text: str) -> str:
    """The text on one line, with one space between words."""
    return " ".join(text.split())


def strict(text: str) -> Any:
    """Read JSON, refusing the words NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def stored(path: str = "run.h5") -> ls.Radii:
    """The radii in a file."""
    found = ls.Store(path)["radii"]
    assert isinstance(found, ls.Radii)
    return found
