"""``sharpness`` and ``benchmark`` killed by SIGKILL continue to what an unbroken run stores, but for times."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from helpers import children
from helpers.children import Child
from helpers.families import MEASURES, checkpoints
from helpers.same_files import assert_same_files, contents
from landscape.ranking import rank

MEASURED = "average-case,worst-case-l2,pac-bayes,lambda-max,trace,frobenius,llc,critical,normalised"


def killed_at(sync: int) -> Callable[[], None]:
    """Return what makes a process kill itself at this call of fsync: in the middle of a commit, before it counts."""

    def before() -> None:
        calls, fsync = iter(range(sync)), os.fsync

        def synced(file: int) -> None:
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(file)

        os.fsync = synced

    return before


def continued_to_the_end(folder: Path, words: Sequence[str], syncs: Sequence[int]) -> int:
    """Run a command that is killed at these moments, continue it to its end, and return how many states it left."""
    folder.mkdir()
    states = set()
    for sync in syncs:
        with Child(children.command(*words, "--resume", before=killed_at(sync)), cwd=folder) as child:
            assert child.wait() == -signal.SIGKILL
        if (folder / "run.h5").exists():
            states.add(len(contents(folder / "run.h5")))
    with Child(children.command(*words, "--resume"), cwd=folder) as child:
        assert child.wait() == 0, child.communicate()
    return len(states)


def test_measures_of_checkpoints(here: Path) -> None:
    """Killed in the first commit, after the first one and later on; measures share work with those before them."""
    words = (
        f"sharpness {here}/ckpt.pt --task {here}/my_task.py --measures {MEASURED} --steps 40 --out run.h5 -q".split()
    )
    (here / "whole").mkdir()
    with Child(children.command(*words), cwd=here / "whole") as child:
        assert child.wait() == 0, child.communicate()
    assert continued_to_the_end(here / "killed", words, [0, 1, 2, 3, 2, 5]) >= 3
    assert_same_files(here / "whole/run.h5", here / "killed/run.h5")


def test_nets_of_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rank, "INFORMATION_PERMUTATIONS", 4)  # no kill comes as late as the ranking
    Path("mine.py").write_text(MEASURES)
    checkpoints(Path("family"))
    measured = f"--measures {tmp_path}/mine.py:size,gradient-norm,trace,average-case"
    words = (
        f"benchmark {tmp_path}/family {measured} --keep-all --jobs 1 --out run.h5 --bootstrap 20 --effective-size 1 "
    )
    words += "--scope all -q"
    Path("whole").mkdir()
    with Child(children.command(*words.split()), cwd=tmp_path / "whole") as child:
        assert child.wait() == 0, child.communicate()
    assert continued_to_the_end(tmp_path / "killed", words.split(), [0, 3, 20]) >= 2
    assert_same_files(Path("whole/run.h5"), Path("killed/run.h5"))


def test_the_comparison_sees_a_number_a_setting_and_a_missing_result(here: Path) -> None:
    words = f"sharpness {here}/ckpt.pt --task {here}/my_task.py --measures trace --out run.h5 -q"
    for place, more in (("whole", ""), ("seed", " --seed 1"), ("more", " --measures trace,distance")):
        (here / place).mkdir()
        with Child(children.command(*(words + more).split()), cwd=here / place) as child:
            assert child.wait() == 0, child.communicate()
    for other in ("seed", "more"):
        with pytest.raises(AssertionError):
            assert_same_files(here / "whole/run.h5", here / other / "run.h5")
