"""A rank of a sharded model that is killed: one error on the others, and another number of ranks goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

import landscape as ls
from helpers.processes import PATIENCE, together

TASK = """
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
import landscape as ls

def task():
    x = torch.linspace(-1, 1, 40).reshape(20, 2).sin()
    model = torch.nn.Linear(2, 2)
    if dist.is_initialized():
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return ls.Task(model=model, data=(x, (x[:, 0] > 0).long()), loss="cross_entropy")
"""
WORDS = "landscape radius net.pt --task task.py --cutoff 0.5 --directions 300 --lanes 1 --out run.h5"


def test_a_killed_rank_is_one_error_and_the_run_goes_on_with_another_number(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    weights = {"weight": torch.tensor([[-9.0, 0.0], [9.0, 0.0]]), "bias": torch.zeros(2)}
    torch.save(weights, tmp_path / "net.pt")

    def kill(pids: list[int]) -> None:
        deadline = time.monotonic() + PATIENCE / 2
        while not (tmp_path / "run.h5").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(pids[1], signal.SIGKILL)

    first, second = together(2, WORDS.split(), tmp_path, kill)
    assert (first.returncode, second.returncode) == (2, -signal.SIGKILL)
    assert first.stderr.count("Error: another of the 2 ranks is gone, stopped or killed (") == 1
    assert "Traceback" not in first.stderr
    kept = ls.Store(tmp_path / "run.h5")["radii"]
    assert 0 < kept.done.sum() < 300
    (alone,) = together(1, [*WORDS.replace("300", "302").split(), "--resume"], tmp_path)
    assert alone.returncode == 0, alone.stderr
    whole = ls.Store(tmp_path / "run.h5")["radii"]
    assert whole.done.all()
    assert whole.radii[: len(kept.radii)][kept.done].tobytes() == kept.radii[kept.done].tobytes()
