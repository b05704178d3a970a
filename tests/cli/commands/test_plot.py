"""``landscape plot``: figures of every format, beside the run or where they are asked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from helpers.commands import SMALL, fill, run, stored, strict


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the rays and the volume of a small net."""
    folder = fill(tmp_path_factory.mktemp("measured"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(f"volume {SMALL} --estimator uniform --cutoff 0.5 --out run.h5")
    return folder / "run.h5"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_writes_every_format(here: Path, suffix: str, measured: Path) -> None:
    shutil.copy(measured, "run.h5")
    done = run(f"plot run.h5 --out figures --format {suffix}")
    names = [f"figures/run-{name}.{suffix}" for name in ("radii", "rays", "weights")]
    assert done.stdout.split() == names
    assert all(Path(name).stat().st_size > 1000 for name in names)
    run(f"plot run.h5 --out all.{suffix}")
    assert Path(f"all.{suffix}").stat().st_size > 1000


def test_plot_goes_beside_the_run_and_knows_its_formats(here: Path) -> None:
    (here / "deep").mkdir()
    run(f"radius {SMALL} --out deep/run.h5")
    assert "deep/run-weights.png" in run("plot deep/run.h5").stdout
    assert "png, svg, pdf" in run("plot deep/run.h5 --out all.tiff", code=2).stderr
    assert "png, svg, pdf" in run("plot deep/run.h5 --out all.png --format svg", code=2).stderr


def test_plot_of_an_unfinished_run_leaves_the_weights_out(here: Path) -> None:
    run(f"radius {SMALL} --out run.h5")
    whole = stored()
    status = whole.status.copy()
    status[30:] = ls.RayStatus.PENDING
    radii = np.where(status == ls.RayStatus.PENDING, np.nan, whole.radii)
    ls.Store("half.h5")["radii"] = replace(whole, radii=radii, status=status)
    done = run("plot half.h5")
    assert "not finished" in done.stderr
    assert done.stdout.split() == ["half-radii.png", "half-rays.png"]
    assert "30 of 60 rays; continue with: landscape radius" in " ".join(run("show half.h5").stdout.split())
    strict(run("show half.h5 --json").stdout)


def test_show_and_plot_of_what_is_no_run(here: Path) -> None:
    assert "landscape volume CHECKPOINT" in run("show missing.h5", code=2).stderr
    assert "not an HDF5 file" in run("plot ckpt.pt", code=2).stderr
