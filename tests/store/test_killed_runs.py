"""A run killed at any moment leaves a file that opens, and continues to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.results import Progress

KILLS = 30
RAYS = 240


def objective() -> ls.Objective:
    """A small net that reaches its cutoff; a small memory budget makes many blocks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 3))
    inputs = torch.randn(60, 4)
    with torch.no_grad():
        model[2].weight.mul_(40)
    return ls.Objective(model, (inputs, model(inputs).argmax(-1)), memory=40_000)


def measure(path: Path) -> ls.Radii:
    """Measure the radii, committing after every block, and continue what the file already holds."""
    with ls.Store(path, write=True) as store:
        past = store["radii"] if "radii" in store.names() else None
        assert past is None or isinstance(past, ls.Radii)

        def commit(progress: Progress) -> None:
            store["radii"] = progress.snapshot()

        found = ls.basin_radii(objective(), [0.3, 1.0], directions=RAYS, resume=past, on_progress=commit)
        store["radii"] = found
    return found


def in_child(work: Callable[[], object], kill_after: float | None) -> bool:
    """Run ``work`` in a fork, killed after so many seconds; whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after is None:
        return os.waitpid(child, 0)[1] == 0
    deadline = time.monotonic() + kill_after
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, "the run failed by itself"
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_thirty_moments_continues_to_the_same_bytes(tmp_path: Path) -> None:
    started = time.monotonic()
    whole = measure(tmp_path / "whole.h5")
    length = time.monotonic() - started
    moments = random.Random(0)
    path = tmp_path / "run.h5"
    kills, rows, stopped_partway = 0, 0, 0
    while kills < KILLS:
        finished = in_child(lambda: measure(path), moments.uniform(0.0, 0.4) * length)
        kills += not finished
        if finished:
            path.unlink()  # begin again until there have been thirty
            rows = 0
        elif path.exists():
            now = ls.Store(path)["radii"]
            assert isinstance(now, ls.Radii)
            done = now.done
            assert int(done.sum()) >= rows, "rows that were committed are lost"
            rows = int(done.sum())
            stopped_partway += 0 < rows < RAYS
            assert now.radii[done].tobytes() == whole.radii[done].tobytes()
    assert stopped_partway >= 5
    assert in_child(lambda: measure(path), None)
    resumed = ls.Store(path)["radii"].arrays()
    for name, array in whole.arrays().items():
        assert resumed[name].tobytes() == array.tobytes(), name
