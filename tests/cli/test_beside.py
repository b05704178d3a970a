"""``--processes``: the same bytes with several processes, which end with the first one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import landscape as ls
from helpers.processes import together
from helpers.task_folder import with_a_net

BESIDE = "import os, time; from landscape_cli.beside import beside\n"


def command(folder: Path) -> list[str]:
    """Return words that measure a small net in a folder, up to the name of the results file."""
    with_a_net(folder)
    line = "landscape volume net.pt --task task.py --cutoff 0.5 --budget 6000 --estimator annealed --out"
    return line.split()


def test_two_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    words = command(tmp_path)
    (alone,) = together(1, [*words, "one.h5"], tmp_path)
    (first,) = together(1, [*words, "two.h5", "--processes", "2"], tmp_path)
    assert (alone.returncode, first.returncode) == (0, 0), first.stderr
    assert first.stdout.count("to quote") == 1
    one, two = (ls.Store(tmp_path / f"{name}.h5")["islands"].arrays() for name in ("one", "two"))
    assert {name: array.tobytes() for name, array in one.items()} == {name: two[name].tobytes() for name in two}


def test_torchrun_and_processes_exclude_each_other(tmp_path: Path) -> None:
    first, second = together(2, [*command(tmp_path), "run.h5", "--processes", "3"], tmp_path)
    assert (first.returncode, second.returncode) == (2, 2)
    assert "torchrun has started 2 already. Leave out one of the two." in " ".join(first.stderr.split())


def test_a_process_ends_once_the_first_one_is_gone() -> None:
    code = BESIDE + "os.environ['LANDSCAPE_BESIDE'] = '1'\nwith beside(2, []): time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert other.stdin is not None
    other.stdin.close()
    assert other.wait(30) == 1


def test_a_process_that_ends_too_early_ends_the_first_one() -> None:
    code = BESIDE + "with beside(2, ['--version']): print('measured')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "process 2 of 2 ended before it could measure anything (code 0)" in done.stderr
