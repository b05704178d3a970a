"""Points spread over processes: the same bytes for any number of them, and one message when one of them fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import ranks

SCRIPT = str(Path(__file__).with_name("ranks_examples.py"))


def together(count: int, command: list[str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run a command in ``count`` processes, told of each other as torchrun tells them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        ended = [process.communicate(timeout=100) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, *texts)
        for process, texts in zip(running, ended, strict=True)
    ]


def test_the_same_bytes_on_one_two_and_three_ranks(tmp_path: Path) -> None:
    found: list[dict[str, np.ndarray]] = []
    for count in (1, 2, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        for done in together(count, [sys.executable, SCRIPT, "measure", str(folder)], tmp_path):
            assert done.returncode == 0, done.stderr
        for rank in range(count):
            with np.load(folder / f"{rank}.npz") as held:
                found.append({name: held[name] for name in held.files})
    assert len(found) == 6
    assert len(found[0]) == 11
    for other in found[1:]:
        for name, values in found[0].items():
            assert np.isfinite(values).any(), name
            assert other[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("fail", "ObjectiveError: the loss cannot be evaluated around the trained point: ValueError: no memory left"),
        ("leave", "LandscapeError: the checkpoint net.pt does not exist here"),
        ("stray", "RankError: the 2 ranks no longer measure the same points"),
        ("bug", "KeyError: 'lost'"),
    ],
)
def test_a_rank_that_fails_ends_all(tmp_path: Path, what: str, words: str) -> None:
    for done in together(2, [sys.executable, SCRIPT, what], tmp_path):
        assert done.returncode == 1
        assert words in done.stderr


TASK = """
import torch
import landscape as ls

def task():
    torch.manual_seed(0)
    x = torch.randn(60, 2)
    return ls.Task(model=torch.nn.Linear(2, 2), data=(x, (x[:, 0] > 0).long()), loss="cross_entropy")
"""
COMMAND = [sys.executable, "-c", "from landscape_cli.main import main; main()"]
LINE = "volume net.pt --estimator uniform --task task.py --cutoff 0.5 --directions 40 --out run.h5"
VOLUME = LINE.split()


def test_the_first_rank_alone_prints_and_writes(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    weights = {"weight": torch.tensor([[-9.0, 0.0], [9.0, 0.0]]), "bias": torch.zeros(2)}
    torch.save(weights, tmp_path / "net.pt")
    first, second = together(2, [*COMMAND, *VOLUME], tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "log10 V" in first.stdout
    assert (second.stdout, second.stderr) == ("", "")
    shared = ls.Store(tmp_path / "run.h5")["radii"]
    alone = [word if word != "run.h5" else "alone.h5" for word in VOLUME]
    assert subprocess.run([*COMMAND, *alone], cwd=tmp_path, capture_output=True).returncode == 0
    assert shared.radii.tobytes() == ls.Store(tmp_path / "alone.h5")["radii"].radii.tobytes()
    # more rays into the same file: all ranks read what the first one holds
    more = [word if word != "40" else "90" for word in VOLUME]
    first, second = together(2, [*COMMAND, *more, "--resume"], tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    longer = ls.Store(tmp_path / "run.h5")["radii"]
    assert longer.radii[:40].tobytes() == shared.radii.tobytes()
    assert longer.done.all()
    # and without --resume one message
    first, second = together(2, [*COMMAND, *VOLUME], tmp_path)
    assert (first.returncode, second.returncode) == (2, 2)
    assert first.stderr.count("already holds") == 1
    assert (second.stdout, second.stderr) == ("", "")


def test_a_command_that_shares_nothing_is_refused(tmp_path: Path) -> None:
    first, second = together(2, [*COMMAND, "show", "run.h5"], tmp_path)
    assert (first.returncode, second.returncode) == (2, 2)
    assert "without torchrun" in first.stderr
    assert second.stderr == ""


def test_alone_nothing_is_spread() -> None:
    with ranks.spread():
        assert (ranks.rank(), ranks.count()) == (0, 1)
        assert ranks.from_first(lambda: 3) == 3
