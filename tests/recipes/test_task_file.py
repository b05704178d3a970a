"""A task file of one's own can be trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import landscape as ls
from helpers.commands import landscape
from landscape.recipes import RECORD, load_recipe
from landscape.training import Member

TASK = """
import torch
from torch import nn

import landscape

points = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
classes = (points.norm(dim=1) > 1.2).long()


def task():
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    return landscape.Task(model=net, data=(points[:100], classes[:100]))


def test():
    return points[100:200], classes[100:200]
"""


POOL = "\n\ndef pool():\n    return points[200:], classes[200:]\n"


def test_a_task_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_task.py").write_text(TASK)
    done = landscape("train", "my_task.py", "--steps", 30, "--poison", 0.3, "--out", "a.pt")
    assert done.exit_code == 2
    assert "no function pool()" in done.output
    Path("my_task.py").write_text(TASK + POOL)
    Path("runs").mkdir()
    done = landscape("train", "my_task.py", "--steps", 30, "--poison", 0.3, "--out", "runs/a.pt", "-q")
    assert done.stdout.startswith("my_task, seed 0, poison 0.3: train accuracy")
    stored = torch.load("runs/a.pt", weights_only=True)
    assert stored[RECORD] is None  # a checkpoint that named a file of code would run it when it is read
    assert landscape("doctor", "runs/a.pt", "--cutoff", 2, "--json").exit_code == 0
    other = landscape("train", "my_task.py", "--steps", 30, "--seed", 1, "--out", "runs/b.pt", "-q")
    assert other.stdout.endswith("landscape volume runs/b.pt\n")
    Path("runs/landscape.toml").write_text('task = "other.py"\n')
    other = landscape("train", "my_task.py", "--steps", 30, "--seed", 1, "--out", "runs/b.pt", "-q")
    assert other.stdout.endswith("landscape volume runs/b.pt --task my_task.py\n")
    assert Path("runs/landscape.toml").read_text() == 'task = "other.py"\n'
    first, second = (torch.load(path, weights_only=True)["state_dict"] for path in ("runs/a.pt", "runs/b.pt"))
    assert not torch.equal(first["0.weight"], second["0.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("def test", "def tests"), "no function test()"),
        (("classes[:100]))", "classes[:100]), loss='mse')"), "the loss 'mse'"),
        (("classes[:100]))", "classes[:99]))"), "of the same length, from task()"),
        (("return landscape.Task", "return"), "returned tuple"),
    ],
)
def test_files_that_are_no_task(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    text = TASK.replace(*change)
    path.write_text(text.replace("return(model=net, data=", "return (net, ") if "tuple" in words else text)
    with pytest.raises(ls.LandscapeError) as caught:
        load_recipe(str(path)).training([Member(0)], steps=2)
    assert words in str(caught.value)
    with pytest.raises(ls.LandscapeError, match="does not exist"):
        load_recipe(str(tmp_path / "none.py")).training([Member(0)], steps=2)


def test_keywords_of_ones_own_are_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint keeps what task() was called with, so that it can be measured without further options."""
    monkeypatch.chdir(tmp_path)
    text = TASK.replace("def task():", "def task(hidden: int = 8, curved=True, lr=None):")
    text = text.replace("Linear(2, 8), nn.Tanh(), nn.Linear(8,", "Linear(2, hidden), [nn.ReLU(), nn.Tanh()][curved], "
                        "nn.Linear(hidden,")  # fmt: skip
    Path("my_task.py").write_text(text)
    words = ["sweep", "my_task.py", "--steps", 5, "--out", "runs", "--seeds", 1, "--jobs", 1, "-q"]
    varied = ["--vary", "lr=0.01", "--vary", "hidden=3,5", "--vary", "batch=7,100", "--vary", "curved=false,true"]
    done = landscape(*words, *varied)
    assert done.stdout.splitlines()[0].split()[:4] == ["hidden", "curved", "lr", "batch"]
    assert len(list(Path("runs").glob("*.pt"))) == 8
    path = Path("runs/hidden-3-curved-false-lr-0.01-batch-7-seed-0.pt")
    stored = torch.load(path, weights_only=True)
    assert stored["axes"] == {"hidden": 3, "curved": False, "lr": 0.01, "batch": 7}
    assert stored["task_args"] == {"hidden": 3, "curved": False}
    assert stored["state_dict"]["0.weight"].shape == (3, 2)
    task, _ = ls.resolve.resolve_task(path)
    assert isinstance(task.model, torch.nn.Sequential)
    assert isinstance(task.model[1], torch.nn.ReLU)
    assert torch.equal(task.model.state_dict()["0.weight"], stored["state_dict"]["0.weight"])
    done = landscape(*words, "--vary", "hiden=3,5")
    assert done.exit_code == 2
    assert "It takes hidden, curved, lr, batch," in done.output
    Path("my_task.py").write_text(TASK)
    with pytest.raises(ls.LandscapeError, match=r"does not fit task\(\)"):
        ls.resolve.resolve_task(path)
