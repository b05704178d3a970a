"""``Objective.from_checkpoint`` builds what the command line builds, for each form of a checkpoint."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import landscape as ls
from helpers.commands import run, stored
from helpers.nets import fake_transformers, mlp

CODE = """
import torch
from torch import nn
import landscape

def make(hidden=8):
    return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 3))

class Low(nn.Module):
    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(2, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 8, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))

def adapted():
    torch.manual_seed(1)
    net = make()
    net[0] = Low(net[0])
    return net

def batches():
    yield torch.ones(4, 2), torch.zeros(4, dtype=torch.long)
    yield torch.zeros(3, 2), torch.ones(3, dtype=torch.long)

def task():
    return landscape.Task(model=make(), data=list(batches()), loss="cross_entropy", name="named")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A working folder with checkpoints of each form, the code of their network, and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_net.py").write_text(CODE)
    np.savez("data.npz", inputs=np.eye(5, 2, dtype=np.float32), targets=np.arange(5) % 3)
    torch.manual_seed(0)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("my_net", "landscape_user_"))]:
        del sys.modules[name]


def save(form: str) -> str:
    """Write a checkpoint of one form, and return its path."""
    net = mlp()
    state = net.state_dict()
    if form == "safetensors":
        safetensors.torch.save_file(state, "net.safetensors")
        return "net.safetensors"
    if form == "script":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(net).save("script.pt")
        return "script.pt"
    if form == "lightning":
        torch.save(
            {"pytorch-lightning_version": "2.6", "state_dict": mlp(hidden=5).state_dict(),
             "hyper_parameters": {"hidden": 5, "lr": 0.1}},
            "net.ckpt",
        )  # fmt: skip
        return "net.ckpt"
    if form == "sharded":
        from torch.distributed import checkpoint as dcp  # here, since it takes seconds to import

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save({"model": state}, checkpoint_id="sharded")
        return "sharded"
    if form == "adapter":
        Path("adapter").mkdir()
        names = {f"base_model.model.0.lora_{side}.weight": size for side, size in (("A", (2, 2)), ("B", (8, 2)))}
        safetensors.torch.save_file(
            {name: torch.randn(size) for name, size in names.items()}, "adapter/adapter_model.safetensors"
        )
        Path("adapter/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
        return "adapter"
    if form == "recorded":
        run("train swiss-roll --steps 2 --out own.pt -q")
        return "own.pt"
    torch.save({"ema": mlp(hidden=8).state_dict(), "net": state} if form == "several" else state, "net.pt")
    if form == "toml":
        Path("landscape.toml").write_text("model = 'my_net:make'\ndata = 'data.npz'\n")
    return "net.pt"


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "state_dict": ("--model my_net.py:make --data data.npz", {"model": "my_net.py:make", "data": "data.npz"}),
    "safetensors": ("--model my_net:make --data my_net:batches", {"model": "my_net:make", "data": "my_net:batches"}),
    "task": ("--task my_net.py", {"task": "my_net.py"}),
    "script": ("--data data.npz", {"data": "data.npz"}),
    "lightning": ("--model my_net.py:make --data data.npz", {"model": "my_net.py:make", "data": "data.npz"}),
    "sharded": ("--model my_net.py:make --data data.npz", {"model": "my_net.py:make", "data": "data.npz"}),
    "adapter": ("--model my_net.py:adapted --data data.npz", {"model": "my_net.py:adapted", "data": "data.npz"}),
    "recorded": ("", {}),
    "toml": ("", {}),
    "several": (
        "--weights ema --model my_net.py:make --data data.npz --scope all --batch-size 2 --dtype float64",
        {"weights": "ema", "model": "my_net.py:make", "data": "data.npz", "scope": "all", "batch_size": 2,
         "dtype": torch.float64},
    ),
}  # fmt: skip


def assert_same_as_typed(objective: ls.Objective, path: str, typed: str) -> None:
    """Check against what the command measures with these options."""
    run(f"radius {path} {typed} --cutoff 99 --directions 1 --out run.h5 -q")
    radii = stored()
    described = objective.describe()
    assert {name: radii.config[name] for name in described} == described
    assert radii.centre == objective.centre
    assert radii.dimension == objective.dimension


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_what_the_command_line_builds(form: str) -> None:
    path = save(form)
    typed, keywords = FORMS[form]
    objective = ls.Objective.from_checkpoint(path, **keywords)
    assert objective.origin is not None
    assert str(objective.origin.path) == path
    assert_same_as_typed(objective, path, typed)


def test_a_hugging_face_folder_needs_only_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", fake_transformers([], ["TinyNet"]))
    Path("folder").mkdir()
    Path("folder/config.json").write_text("{}")
    safetensors.torch.save_file(mlp().state_dict(), "folder/model.safetensors")
    objective = ls.Objective.from_checkpoint("folder", data="data.npz", loss="cross_entropy")
    assert_same_as_typed(objective, "folder", "--data data.npz --loss cross_entropy")


@pytest.mark.parametrize("how", ["factory", "module", "class of a task", "task"])
def test_what_is_in_memory_counts_like_a_reference(how: str) -> None:
    path = save("state_dict")
    saved, data = torch.load(path), (torch.eye(5, 2), torch.arange(5) % 3)
    other = mlp()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    keywords: dict[str, Any] = {
        "factory": {"model": lambda hidden: mlp(hidden=hidden), "model_args": {"hidden": 8}, "data": lambda: data},
        "module": {"model": other, "data": data, "loss": nn.functional.cross_entropy},
        "class of a task": {"task": lambda: ls.Task(mlp(), data)},
        "task": {"task": ls.Task(other, data)},
    }[how]
    objective = ls.Objective.from_checkpoint(path, **keywords)
    typed = ls.Objective.from_checkpoint(path, model="my_net.py:make", data="data.npz")
    assert objective.theta_hash == typed.theta_hash
    assert objective.data_hash == typed.data_hash
    assert objective.centre == pytest.approx(typed.centre, rel=1e-6)
    assert torch.equal(objective.theta, torch.cat([saved[name].flatten() for name in saved]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())  # the caller's own


@pytest.mark.parametrize("path", [3, None, b"net.pt"])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(ls.LandscapeError, match="the checkpoint must be a path, not a value of type"):
        ls.Objective.from_checkpoint(path, model=mlp, data="data.npz")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({}, "Pass `model='my_net.py:make_net'` and `data='data.npz'`, or `task='my_task.py'`"),
        ({"model": 3, "data": "data.npz"}, "`model=...`: 3 is a value of type int, not a function that makes a model"),
        ({"model": lambda: 3, "data": "data.npz"}, "returned a value of type int; it must return a torch module"),
        ({"model": mlp, "data": lambda: None}, "returned None; it must return tensors or an iterable of batches"),
        ({"model": mlp, "data": "dat.npz"}, "dat.npz does not exist. Did you mean"),
        ({"model": mlp, "data": "data.npz", "loss": 3}, "`loss=...`: 3 is a value of type int, not a function"),
        ({"task": 3}, "`task=...`: expected a file, a landscape.Task or a function, not a value of type int"),
        ({"task": "my_net.py", "model": mlp}, "`task=...` brings its own model"),
        ({"model": mlp, "data": "data.npz", "dtype": "float23"}, "the dtype 'float23' is not known"),
    ],
)
def test_mistakes_are_told_in_keywords(keywords: dict[str, Any], said: str) -> None:
    path = save("state_dict")
    with pytest.raises(ls.LandscapeError) as caught:
        ls.Objective.from_checkpoint(path, **keywords)
    assert said in str(caught.value)
    assert "--" not in str(caught.value)
