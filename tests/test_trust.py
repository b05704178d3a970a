"""Code that comes with a downloaded checkpoint does not run without consent."""

from __future__ import annotations

import pathlib
import sys
import types

import pytest
import torch

from helpers.nets import mlp
from landscape.errors import TaskError
from landscape.resolve import resolve_task

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))

def batches():
    import torch
    yield torch.ones(4, 2), torch.zeros(4, dtype=torch.long)

def loss(output, target):
    return output.square().mean()
"""
TASK = """
import landscape
import torch
from torch import nn

def task():
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
    return landscape.Task(model=net, data=(torch.ones(4, 2), torch.zeros(4, dtype=torch.long)))
"""
TRAP = "open(__file__ + '.ran', 'w').close()\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> pathlib.Path:
    """The folder that holds ``work``, where commands are typed, and ``download``; nothing is a repository."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    for folder in ("work", "download"):
        (tmp_path / folder).mkdir()
        torch.manual_seed(0)
        torch.save(mlp().state_dict(), tmp_path / folder / "net.pt")
        torch.save({"inputs": torch.ones(5, 2), "targets": torch.arange(5) % 3}, tmp_path / folder / "data.pt")
    (tmp_path / "work/my_net.py").write_text(NET)
    (tmp_path / "download/code_beside.py").write_text(TRAP + NET)
    (tmp_path / "download/task_beside.py").write_text(TRAP + TASK)
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith(("my_", "landscape_user_", "code_beside")):
            del sys.modules[name]


def refusal(*arguments, **options) -> str:
    with pytest.raises(TaskError) as caught:
        resolve_task(*arguments, **options)
    return str(caught.value)


def settle(folder: pathlib.Path, text: str) -> None:
    (folder / "landscape.toml").write_text(text)


def ran(folder: pathlib.Path) -> bool:
    return any(folder.rglob("*.ran"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("task = 'task_beside.py'", ["its task: task() in /", "/download/task_beside.py"]),
        ("model = 'code_beside.py:make'\ndata = 'data.pt'", ["model: make() in ", "code_beside.py"]),
        ("model = 'code_beside:make'\ndata = 'data.pt'", ["model: make() in code_beside"]),
        ("model = 'os:system'\n[model_args]\ncommand = 'touch x.ran'", ["model: system() in os"]),
        ("data = 'code_beside.py:batches'", ["data: batches() in "]),
        ("data = 'data.pt'\nloss = 'code_beside.py:loss'", ["loss: loss() in "]),
    ],
)
def test_code_that_downloaded_settings_name_needs_consent(settings, said, elsewhere):
    settle(elsewhere / "download", settings)
    own = {} if settings.startswith(("task", "model")) else {"model": "my_net:make"}
    text = refusal("../download/net.pt", **own)
    assert not ran(elsewhere)
    assert str(elsewhere / "download") not in sys.path
    expected = [*said, "`trust_code=True`", str(elsewhere / "download/landscape.toml"), "`model='my_net.py:make_net'`"]
    assert [words for words in expected if words not in text] == []


@pytest.mark.parametrize("settings", ["task = 'task_beside.py'", "model = 'code_beside.py:make'\ndata = 'data.pt'"])
def test_with_consent_it_runs(settings, elsewhere):
    settle(elsewhere / "download", settings)
    task, _ = resolve_task("../download/net.pt", trust_code=True)
    assert task.model[0].in_features == 2
    assert ran(elsewhere)


def test_data_losses_and_registered_models_need_none(elsewhere, monkeypatch):
    """torchvision's registry, played by a module: only some installed versions of it fit the installed torch."""
    models = types.ModuleType("torchvision.models")
    models.list_models = lambda module: ["tiny"]
    models.get_model_builder = lambda name: mlp
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    away = elsewhere / "download"
    settings = "data = 'data.pt'\nloss = 'mse'\n[model_args]\nhidden = 8\n"
    settle(away, "model = 'torchvision.models:tiny'\n" + settings)
    task, _ = resolve_task("../download/net.pt")
    assert (task.model[0].out_features, task.loss, len(task.data[0])) == (8, "mse", 5)
    settle(away, "model = 'torchvision.models:list_models'\n" + settings)
    assert "list_models() in torchvision.models" in refusal("../download/net.pt")
    assert not ran(elsewhere)


def test_symbolic_links_are_followed_first(elsewhere):
    settle(elsewhere / "download", "task = 'task_beside.py'")
    pathlib.Path("inside").symlink_to(elsewhere / "download")
    assert "trust_code" in refusal("inside/net.pt")
    pathlib.Path("landscape.toml").symlink_to(elsewhere / "download/landscape.toml")
    assert "trust_code" in refusal("net.pt")
    assert not ran(elsewhere)


def test_own_settings_lie_below_or_above_within_the_repository(elsewhere, monkeypatch):
    (elsewhere / "top.pt").write_bytes(pathlib.Path("net.pt").read_bytes())
    settle(elsewhere, "task = 'download/task_beside.py'")
    settle(elsewhere / "download", "task = 'task_beside.py'")
    assert "trust_code" in refusal("../top.pt")  # a parent folder, but no repository
    (elsewhere / ".git").mkdir()
    assert "trust_code" in refusal("../download/net.pt")  # the sibling is no parent
    assert not ran(elsewhere)
    resolve_task("../top.pt")
    (elsewhere / "work/.git").mkdir()  # now the working folder is a repository of its own
    assert "trust_code" in refusal("../top.pt")
    monkeypatch.chdir(elsewhere)
    resolve_task("download/net.pt")  # below the working folder


def test_a_record_in_a_checkpoint_names_no_code(elsewhere):
    """A record may name the recipes that come with landscape, and nothing else."""
    for recipe in ("../download/task_beside.py", str(elsewhere / "download/task_beside.py"), "code_beside:make"):
        torch.save({"state_dict": mlp().state_dict(), "landscape_task": {"recipe": recipe, "args": {}}}, "own.pt")
        assert "this version knows swiss-roll" in refusal("own.pt")
    assert not ran(elsewhere)
