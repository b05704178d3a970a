"""``landscape show``, ``plot`` and ``doctor``: the commands that measure nothing new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from helpers.commands import KEYS, SMALL, TASK, run, stored, strict
from landscape_cli.doctor_checks import Report
from landscape_cli.text import strict_json
from landscape_cli.volume_text import bound_notes

# show and plot


def test_show_says_what_is_in_the_file(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    text = run("show run.h5").stdout
    for words in ("format 2", "60 of 60 rays", "seed 0", "checkpoint ckpt.pt", "torch 2", "log10 V", "median r"):
        assert words in " ".join(text.split())
    digest = stored().config["theta_hash"]
    assert digest[:12] in text
    assert digest not in text
    found = strict(run("show run.h5 --json").stdout)
    assert found["format_version"] == 2
    assert found["results"]["radii"]["rows"] == {"done": 60, "total": 60}
    assert found["results"]["volume"]["summary"].keys() >= KEYS


def test_show_of_an_unbounded_run_is_strict_json(here: Path) -> None:
    """Without a cap the interval ends at infinity, and pending rays hold NaN."""
    run(f"volume {SMALL} --estimator uniform --metric identity --cutoff 0.5 --out run.h5")
    strict(run("show run.h5 --json").stdout)


def test_show_tells_of_kinds_it_does_not_know(here: Path) -> None:
    import h5py

    run(f"volume {SMALL} --estimator uniform --out run.h5")
    with h5py.File("run.h5", "r+") as file:
        file["volume"].attrs["kind"] = "smell"
    text = run("show run.h5").stdout
    assert "volume (smell)" in text
    assert "does not know this kind" in text
    strict(run("show run.h5 --json").stdout)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_writes_every_format(here: Path, suffix: str) -> None:
    run(f"volume {SMALL} --estimator uniform --cutoff 0.5 --out run.h5")
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
    assert "30 of 60 rays; continue with: landscape radius" in run("show half.h5").stdout
    strict(run("show half.h5 --json").stdout)


def test_show_and_plot_of_what_is_no_run(here: Path) -> None:
    assert "landscape volume CHECKPOINT" in run("show missing.h5", code=2).stderr
    assert "not an HDF5 file" in run("plot ckpt.pt", code=2).stderr


# doctor


def test_doctor_says_everything(here: Path) -> None:
    done = run("doctor ckpt.pt --task my_task.py --scope all --directions 500")
    text = " ".join(done.stdout.split())
    for words in (
        "Sequential, 42 parameters in 4 tensors, float32 on cpu", "no buffers", "nothing frozen",
        "all: 42 entries in 4 tensors", "n = 42; no filter has norm zero", "64 samples, loss cross_entropy",
        "loss 0.01", "the same every time", "100.0 %", "points at a time", "an evaluation; 500 rays",
        "next: landscape volume ckpt.pt --task my_task.py --directions 500 --scope all --out run.h5",
    ):  # fmt: skip
        assert words in text
    assert max(len(line) for line in done.stdout.splitlines() if not line.startswith("next")) <= 80


def test_doctor_json(here: Path) -> None:
    found = strict(run("doctor ckpt.pt --task my_task.py --json --cutoff 1e-9 --cutoff 1").stdout)
    assert found["parameters"] == 42
    assert found["dimension"] == 32
    assert found["accuracy"] == 1.0
    assert found["seconds_per_evaluation"] > 0
    assert found["cutoffs"] == [{"cutoff": 1e-9, "possible": False}, {"cutoff": 1.0, "possible": True}]
    assert not found["ready"]


def test_doctor_advises_a_command_that_runs(here: Path) -> None:
    done = run("doctor ckpt.pt --task my_task.py --cutoff 1e-9 --directions 20")
    assert "FAILED: 1e-09" in done.stdout
    advice = done.stdout.splitlines()[-1].removeprefix("next: landscape ")
    run(f"{advice} --estimator uniform")


BROKEN = {
    "a missing checkpoint": ("missing.pt --task my_task.py", "", "does not exist"),
    "no task": ("ckpt.pt", "", "--task my_task.py"),
    "a task that raises": ("ckpt.pt --task broken.py", "def task():\n    return 1 / 0\n", "ZeroDivisionError"),
    "a net that fits not": ("ckpt.pt --task broken.py", TASK.replace("8", "9"), "9"),
    "inputs of another width": (
        "ckpt.pt --task broken.py", TASK.replace("data=(points", "data=(points[:, :1]"), "mat1 and mat2",
    ),
    "a loss that draws random numbers": (
        "ckpt.pt --task broken.py",
        TASK.replace('"cross_entropy"', "lambda out, y: out.mean() ** 2 + torch.rand(())"), "not deterministic",
    ),
    "a scope that matches nothing": ("ckpt.pt --task my_task.py --scope conv", "", "matches no parameter"),
    "a device that is not there": ("ckpt.pt --task my_task.py --device cuda:63", "", "cuda:63"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "code", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_doctor_describes_what_is_broken_and_goes_on(here: Path, line: str, code: str, words: str) -> None:
    Path("broken.py").write_text(code)
    done = run(f"doctor {line}")
    text = " ".join(done.stdout.split())
    assert "FAILED" in text
    assert words in text
    assert "next: mend what failed" in text
    found = strict(run(f"doctor {line} --json").stdout)
    assert not found["ready"]
    assert run(f"volume {line}", code=2).stderr.count("Traceback") == 0


def test_doctor_goes_on_after_a_failure(here: Path) -> None:
    """Data that do not fit leave the model, the scope and the metric to describe."""
    Path("broken.py").write_text(BROKEN["inputs of another width"][1])
    found = strict(run("doctor ckpt.pt --task broken.py --json").stdout)
    assert found["parameters"] == 42
    assert found["dimension"] == 32
    assert [check["name"] for check in found["checks"] if not check["passed"]] == ["objective"]


def test_any_failure_of_somebody_elses_code_is_a_line() -> None:
    def fails() -> None:
        raise RuntimeError("no such luck\nin two lines")

    report = Report()
    assert report.attempt("model", fails) is None
    assert report.checks[0].text == "RuntimeError: no such luck; in two lines"
    assert not report.ready


def test_json_refuses_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json({"radius": float("nan")})


def test_a_run_that_saw_nothing_but_the_cap_says_so() -> None:
    radii = np.full(100, 2.0)
    notes = bound_notes(ls.volume_from_radii(radii, n=3, max_radius=2.0, cutoffs=[0.5]))
    assert "every ray reached the cap at cutoff 0.5" in notes[0]
    assert not bound_notes(ls.volume_from_radii(radii, n=3, max_radius=2.5, cutoffs=[0.5]))
