"""The store: one writer at a time, and nothing that happens to a writer harms the file."""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from helpers.children import Child
from helpers.stores import NAMES, assert_same, leftovers, make_radii, make_volume, run_python, start_python
from landscape.errors import StoreError
from landscape.results import Radii
from landscape.store import Store
from landscape.store.lock import WriterLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


def forked(code: str) -> Child:
    """Return a fork that runs code, with the names of ``run_python`` at hand."""
    return Child(lambda: exec(NAMES + code, {"__name__": "__main__"}))


def run_forked(code: str) -> str:
    """Run code in a fork and return what it printed."""
    with forked(code) as process:
        printed, said = process.communicate()
    assert process.returncode == 0, said
    return printed


# One writer at a time


def test_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    with Store(path, write=True) as first:
        first["radii"] = make_radii(1)
        for attempt in (lambda: Store(path, write=True), lambda: Store(path).__delitem__("radii")):
            with pytest.raises(StoreError, match=rf"being written by another run \(pid {os.getpid()} on .*, since 20"):
                attempt()
        first["radii"] = make_radii(2)
    with Store(path, write=True) as second:
        second["radii"] = make_radii(3)
    assert leftovers(path.parent) == []
    first["radii"] = make_radii(4)  # a closed store behaves as one opened without write=True
    first.close()
    assert leftovers(path.parent) == []


