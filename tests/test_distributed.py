"""Points spread over processes: the same bytes for any number of them, and one message when one of them fails."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.processes import PATIENCE, together
from helpers.task_folder import with_a_net
from landscape import distributed

SOON = 20.0  # seconds in which a run is to end once a rank is gone


def test_the_same_bytes_on_one_and_three_ranks(tmp_path: Path) -> None:
    """On two as well: radii below, islands in cli/test_beside.py."""
    found: list[dict[str, np.ndarray]] = []
    for count in (1, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        for done in together(count, ["measure", str(folder)], tmp_path):
            assert done.returncode == 0, done.stderr
        for rank in range(count):
            with np.load(folder / f"{rank}.npz") as held:
                found.append({name: held[name] for name in held.files})
    assert len(found) == 4
    assert len(found[0]) == 19
    for other in found[1:]:
        for name, values in found[0].items():
            assert np.isfinite(values).any(), name
            assert other[name].tobytes() == values.tobytes(), name


def test_batches_shared_by_one_to_four_ranks_give_the_same_bytes(tmp_path: Path) -> None:
    for done in together(4, ["regrouped", str(tmp_path)], tmp_path):
        assert done.returncode == 0, done.stderr
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 1 + 2 + 3 + 4
    alone = np.load(files[0])
    for path in files[1:]:
        with np.load(path) as shared:
            for name in alone.files:
                assert np.isfinite(alone[name]).all(), name
                if name.endswith("to rounding"):
                    np.testing.assert_allclose(shared[name], alone[name], rtol=1e-5)
                else:
                    assert shared[name].tobytes() == alone[name].tobytes(), (path.name, name)


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
    for done in together(2, [what], tmp_path):
        assert done.returncode == 1
        assert words in done.stderr


LINE = "landscape volume net.pt --estimator uniform --task task.py --cutoff 0.5 --directions 40 --out run.h5"
VOLUME = LINE.split()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A folder with a small net and its task."""
    return with_a_net(tmp_path)


def test_the_first_rank_alone_prints_and_writes(net: Path) -> None:
    first, second = together(2, VOLUME, net)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "log10 V" in first.stdout
    assert (second.stdout, second.stderr) == ("", "")
    shared = ls.Store(net / "run.h5")["radii"]
    alone = [word if word != "run.h5" else "alone.h5" for word in VOLUME]
    assert together(1, alone, net)[0].returncode == 0
    assert shared.radii.tobytes() == ls.Store(net / "alone.h5")["radii"].radii.tobytes()
    # more rays into the same file: all ranks read what the first one holds
    more = [word if word != "40" else "90" for word in VOLUME]
    first, second = together(2, [*more, "--resume"], net)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    longer = ls.Store(net / "run.h5")["radii"]
    assert longer.radii[:40].tobytes() == shared.radii.tobytes()
    assert longer.done.all()
    # and without --resume one message
    first, second = together(2, VOLUME, net)
    assert (first.returncode, second.returncode) == (2, 2)
    assert first.stderr.count("already holds") == 1
    assert (second.stdout, second.stderr) == ("", "")


# a rank that is killed

MORE = "landscape volume net.pt --estimator uniform --task task.py --cutoff 0.5 --directions 600 --lanes 8 --out"
LONG = MORE.split()


def once_kept(path: Path, act: Callable[[], None]) -> None:
    """Act as soon as the first rays are in the file."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    act()


def is_partial(path: Path) -> bool:
    """Whether the file opens and holds some rays of a run, and not all."""
    done = ls.Store(path)["radii"].done
    assert ls.Store(path).names() == ["radii"]
    return bool(0 < done.sum() < len(done))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The arrays of a run that nothing stopped."""
    folder = with_a_net(tmp_path_factory.mktemp("whole"))
    assert together(1, [*LONG, "run.h5"], folder)[0].returncode == 0
    return arrays_of(folder / "run.h5")


def arrays_of(path: Path) -> dict[str, bytes]:
    store = ls.Store(path)
    return {
        f"{name} {key}": array.tobytes() for name in ("radii", "volume") for key, array in store[name].arrays().items()
    }


def goes_on(net: Path, count: int) -> dict[str, bytes]:
    """Continue a copy of run.h5 on so many ranks and return its arrays."""
    shutil.copy(net / "run.h5", net / f"{count}.h5")
    for done in together(count, [*LONG, f"{count}.h5", "--resume"], net):
        assert done.returncode == 0, done.stderr
    return arrays_of(net / f"{count}.h5")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_ends_all_soon_and_the_run_goes_on_with_any_number(
    net: Path, whole: dict[str, bytes], victim: int
) -> None:
    def kill(pids: list[int]) -> None:
        once_kept(net / "run.h5", lambda: os.kill(pids[victim], signal.SIGKILL))

    ended = together(2, [*LONG, "run.h5"], net, kill, SOON)
    assert ended[victim].returncode == -signal.SIGKILL
    assert ended[1 - victim].returncode == 2
    first = ended[0]
    if victim == 1:
        assert first.stderr.count("Error") == 1
        assert "Error: another of the 2 ranks is gone, stopped or killed (" in first.stderr
        assert "/pytorch/" not in first.stderr
        assert "kept in run.h5; continue with: landscape volume net.pt" in first.stderr
        assert "Traceback" not in first.stderr
    assert (ended[1].stdout, ended[1].stderr) == ("", "")
    assert is_partial(net / "run.h5")
    for count in (1, 3) if victim else (2,):
        assert goes_on(net, count) == whole


def test_torchrun_ends_when_a_rank_is_killed(net: Path, whole: dict[str, bytes]) -> None:
    def kill(pids: list[int]) -> None:
        once_kept(net / "run.h5", lambda: os.kill(worker(pids[0], "1"), signal.SIGKILL))

    program = [sys.executable, "-c", "from landscape_cli.main import main; main()"]
    words = ["torchrun", "--standalone", "--nproc-per-node=2", "--no-python", *program, *LONG[1:], "run.h5"]
    ended = together(1, words, net, kill, SOON)[0]
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Signal 9 (SIGKILL) received" in ended.stderr
    assert is_partial(net / "run.h5")
    assert goes_on(net, 1) == whole


def worker(launcher: int, rank: str) -> int:
    """Return the process id of this rank among those that the launcher started."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise LookupError(f"no rank {rank}")


def test_a_command_that_shares_nothing_is_refused(tmp_path: Path) -> None:
    first, second = together(2, ["landscape", "show", "run.h5"], tmp_path)
    assert (first.returncode, second.returncode) == (2, 2)
    assert "without torchrun" in first.stderr
    assert second.stderr == ""


def test_alone_nothing_is_spread() -> None:
    with distributed.spread():
        assert (distributed.rank(), distributed.count()) == (0, 1)
        assert distributed.from_first(lambda: 3) == 3


def test_an_exchange_ends_when_no_thread_holds_its_tensors() -> None:
    tensor = torch.zeros(3, requires_grad=True)
    held: list[torch.Tensor] = []
    thread = threading.Timer(0.2, held.clear)
    with distributed.let_go(tensor):
        held.append(tensor.view(3))  # a view holds its base
        thread.start()
    assert held == []
    thread.join()
