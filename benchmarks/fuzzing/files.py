"""A folder with one good file of every form, to be damaged."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import safetensors.torch
import torch
from click.testing import CliRunner
from torch import nn
from torch.optim.swa_utils import AveragedModel

from landscape_cli.main import cli

CODE = """
import landscape
import torch
from torch import nn


def make(hidden=8):
    return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 3))


def batches():
    torch.manual_seed(0)
    inputs = torch.randn(24, 2)
    return inputs, (inputs.norm(dim=1) > 1).long()


def loss(output, target):
    return nn.functional.cross_entropy(output, target, reduction="none")


def task():
    return landscape.Task(model=make(), data=batches(), loss="cross_entropy")
"""
BUDGET = 80_000  #: of a small run of annealed islands
SETTINGS = 'model = "net.py:make"\ndata = "data.npz"\nloss = "cross_entropy"\n\n[model_args]\nhidden = 8\n'


def write_good_files(folder: Path) -> None:
    """Write the code, the settings, and every form of checkpoint, data and results into an empty folder."""
    (folder / "net.py").write_text(CODE)
    for name in ("checkpoints", "data", "results", "folder"):
        (folder / name).mkdir()
    names: dict[str, object] = {}
    exec(CODE, names)
    make, batches = names["make"], names["batches"]
    assert callable(make)
    assert callable(batches)
    net, (inputs, targets) = _trained(make(), *batches()), batches()
    torch.save(net.state_dict(), folder / "net.pt")
    np.savez(folder / "data.npz", inputs=inputs, targets=targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of its own forms
        _write_checkpoints(net, folder / "checkpoints")
    _write_data(inputs, targets, folder / "data")
    _write_results(folder)


def _trained(net: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> nn.Module:
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(inputs), targets).backward()
        optimiser.step()
    return net


def _write_checkpoints(net: nn.Module, folder: Path) -> None:
    state = net.state_dict()
    torch.save(state, folder / "plain.pt")
    torch.save(state, folder / "older.pt", _use_new_zipfile_serialization=False)
    torch.save(net, folder / "pickled.pt")
    torch.save(
        {"state_dict": state, "landscape_task": {"recipe": "swiss-roll", "args": {"seed": 0}}}, folder / "own.pt"
    )
    lightning = {"pytorch-lightning_version": "2.6", "state_dict": state, "hyper_parameters": {"hidden": 8}}
    torch.save(lightning, folder / "lightning.ckpt")
    torch.save({"state_dict": state, "swa": AveragedModel(net).state_dict()}, folder / "average.pt")
    safetensors.torch.save_file(state, folder / "net.safetensors")
    torch.jit.script(net).save(str(folder / "script.pt"))
    torch.export.save(torch.export.export(net, (torch.ones(4, 2),)), folder / "exported.pt2")
    from torch.distributed import checkpoint as dcp  # here, since it takes seconds to import

    dcp.save({"model": state, "epoch": 3}, checkpoint_id=folder / "sharded")
    shards = folder / "huggingface"
    shards.mkdir()
    for index, part in enumerate(("0.", "2.")):
        tensors = {name: tensor for name, tensor in state.items() if name.startswith(part)}
        safetensors.torch.save_file(tensors, shards / f"part{index}.safetensors")
    places = {name: f"part{int(name[0] == '2')}.safetensors" for name in state}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (shards / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "model_type": "bert"}))
    step = folder / "deepspeed/global_step3"
    step.mkdir(parents=True)
    (folder / "deepspeed/latest").write_text("global_step3")
    torch.save({"module": state, "optimizer": None}, step / "mp_rank_00_model_states.pt")
    adapter = folder / "adapter"
    adapter.mkdir()
    safetensors.torch.save_file(
        {"base_model.model.0.lora_A.weight": torch.ones(2, 2)}, adapter / "adapter_model.safetensors"
    )
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": "b"})
    )


def _write_data(inputs: torch.Tensor, targets: torch.Tensor, folder: Path) -> None:
    x, y = inputs.numpy(), targets.numpy()
    np.savez(folder / "data.npz", inputs=x, targets=y)
    np.savez_compressed(folder / "packed.npz", inputs=x, targets=y)
    rows = np.zeros(len(x), dtype=[("inputs", np.float32, (2,)), ("targets", np.int64)])
    rows["inputs"], rows["targets"] = x, y
    np.save(folder / "data.npy", rows)
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("inputs", data=x, compression="gzip")
        file["targets"] = y
    torch.save({"inputs": inputs, "targets": targets}, folder / "data.pt")
    safetensors.torch.save_file({"inputs": inputs, "targets": targets}, folder / "data.safetensors")


def _write_results(folder: Path) -> None:
    """Measure a few results with the commands themselves, in the folder."""
    start = ["net.pt", "--task", "net.py", "-q", "--out"]
    small = ["--max-radius", "0.05", "--rtol", "0.05", "--budget", str(BUDGET)]
    for words in (
        ["volume", *start, "results/run.h5", "--estimator", "uniform", "--directions", "40", "--criterion", "rise"],
        ["volume", *start, "results/islands.h5", "--criterion", "rise", "--estimator", "annealed", *small],
        ["slice", *start, "results/run.h5", "--steps", "5"],
        ["slice", *start, "results/plane.h5", "--dim", "2", "--steps", "5"],
        ["curvature", *start, "results/curvature.h5", "--top", "2", "--trace", "--density", "--layers"],
    ):
        done = CliRunner().invoke(cli, words)
        if done.exit_code != 0:
            raise RuntimeError(f"landscape {' '.join(words)}: {done.output}") from done.exception
