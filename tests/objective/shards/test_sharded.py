"""Models under FSDP2, tensor parallelism and DDP: the numbers of one process, on several."""

from __future__ import annotations

from pathlib import Path

from helpers.processes import together

CHECKS = [
    "losses-fsdp", "losses-tensor", "losses-ddp", "curvatures-fsdp", "curvatures-tensor", "memory", "refused", "broken"
]  # fmt: skip


def test_a_sharded_model_gives_the_numbers_of_one_process(tmp_path: Path) -> None:
    # in one group of processes, since most of the time goes into their start
    for done in together(2, ["sharded", *CHECKS], tmp_path):
        assert done.returncode == 0, done.stderr


def test_on_three_ranks_some_hold_nothing_of_a_parameter(tmp_path: Path) -> None:
    for done in together(3, ["sharded", "losses-fsdp"], tmp_path):
        assert done.returncode == 0, done.stderr
