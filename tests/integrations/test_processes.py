"""Training on several processes: rank 0 measures all held data, and no rank notices."""

from __future__ import annotations

from pathlib import Path

import landscape as ls
from helpers.processes import together


def test_under_distributed_data_parallel_rank_0_measures_and_training_is_the_same(tmp_path: Path) -> None:
    for done in together(2, ["tracked", str(tmp_path)], tmp_path):
        assert done.returncode == 0, done.stderr
    assert ls.Store(tmp_path / "run.h5").names() == ["step-00000002", "step-00000004"]
