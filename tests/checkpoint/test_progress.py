"""The step and the epoch that a checkpoint names, in the forms of the libraries that write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from landscape.checkpoint import read_checkpoint
from landscape.checkpoint.progress import file_progress


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"global_step": 120, "epoch": 2, "pytorch-lightning_version": "2.4"}, (120, 3)),
        ({"model": {}, "epoch": 7}, (None, 7)),
        ({"iter_num": 2000, "best_val_loss": 1.0}, (2000, None)),
        ({"meta": {"epoch": 3, "iter": 900}}, (900, 3)),
        ({"step": torch.tensor(5)}, (5, None)),
        ({"step": "many", "epoch": True}, (None, None)),
        ({"step": float("nan")}, (None, None)),
        ([1, 2], (None, None)),
    ],
)
def test_what_a_file_names(content: Any, found: tuple[Any, Any]) -> None:
    assert file_progress(content) == found


def test_a_checkpoint_says_it(tmp_path: Path) -> None:
    weights = {"w": torch.ones(2, 2)}
    torch.save({"state_dict": weights, "global_step": 40}, tmp_path / "a.ckpt")
    torch.save(weights, tmp_path / "b.pt")
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    torch.save(weights, folder / "pytorch_model.bin")
    assert [read_checkpoint(path).step for path in (tmp_path / "a.ckpt", tmp_path / "b.pt", folder)] == [40, None, None]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 500, "epoch": 1.25, "log_history": []}))
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.step, checkpoint.epoch) == (500, 1.25)
    (folder / "trainer_state.json").write_text("{")
    assert read_checkpoint(folder).step is None
