"""A run killed at any moment leaves a file that opens, and continues to the same bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.results import Progress

RAYS = 96
MOMENTS = [(0, "before"), (0, "within"), (0, "after"), (2, "within"), (1, "before"), (3, "after"), (1, "within")]


def objective() -> ls.Objective:
    """A small net that reaches its cutoff; a small memory budget makes many blocks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 3))
    inputs = torch.randn(60, 4)
    with torch.no_grad():
        model[2].weight.mul_(40)
    return ls.Objective(model, (inputs, model(inputs).argmax(-1)), memory=40_000)


def measure(path: Path, watch: Callable[[int, str], None] = lambda block, moment: None) -> ls.Radii:
    """Measure the radii, committing after every block, and continue what the file already holds.

    ``watch`` is called with the number of the block, from 0 on, before its commit, at each fsync, and after the commit.
    """
    with ls.Store(path, write=True) as store:
        past = store["radii"] if "radii" in store.names() else None
        assert past is None or isinstance(past, ls.Radii)
        blocks, sync = -1, os.fsync

        def synced(file: int) -> None:
            watch(blocks, "within")
            sync(file)

        def commit(progress: Progress) -> None:
            nonlocal blocks
            blocks += 1
            watch(blocks, "before")
            store["radii"] = progress.snapshot()
            watch(blocks, "after")

        os.fsync = synced
        try:
            found = ls.basin_radii(objective(), [0.3, 1.0], directions=RAYS, resume=past, on_progress=commit)
        finally:
            os.fsync = sync
        store["radii"] = found
    return found


def in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a fork and return how it ended: 0, or the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_any_moment_continues_to_the_same_bytes(tmp_path: Path) -> None:
    """Killed in turn before, within and after commits of its first block and of later ones, always the same run."""
    whole, path, rows = measure(tmp_path / "whole.h5"), tmp_path / "run.h5", [0]
    for moment in MOMENTS:

        def kill(block: int, where: str, moment: tuple[int, str] = moment) -> None:
            if (block, where) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        assert in_child(lambda kill=kill: measure(path, kill)) == signal.SIGKILL  # type: ignore[misc]
        if not path.exists():
            assert rows == [0] * len(rows)
            rows.append(0)
            continue
        now = ls.Store(path)["radii"]
        assert isinstance(now, ls.Radii)
        rows.append(int(now.done.sum()))
        assert rows[-1] >= rows[-2], "rows that were committed are lost"
        assert now.radii[now.done].tobytes() == whole.radii[now.done].tobytes()
    assert len(set(rows)) >= 5
    assert 0 < rows[-1] < RAYS
    assert in_child(lambda: measure(path)) == 0
    resumed = ls.Store(path)["radii"].arrays()
    for name, array in whole.arrays().items():
        assert resumed[name].tobytes() == array.tobytes(), name