def test_second_process_is_refused_until_the_first_is_killed(path: Path) -> None:
    writer = start_python(
        f"store = Store({str(path)!r}, write=True)\nstore['radii'] = make_radii(7)\nprint('ready', flush=True)\n"
        # The forked child, like a worker of a data loader, outlives its parent and must not go on holding the lock.
        "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n    store.close()\ntime.sleep(60)"
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    child = int(writer.stdout.readline())
    try:
        with pytest.raises(StoreError, match=rf"\(pid {writer.pid} on "):
            Store(path, write=True)
        with pytest.raises(StoreError, match=rf"\(pid {writer.pid} on "):
            Store(path)["radii"] = make_radii(8)
        assert_same(Store(path)["radii"], make_radii(7))
        path.with_name(".run.h5.part").write_bytes(b"half a file")
        writer.kill()
        writer.wait()
        assert "run.h5.lock" in leftovers(path.parent)
        with Store(path, write=True) as store:
            store["radii"] = make_radii(8)
        assert_same(Store(path)["radii"], make_radii(8))
        assert leftovers(path.parent) == []
    finally:
        os.kill(child, signal.SIGKILL)
        writer.kill()
        writer.communicate()


def test_forked_child_does_not_write_in_its_parents_name(path: Path) -> None:
    assert "child: refused" in run_forked(
        f"store = Store({str(path)!r}, write=True)\nstore['radii'] = make_radii(7)\n"
        "if os.fork() == 0:\n"
        "    try:\n        store['radii'] = make_radii(1)\n"
        "    except StoreError:\n        store.close()\n        print('child: refused', flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\nassert_same(store['radii'], make_radii(7))\nstore['radii'] = make_radii(8)\nstore.close()"
    )
    assert_same(Store(path)["radii"], make_radii(8))


def test_lock_file_removed_between_opening_and_locking_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second writer opens the first one's lock file; before it locks that, the first leaves and a third comes."""
    first, others = Store(path, write=True), []
    flock = fcntl.flock

    def late(*arguments: Any) -> None:
        monkeypatch.undo()
        first.close()
        others.append(Store(path, write=True))
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(StoreError, match="being written"):
        Store(path, write=True)
    others[0].close()
    assert leftovers(path.parent) == []


def test_lock_is_held_until_its_file_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let go first, and the file that is then removed may be the lock file of the next writer."""
    store, tried = Store(path, write=True), []
    unlink = Path.unlink

    def early(lock_file: Path, **keywords: Any) -> None:
        monkeypatch.undo()
        with pytest.raises(StoreError, match="being written"):
            Store(path, write=True)
        tried.append(lock_file.name)
        unlink(lock_file, **keywords)

    monkeypatch.setattr(Path, "unlink", early)
    store.close()
    assert tried == ["run.h5.lock"]
    Store(path, write=True).close()
    assert leftovers(path.parent) == []


def test_a_writer_whose_lock_file_was_deleted_leaves_the_next_ones_alone(path: Path) -> None:
    """A user may delete run.h5.lock; the writer that held it must not remove the lock file of the next writer."""
    first = Store(path, write=True)
    path.with_name("run.h5.lock").unlink()
    with Store(path, write=True):
        first.close()
        with pytest.raises(StoreError, match="being written"):
            Store(path, write=True)
    assert leftovers(path.parent) == []


def test_lock_file_of_someone_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "poetry.lock").write_text("[[package]]\n")
    with pytest.raises(StoreError, match="not a lock file of ours"):
        Store(tmp_path / "poetry")["radii"] = make_radii(1)
    assert (tmp_path / "poetry.lock").read_text() == "[[package]]\n"


def test_reader_sees_whole_states_while_another_process_writes(path: Path) -> None:
    Store(path)["radii"] = make_radii(0)
    writer = forked(
        f"with Store({str(path)!r}, write=True) as store:\n"
        "    for done in range(1, 41):\n        store['radii'] = make_radii(done)\n        time.sleep(0.002)"
    )
    seen = [0]
    while writer.poll() is None:
        radii = Store(path)["radii"]
        assert isinstance(radii, Radii)
        seen.append(int(radii.done.sum()))
        assert_same(radii, make_radii(seen[-1]))
        assert seen[-1] >= seen[-2]
    _, said = writer.communicate()
    assert writer.returncode == 0, said
    assert len(set(seen)) > 3


# Killed, or out of room

KILLER = """
import struct
folder, report = sys.argv[1], []
for seed in [*range(12), *range(25, 34)]:
    rng, path = np.random.default_rng(seed), f"{folder}/{seed % 3}.h5"   # seven kills a file: it is taken up again
    steps = []   # a write syncs its file, then its folder
    start = int(Store(path)["radii"].done.sum()) if os.path.exists(path) else 0
    reader, sink = os.pipe()
    child = os.fork()
    if child == 0:
        sync = os.fsync
        def slow(file):   # stretches the steps of a write, so that kills fall between them
            time.sleep(0.002)
            steps.append(file)
            if seed >= 30 and len(steps) == 5 + (seed - 30) // 2:   # the file or the folder of the third write
                if seed % 2:
                    sync(file)
                os.kill(os.getpid(), signal.SIGKILL)
            sync(file)
            time.sleep(0.002)
        os.fsync = slow
        with Store(path, write=True) as store:
            for done in range(start + 1, 100_000):
                store["radii"] = make_radii(done, done + 5)
                os.write(sink, struct.pack("q", done))
    os.close(sink)
    acknowledged = start
    if not 25 <= seed < 30:   # those five are killed while they start up
        acknowledged, = struct.unpack("q", os.read(reader, 8))
    if seed < 30:
        time.sleep(rng.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)   # the last four kill themselves at a step, however busy the machine is
    while chunk := os.read(reader, 8):
        acknowledged, = struct.unpack("q", chunk)
    os.close(reader)
    held, part = 0, os.path.exists(f"{folder}/.{seed % 3}.h5.part")
    if os.path.exists(path):
        held = int(Store(path)["radii"].done.sum())
        assert_same(Store(path)["radii"], make_radii(held, held + 5))
    report.append([start, acknowledged, held, part])
for name in range(3):
    with Store(f"{folder}/{name}.h5", write=True) as store:
        store["radii"] = make_radii(1)
print(json.dumps(report))
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    report = json.loads(run_forked(f"sys.argv = ['', {str(tmp_path)!r}]\n{KILLER}"))
    assert len(report) == 21
    for start, acknowledged, held, _ in report:
        assert start <= acknowledged <= held <= acknowledged + 1
    assert any(part for *_, part in report)  # killed in the middle of a write
    assert any(held > acknowledged for _, acknowledged, held, _ in report)  # killed just after the renaming
    at_a_step = [(held - acknowledged, part) for _, acknowledged, held, part in report[-4:]]
    assert at_a_step == [(0, True), (0, True), (1, False), (1, False)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0.h5", "1.h5", "2.h5"]


FILL = """
path = sys.argv[1]
held = 0
with Store(path, write=True) as store:
    try:
        for done in range(50, 10_000, 50):
            store["radii"] = make_radii(done, done)
            held = done
    except StoreError as error:
        print(error)
    else:
        raise SystemExit("nothing stopped the writer")
    assert held > 100
    assert_same(store["radii"], make_radii(held, held))
    assert sorted(os.listdir(os.path.dirname(path))) == ["run.h5", "run.h5.lock"], os.listdir(os.path.dirname(path))
    store["radii"] = make_radii(20, 20)
assert os.listdir(os.path.dirname(path)) == ["run.h5"]
print("held", held)
"""


def check_report(out: str, reason: str) -> None:
    pattern = rf"{reason}: .* nothing was lost: the file still holds (\d+) rows of radii\.\nMake room in .*\nheld \1\n"
    assert re.fullmatch(pattern, out), out


def test_file_size_limit(path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    out = run_forked(f"sys.argv = ['', {str(path)!r}]\n{limit}{FILL}")
    check_report(out, "file size limit reached")


def test_full_disk(tmp_path: Path) -> None:
    """A real full disk: a tiny memory disk, mounted where only the writer sees it."""
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    mount = f"mount -t tmpfs -o size=256k none {tmp_path}"
    if shutil.which("unshare") is None or subprocess.run([*alone, *mount.split()], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs user namespaces, which this system does not allow")
    out = run_python(
        f"sys.argv = ['', {str(tmp_path / 'run.h5')!r}]\n{FILL}",
        prefix=(*alone, "sh", "-c", f'{mount} && exec "$@"', "sh"),
    )
    check_report(out, "disk full")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_errors_of_the_last_steps(path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    """Some disks report that they are full only when the bytes are synced."""

    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    Store(path)["radii"] = make_radii(3)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match=r"nothing was lost: the file still holds 3 rows of radii\."):
            Store(path)["radii"] = make_radii(4)
        with pytest.raises(StoreError, match=r"nothing was lost: the file still holds radii\."):
            Store(path)["volume"] = make_volume()
        with pytest.raises(StoreError, match=r"nothing was lost: there was no file before\."):
            Store(path.with_name("other.h5"))["volume"] = make_volume()
    assert_same(Store(path)["radii"], make_radii(3))
    assert leftovers(path.parent) == []


def test_interrupt_in_the_middle_of_a_put_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    Store(path)["radii"] = make_radii(3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Store(path)["radii"] = make_radii(4)
    assert leftovers(path.parent) == []
    assert_same(Store(path)["radii"], make_radii(3))


def test_a_store_shows_its_path_and_its_results(path: Path) -> None:
    assert repr(Store(path)) == f"<Store {path}: no file yet>"
    Store(path)["radii"] = make_radii(3)
    assert repr(Store(path)) == f"<Store {path}: radii>"
    path.write_bytes(b"torn")
    assert repr(Store(path)) == f"<Store {path}: cannot be read>"


def test_a_lock_that_is_dropped_lets_others_in(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "run.h5")
    with pytest.raises(StoreError, match="is being written by another run"):
        WriterLock(tmp_path / "run.h5")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del lock
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]
    WriterLock(tmp_path / "run.h5").release()
