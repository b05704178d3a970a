"""Models under FSDP2, tensor parallelism and DDP: the numbers of one process, on several."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.processes import together


@pytest.mark.parametrize(("kind", "ranks"), [("fsdp", 2), ("fsdp", 3), ("tensor", 2), ("ddp", 2)])
def test_losses_of_a_sharded_model_are_those_of_one_process(tmp_path: Path, kind: str, ranks: int) -> None:
    for done in together(ranks, ["sharded", f"losses-{kind}"], tmp_path):
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["fsdp", "tensor"])
def test_curvature_of_a_sharded_model_is_that_of_one_process(tmp_path: Path, kind: str) -> None:
    for done in together(2, ["sharded", f"curvatures-{kind}"], tmp_path):
        assert done.returncode == 0, done.stderr


def test_what_cannot_be_measured_is_one_clear_error(tmp_path: Path) -> None:
    for done in together(2, ["sharded", "refused"], tmp_path):
        assert done.returncode == 0, done.stderr
