"""What radius and volume do to files, and what an interruption leaves."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape as ls
from helpers.children import Child, command, stop_once_written
from helpers.commands import SMALL, run, stored, strict
from landscape.results import Progress
from landscape_cli import basin_run

# files: --out, --resume, --overwrite


def test_out_keeps_radii_and_volume(here: Path) -> None:
    printed = strict(run(f"volume {SMALL} --estimator uniform --out run.h5 --json").stdout)
    volume = ls.Store("run.h5")["volume"]
    assert isinstance(volume, ls.Volume)
    assert volume.summary() == printed["volumes"]["uniform"]
    assert stored().done.all()


def test_an_existing_run_is_not_touched_without_being_told(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    before = Path("run.h5").read_bytes()
    done = run(f"volume {SMALL} --estimator uniform --out run.h5", code=2)
    assert "a finished run (60 of 60 rays)" in done.stderr
    assert "--resume" in done.stderr
    assert "--overwrite" in done.stderr
    assert Path("run.h5").read_bytes() == before


def test_resume_of_a_finished_run_prints_the_table_and_leaves_the_file(here: Path) -> None:
    first = run(f"volume {SMALL} --estimator uniform --out run.h5").stdout
    before = Path("run.h5").read_bytes()
    assert run(f"volume {SMALL} --estimator uniform --out run.h5 --resume").stdout == first
    assert Path("run.h5").read_bytes() == before


def test_resume_with_more_directions_gives_the_rays_of_one_long_run(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    run("volume ckpt.pt --estimator uniform --task my_task.py --directions 100 --out run.h5 --resume")
    run("volume ckpt.pt --estimator uniform --task my_task.py --directions 100 --out long.h5")
    assert stored().radii.tobytes() == stored("long.h5").radii.tobytes()
    assert ls.Store("run.h5")["volume"].directions == 100


def test_resume_where_there_is_no_file_starts_one(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5 --resume")
    assert stored().directions == 60


def test_resume_adds_the_volume_to_a_run_of_radius(here: Path) -> None:
    run(f"radius {SMALL} --out run.h5")
    run(f"volume {SMALL} --estimator uniform --out run.h5 --resume")
    assert "volume" in ls.Store("run.h5")


def test_resume_under_other_settings_is_refused(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    before = Path("run.h5").read_bytes()
    done = run(f"volume {SMALL} --estimator uniform --seed 1 --out run.h5 --resume", code=2)
    assert "seed: stored 0, asked 1" in done.stderr
    assert Path("run.h5").read_bytes() == before


def test_overwrite_replaces_the_run_and_its_volume(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    run(f"radius {SMALL} --seed 1 --out run.h5 --overwrite")
    assert stored().config["seed"] == 1
    assert "volume" not in ls.Store("run.h5")


def test_overwrite_loses_nothing_when_the_new_run_cannot_start(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    before = Path("run.h5").read_bytes()
    run(f"volume {SMALL} --estimator uniform --cutoff 1e-9 --out run.h5 --overwrite", code=2)
    assert Path("run.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [("--resume", "--out"), ("--overwrite", "--out"), ("--out run.h5 --resume --overwrite", "one of the two")],
)
def test_flags_that_make_no_sense_together(here: Path, flags: str, words: str) -> None:
    assert words in run(f"volume {SMALL} --estimator uniform {flags}", code=2).stderr


def test_the_file_is_opened_before_the_checkpoint_is_read(here: Path) -> None:
    """A second writer fails at once: the checkpoint of this command does not even exist."""
    with ls.Store("run.h5", write=True):
        done = run("volume missing.pt --estimator uniform --out run.h5", code=2)
    assert "another run" in done.stderr
    Path("notes.h5").write_text("mine")
    assert (
        "will not be overwritten"
        in run("volume missing.pt --estimator uniform --out notes.h5 --overwrite", code=2).stderr
    )


# interruptions


LONG = "volume ckpt.pt --estimator uniform --task my_task.py --directions 3000 -q"


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_resumes_to_the_same_bytes(here: Path, stop: signal.Signals) -> None:
    with Child(command(*LONG.split(), "--memory", "6kB", "--out", "run.h5")) as process:  # it commits often
        words = stop_once_written(process, Path("run.h5"), stop)[1]
    partial = stored()
    done = int(partial.done.sum())
    assert 0 < done < 3000
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert f"interrupted after {done:,} of 3,000 rays, kept in run.h5" in words
        assert words.count("\n") == 1
        assert "--memory 6000 --out run.h5 --resume" in words
    shown = " ".join(run("show run.h5").stdout.split())
    assert f"{done:,} of 3,000 rays; continue with: landscape volume ckpt.pt" in shown
    run(f"{LONG} --out run.h5 --resume")
    run(f"{LONG} --out whole.h5")
    resumed, whole = stored(), stored("whole.h5")
    assert resumed.radii.tobytes() == whole.radii.tobytes()
    assert resumed.status.tobytes() == whole.status.tobytes()
    assert (resumed.radii[partial.done] == partial.radii[partial.done]).all()


def first_rays(radii: ls.Radii, count: int) -> ls.Radii:
    """The partial result after the first rays."""
    status = radii.status.copy()
    status[count:] = ls.RayStatus.PENDING
    return replace(radii, status=status, radii=np.where(status == ls.RayStatus.PENDING, np.nan, radii.radii))


@pytest.mark.parametrize("out", ["", "--out run.h5"])
def test_ctrl_c_keeps_the_last_block_too(here: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    """The second of two blocks in quick succession is not committed until Ctrl-C comes."""
    run(f"radius {SMALL} --out other.h5")
    whole = stored("other.h5")

    def interrupted(*arguments: Any, on_progress: Any, **keywords: Any) -> None:
        for count in (20, 40):
            on_progress(Progress(count, 60, lambda count=count: first_rays(whole, count)))
        raise KeyboardInterrupt

    monkeypatch.setattr(basin_run, "basin_radii", interrupted)
    done = run(f"volume {SMALL} --estimator uniform {out}", code=130)
    assert "uniform: 40 rays, " in done.stdout
    assert "interrupted after 40 of 60 rays" in done.stderr
    if out:
        assert stored().done.sum() == 40
    else:
        assert "nothing was kept" in done.stderr


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ls.LandscapeError("no such luck")])
def test_an_error_in_the_middle_keeps_the_finished_rays(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run(f"radius {SMALL} --out other.h5")
    whole = stored("other.h5")

    def broken(*arguments: Any, on_progress: Any, **keywords: Any) -> None:
        for count in (20, 40):
            on_progress(Progress(count, 60, lambda count=count: first_rays(whole, count)))
        raise error

    monkeypatch.setattr(basin_run, "basin_radii", broken)
    done = run(
        f"volume {SMALL} --estimator uniform --out run.h5", code=2 if isinstance(error, ls.LandscapeError) else 1
    )
    assert stored().done.sum() == 40
    assert "stopped by an error after 40 of 60 rays, kept in run.h5; continue with: landscape volume" in done.stderr
    monkeypatch.undo()
    monkeypatch.chdir(here)
    run(f"volume {SMALL} --estimator uniform --out run.h5 --resume")
    assert stored().radii.tobytes() == whole.radii.tobytes()


@pytest.mark.parametrize("first", ["radius", "volume --estimator uniform"])
def test_a_volume_of_fewer_rays_does_not_outlive_more_of_them(here: Path, first: str) -> None:
    run(f"volume {SMALL} --estimator uniform --cutoff 0.5 --out run.h5 -q")
    more = SMALL.replace("60", "90")
    run(f"{first} {more} --cutoff 0.5 --out run.h5 --resume -q")
    run(f"volume {more} --estimator uniform --cutoff 0.5 --out run.h5 --resume -q")
    volume = ls.Store("run.h5")["volume"]
    assert isinstance(volume, ls.Volume)
    assert volume.directions == stored().directions == 90
