"""What Lightning stores with a network: its arguments, and where its data come from."""

from __future__ import annotations

import pathlib
import sys

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from helpers.nets import mlp
from landscape import Objective, Task
from landscape.errors import TaskError
from landscape.inputs.lightning import arguments_for
from landscape.resolve import resolve_task

CODE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def make(hidden, depth=1):
    return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 3))

def from_one(hparams):
    return make(hparams["hidden"])

class Points:
    def __init__(self, size=40):
        self.size = size
    def prepare_data(self):
        pass
    def setup(self, stage=None):
        assert stage == "fit"
        self.data = TensorDataset(torch.arange(2.0 * self.size).reshape(-1, 2), torch.arange(self.size) % 3)
    def train_dataloader(self):
        return DataLoader(self.data, batch_size=16, shuffle=True, drop_last=True)

class Several(Points):
    def train_dataloader(self):
        return {"a": super().train_dataloader()}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_lit.py").write_text(CODE)
    save({"hidden": 5, "lr": 0.1})
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("my_lit", "landscape_user_"))]:
        del sys.modules[name]


def save(hyper: dict, **further) -> None:
    content = {"pytorch-lightning_version": "2.6", "state_dict": mlp(hidden=5).state_dict(), "hyper_parameters": hyper}
    torch.save(content | further, "net.ckpt")


def test_stored_arguments_build_the_network():
    task, checkpoint = resolve_task("net.ckpt", model="my_lit.py:make", data="my_lit.py:Points")
    assert task.model[0].out_features == 5
    assert checkpoint.form.endswith("; arguments from its hyper_parameters: hidden=5")
    task, checkpoint = resolve_task(
        "net.ckpt", model="my_lit.py:make", model_args={"hidden": 5}, data="my_lit.py:Points"
    )
    assert "hyper_parameters" not in checkpoint.form
    torch.save(mlp(hidden=5).state_dict(), "net.ckpt")
    with pytest.raises(TaskError, match="missing a required argument"):
        resolve_task("net.ckpt", model="my_lit.py:make", data="my_lit.py:Points")


def test_one_argument_that_takes_them_all():
    save({"hidden": 5}, hparams_name="hparams")
    assert resolve_task("net.ckpt", model="my_lit.py:from_one", data="my_lit.py:Points")[0].model[0].out_features == 5


def test_a_data_module_gives_every_sample_in_order():
    task, _ = resolve_task("net.ckpt", model="my_lit.py:make", data="my_lit.py:Points")
    assert isinstance(task.data, DataLoader)
    batches = list(task.data)
    assert torch.equal(torch.cat([x for x, _ in batches]), torch.arange(80.0).reshape(-1, 2))
    assert [len(y) for _, y in batches] == [16, 16, 8]
    assert Objective(task.model, task.data, task.loss).samples == 40


def test_a_data_module_gets_its_stored_arguments():
    save({"hidden": 5}, datamodule_hyper_parameters={"size": 12, "workers": 3})
    task, _ = resolve_task("net.ckpt", model="my_lit.py:make", data="my_lit.py:Points")
    assert len(task.data.dataset) == 12


def test_several_loaders_are_refused():
    with pytest.raises(TaskError, match=r"of Several returns several loaders. Name one"):
        resolve_task("net.ckpt", model="my_lit.py:make", data="my_lit.py:Several")


def test_a_task_takes_a_data_module():
    class Points:
        def prepare_data(self):
            pass

        def setup(self):
            self.loader = DataLoader(TensorDataset(torch.ones(4, 2), torch.zeros(4)), batch_size=3, shuffle=True)

        def train_dataloader(self):
            return self.loader

    assert [len(y) for _, y in Task(mlp(), Points()).data] == [3, 1]


def test_a_function_that_takes_anything_gets_all_arguments_and_one_in_c_none():
    assert arguments_for(lambda **others: None, {"width": 16, "lr": 0.1}) == {"width": 16, "lr": 0.1}
    assert arguments_for(min, {"width": 16}) == {}
