"""What tests share is made once: a file goes to one worker. What a worker tells is reported as if there were none."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.workers import ALONE, RANKS, TRAINERS, scope_of

ROOT = Path(__file__).parents[1]
PAGE = "tests/test_docs.py::test_the_page_runs_and_shows_what_is_printed[{}]"


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("tests/rays/test_radii.py::test_a", "tests/rays/test_radii.py"),
        ("tests/rays/test_radii.py::test_b[1::2]", "tests/rays/test_radii.py"),
        ("landscape/errors.py::landscape.errors", "landscape/errors.py"),
        (PAGE.format("volume.md"), PAGE.format("volume.md")),
        ("tests/test_docs.py::test_links_between_pages_lead_somewhere", "tests/test_docs.py"),
        ("tests/integrations/test_lightning.py::test_a", "trainers"),
        (PAGE.format("training-loops.md"), "trainers"),
        ("tests/cli/test_beside.py::test_a", "ranks"),
        ("tests/objective/shards/test_sharded.py::test_a", "ranks"),
    ],
)
def test_the_work_that_a_test_belongs_to(test: str, scope: str) -> None:
    assert scope_of(test) == scope


def _forks(path: Path) -> bool:
    return "from helpers.processes import" in path.read_text() and path.name != "test_workers.py"


def test_what_is_named_is_there() -> None:
    file, _, name = ALONE.partition("::")
    assert f"def {name}" in (ROOT / file).read_text()
    *files, page = TRAINERS
    forking = [f"{path.relative_to(ROOT)}" for path in sorted(ROOT.glob("tests/**/*.py")) if _forks(path)]
    assert forking
    assert [name for name in forking if not name.startswith(RANKS)] == []
    assert all((ROOT / f"{file}.py").exists() for file in files)
    assert (ROOT / "docs" / page.strip("[]")).exists()


PASSES = """
import os, pathlib, time
def here():
    return pathlib.Path(f"{__file__}.{os.getpid()}")
def test_first():
    here().touch()
    for _ in range(3000):  # until the other worker has come as far
        print("printed by", "another test")
        time.sleep(0.01)
        if len(list(here().parent.glob("test_*.py.*"))) > 1:
            break
def test_second():
    here().touch()
"""
FAILS = """
import time, warnings
def test_warns():
    warnings.warn("something is odd")
def test_fails():
    print("printed by", "the test that fails")
    time.sleep(0.1)
    number = 2
    assert number == 3
"""
DIES = """
import os
def test_lives(): pass
def test_dies(): os._exit(7)
def test_is_not_run(): pass
"""


def two_workers(folder: Path, **files: str) -> tuple[str, int]:
    """Run the tests of these files, and return what is said and the exit code."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    line = shlex.split("-m pytest -c /dev/null -p helpers.workers -p no:cacheprovider --rootdir . --workers 2 .")
    there = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, *line], cwd=folder, env=there, capture_output=True, text=True)
    return done.stdout + done.stderr, done.returncode


def test_files_are_shared_out_and_what_they_do_is_reported(tmp_path: Path) -> None:
    told, code = two_workers(tmp_path, a=PASSES, b=FAILS, c=PASSES)
    assert code == 1
    assert re.search(r"^=+ 1 failed, 5 passed, 1 warning in ", told, re.MULTILINE), told
    assert "assert 2 == 3" in told
    assert told.count("printed by the test that fails") == 1
    assert "printed by another test" not in told
    assert told.count("UserWarning: something is odd") == 1
    processes = [{path.suffix for path in tmp_path.glob(f"test_{name}.py?*")} for name in ("a", "c")]
    assert [len(each) for each in processes] == [1, 1]  # a file goes to one worker
    assert processes[0] != processes[1]


def test_a_worker_that_dies_is_a_failure_and_the_other_goes_on(tmp_path: Path) -> None:
    told, code = two_workers(tmp_path, dies=DIES, passes="def test_first(): pass\ndef test_second(): pass")
    assert code == 1
    assert "FAILED test_dies.py::test_dies - its process died" in told
    assert re.search(r"^=+ 1 failed, 3 passed in ", told, re.MULTILINE), told
